//! The Python extension module of the Asteri application server.
