//! The I/O core of the Asteri application server: reactor, connections, timers, spooling, scoreboard.
