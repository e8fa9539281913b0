//! Pure protocol code of the Asteri application server: bytes and time in, events and bytes out.
