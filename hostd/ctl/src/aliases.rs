//! Other names of verbs.

/// Other names of verbs, as people type them.
pub(super) const ALIASES: &[(&str, &[&str])] = &[
    ("destroy", &["rm"]),
    ("stop", &["poweroff"]),
    ("restart", &["reboot"]),
    ("thaw", &["unfreeze"]),
    ("list", &["ls"]),
    ("show", &["info"]),
    ("shell", &["login"]),
    ("console", &["attach"]),
    ("nics", &["ports"]),
];
