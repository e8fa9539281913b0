//! Settings, command line, logs and process management of the Asteri application server.
