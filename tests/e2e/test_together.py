"""Responses may wait for each other for a moment, to leave together; none may wait for a call that is long."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from harness import Connection, Server, wait_until
from harness.tls import server_tls
from harness.wire import encode

pytestmark = pytest.mark.usefixtures("worker_type")

CLIENTS = 8
#: Calls before the long one, which together take less than responses may wait for each other.
BEFORE = 3
#: Rounds of ordinary calls, from which the server learns what to expect.
ROUNDS = 40


def ask(server: Server, clients: list[Connection], targets: list[str], connection: str = "keep-alive") -> None:
    """All requests are there when the worker looks."""
    worker = server.worker_pid()
    os.kill(worker, signal.SIGSTOP)
    try:
        for client, target in zip(clients, targets, strict=True):
            client.send(encode("GET", target, {"Connection": connection}))
    finally:
        os.kill(worker, signal.SIGCONT)


def wait_for_responses(clients: list[Connection], count: int) -> None:
    wait_until(lambda: sum(map(Connection.readable, clients)) >= count, f"{count} responses", 10)


@pytest.mark.parametrize("kind", ["list", "part"])
def test_no_response_waits_for_a_long_call(serve, tmp_path, kind):
    server = serve("together_app:app", workers=1)
    clients = [server.connect() for _ in range(CLIENTS)]
    for client in clients:
        assert client.request("GET", "/reset").text == "reset"
    for attempt in range(5):
        for _ in range(ROUNDS):
            ask(server, clients, [f"/{kind}"] * CLIENTS)
            assert [client.response().text for client in clients] == [kind] * CLIENTS
        clients[0].request("GET", "/reset")
        name = tmp_path / f"call{attempt}"
        begun = Path(f"{name}.begun")
        targets = [f"/{kind}"] * BEFORE + [f"/long/{name}"] + [f"/{kind}"] * (CLIENTS - BEFORE - 1)
        try:
            ask(server, clients, targets)
            wait_until(begun.exists, "the long call")
            # The one that counts from 0 is itself a call.
            finished = int(begun.read_text()) - 1
            wait_for_responses(clients, finished)
        finally:
            Path(f"{name}.end").touch()
        kinds = [target.strip("/").partition("/")[0] for target in targets]
        assert [client.response().text for client in clients] == kinds


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_each_client_gets_its_own_responses(serve, tmp_path, tls):
    """Three in a row on each connection, which is closed behind the last."""
    server = serve("together_app:app", workers=1, tls=server_tls(tmp_path) if tls else None)
    for turn in range(ROUNDS):
        clients = [server.connect() for _ in range(CLIENTS)]
        for client in clients:
            assert client.request("GET", "/own/first").text == "first"
        names = [[f"{turn} {number} {step}" for step in range(3)] for number in range(CLIENTS)]
        for step in range(2):
            ask(server, clients, [f"/own/{name[step].replace(' ', '%20')}" for name in names])
        ask(server, clients, [f"/own/{name[2].replace(' ', '%20')}" for name in names], "close")
        for client, name in zip(clients, names, strict=True):
            assert [client.response().text for _ in name] == name
            assert client.closed_by_peer(10)
