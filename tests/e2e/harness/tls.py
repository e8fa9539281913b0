"""Certificates made for a test, and a TLS client that hides as little as the plain one.

The client keeps TLS and the socket apart (`ssl.MemoryBIO`), so that a test can close one side only, and see whether the
server has said goodbye.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import select
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
#: What `Identity` of a server is good for.
NAMES = ("localhost", "127.0.0.1", "example.test")
#: RFC 5280 §4.2.1.3: a certificate that signs others says so.
AUTHORITY_USE = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    **dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    ),
)


def new_key(kind: str = "ec") -> Any:
    match kind:
        case "rsa":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8, password: str | None = None) -> bytes:
    sealing = BestAvailableEncryption(password.encode()) if password is not None else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, sealing)


def name_of(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


@dataclass
class Identity:
    """A certificate, those between it and its authority, and its key."""

    chain: list[x509.Certificate]
    key: Any

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]

    def chain_pem(self) -> bytes:
        return b"".join(one.public_bytes(Encoding.PEM) for one in self.chain)

    def write(self, folder: Path, name: str = "server") -> tuple[str, str]:
        """The paths of the certificate and of the key."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.chain_pem())
        key.write_bytes(key_pem(self.key))
        return str(certificate), str(key)


class Authority:
    """Signs certificates. `parent`: it is not the root itself."""

    def __init__(self, name: str = "Test root", parent: Authority | None = None) -> None:
        self.key = new_key()
        self.name = name_of(name)
        self.parent = parent
        signer = parent or self
        self.certificate = sign(
            name_of(name),
            self.key,
            signer.name,
            signer.key,
            x509.BasicConstraints(ca=True, path_length=None),
            AUTHORITY_USE,
        )

    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def write(self, folder: Path, name: str = "ca.pem") -> str:
        path = folder / name
        path.write_bytes(self.pem())
        return str(path)

    def issue(self, *names: str, kind: str = "ec", subject: str | None = None, days: float = 30) -> Identity:
        """For a server with these names, or (without any) for a client."""
        key = new_key(kind)
        use = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        extensions: list[x509.ExtensionType] = [x509.ExtendedKeyUsage([use])]
        if names:
            extensions.append(x509.SubjectAlternativeName([general_name(one) for one in names]))
        subject = subject or (names[0] if names else "a client")
        certificate = sign(name_of(subject), key, self.name, self.key, *extensions, days=days)
        return Identity([certificate, *([self.certificate] if self.parent else [])], key)

    def revoke(self, *withdrawn: Identity) -> bytes:
        """A list of withdrawn certificates."""
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(now - DAY).next_update(now + DAY)
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        for one in withdrawn:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now - DAY).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def context(self, client: Identity | None = None, folder: Path | None = None) -> ssl.SSLContext:
        """For a client that believes this authority."""
        context = ssl.create_default_context(cadata=self.pem().decode())
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # Python 3.13's default: demands what RFC 5280 demands
        if client is not None:
            assert folder is not None
            context.load_cert_chain(*client.write(folder, "client"))
        return context


def general_name(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def sign(
    subject: x509.Name, key: Any, issuer: x509.Name, issuer_key: Any, *extensions: x509.ExtensionType, days: float = 30
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - 2 * DAY).not_valid_after(now + days * DAY)
    for extension in extensions:
        builder = builder.add_extension(
            extension, critical=isinstance(extension, (x509.BasicConstraints, x509.KeyUsage))
        )
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(issuer_key, None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


@dataclass
class Tls:
    """TLS of a server that the harness starts, and of the clients that it makes for it."""

    flags: list[str]
    context: ssl.SSLContext
    name: str = "localhost"
    session: ssl.SSLSession | None = None


def server_tls(folder: Path, kind: str = "ec") -> Tls:
    """A server with a certificate of an authority that its clients believe, for a key of this kind."""
    authority = Authority()
    authority.write(folder)
    certificate, key = authority.issue(*NAMES, kind=kind).write(folder)
    return Tls(["--certfile", certificate, "--keyfile", key], authority.context())


class TlsSocket:
    """As much of a socket as `wire.Connection` needs, with TLS in between."""

    def __init__(
        self, plain: socket.socket, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None = None
    ) -> None:
        self.plain = plain
        self._early = b""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    raise ConnectionResetError("the server ended the handshake") from None
            finally:
                self._flush()

    def _flush(self) -> None:
        if data := self._out.read():
            self.plain.sendall(data)

    def _receive(self) -> bool:
        data = self.plain.recv(1 << 18)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()
        return bool(data)

    def sendall(self, data: bytes) -> None:
        for start in range(0, len(data), 1 << 16):
            self.tls.write(data[start : start + (1 << 16)])
            self._flush()

    def recv(self, count: int) -> bytes:
        """Empty when the server has said that it sends no more; an end of the stream without that is an error."""
        if self._early:
            data, self._early = self._early[:count], self._early[count:]
            return data
        while True:
            try:
                return self.tls.read(count)
            except ssl.SSLWantReadError:
                self._receive()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError:
                raise ConnectionResetError("the stream ended without a TLS close") from None
            finally:
                self._flush()

    def readable(self, seconds: float) -> bool:
        """Whether data, or the end, arrives in that time; what is of TLS alone, such as a ticket, does not count."""
        deadline = time.monotonic() + seconds
        waiting = select.poll()
        waiting.register(self.plain, select.POLLIN)
        while not self._early:
            if not waiting.poll(max(deadline - time.monotonic(), 0) * 1000):
                return False
            if self.has_ended():
                break
        return True

    def has_ended(self) -> bool:
        """Whether the stream is at its end, as far as that has arrived."""
        timeout = self.plain.gettimeout()
        self.plain.settimeout(0)
        try:
            self._early += self.recv(1 << 18)
            return not self._early
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.plain.settimeout(timeout)

    def shutdown(self, how: int) -> None:
        """Says that nothing more comes, and goes on receiving."""
        assert how == socket.SHUT_WR
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()

    def fileno(self) -> int:
        return self.plain.fileno()

    def settimeout(self, seconds: float | None) -> None:
        self.plain.settimeout(seconds)

    def setsockopt(self, *arguments: Any) -> None:
        self.plain.setsockopt(*arguments)

    def close(self) -> None:
        self.plain.close()
