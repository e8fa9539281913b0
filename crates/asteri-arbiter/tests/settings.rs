//! Settings: the table, the doors through which values come, the layers, the messages.

#[path = "settings/doors.rs"]
mod doors;
#[path = "settings/files.rs"]
mod files;
#[path = "settings/layers.rs"]
mod layers;
#[path = "settings/literals.rs"]
mod literals;
#[path = "settings/messages.rs"]
mod messages;
#[path = "settings/printed.rs"]
mod printed;
#[path = "settings/support.rs"]
mod support;
#[path = "settings/table.rs"]
mod table;
