//! The table of all settings: one file per group, each setting declared once.

mod application;
mod asgi;
mod control;
mod debugging;
mod dirty;
mod hooks;
mod http;
mod http2;
mod instrumentation;
mod limits;
mod logging;
mod mechanics;
mod naming;
mod proxy;
mod socket;
mod timeouts;
mod tls;
mod workers;

use super::kind::Kind;
use super::setting::Setting;
use std::collections::HashMap;
use std::sync::LazyLock;

/// In the order of help and of the reference page.
static GROUPS: [&[Setting]; 18] = [
    application::SETTINGS,
    socket::SETTINGS,
    workers::SETTINGS,
    limits::SETTINGS,
    timeouts::SETTINGS,
    http::SETTINGS,
    proxy::SETTINGS,
    mechanics::SETTINGS,
    logging::SETTINGS,
    instrumentation::SETTINGS,
    naming::SETTINGS,
    debugging::SETTINGS,
    asgi::SETTINGS,
    tls::SETTINGS,
    http2::SETTINGS,
    hooks::SETTINGS,
    control::SETTINGS,
    dirty::SETTINGS,
];

static INDEX: LazyLock<HashMap<&'static str, usize>> =
    LazyLock::new(|| all().enumerate().map(|(i, setting)| (setting.name, i)).collect());

static ALIASES: LazyLock<HashMap<&'static str, &'static Setting>> =
    LazyLock::new(|| all().flat_map(|setting| setting.aliases.iter().map(move |alias| (*alias, setting))).collect());

/// Flags that turn switches off, by the flags that turn them on. One that turns something off already has none.
static OFF_FLAGS: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
    all()
        .filter(|setting| matches!(setting.kind, Kind::Switch))
        .filter_map(Setting::long_flag)
        .filter(|flag| !flag.starts_with("--no-"))
        .map(|flag| (flag, format!("--no-{}", &flag[2..])))
        .collect()
});

/// All settings.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().copied().flatten()
}

/// The setting of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    index(name).and_then(|i| all().nth(i))
}

/// The setting that a config file may also call by that name.
#[must_use]
pub fn find_alias(name: &str) -> Option<&'static Setting> {
    ALIASES.get(name).copied()
}

/// The position of a setting in [`all`].
#[must_use]
pub fn index(name: &str) -> Option<usize> {
    INDEX.get(name).copied()
}

pub(super) fn off_flag(setting: &Setting) -> Option<&'static str> {
    OFF_FLAGS.get(setting.long_flag()?).map(String::as_str)
}

/// For environment variables whose empty content says nothing.
fn if_not_empty(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| text.to_owned())
}
