//! Rows about inits other than systemd, and about trees of another shape.

use super::row::{Action, Row, Scope};

/// In the order they are applied.
pub(super) const ROWS: &[Row] = &[
    Row {
        id: "unmerged-usr",
        reason: "each is a separate mount; at shutdown systemd keeps /usr mounted, but not the loader of its own programs",
        scope: Scope::Everywhere,
        action: Action::KeepMounts(&["bin", "sbin", "lib", "lib32", "lib64", "libx32"]),
    },
    Row {
        id: "inittab",
        reason: "the power-fail signal means power off, and a login is started when a client attaches",
        scope: Scope::Everywhere,
        action: Action::Inittab,
    },
    Row {
        id: "runit-gettys",
        reason: "the supervisor starts a login on a tty when a client attaches",
        scope: Scope::Everywhere,
        action: Action::RemoveMatching(&["etc/runit/runsvdir/*/getty-*", "etc/runit/runsvdir/*/agetty-*"]),
    },
    Row {
        id: "openrc-gettys",
        reason: "the supervisor starts a login on a tty when a client attaches",
        scope: Scope::Everywhere,
        action: Action::RemoveMatching(&["etc/runlevels/*/agetty.*"]),
    },
    Row {
        id: "openrc-hostname",
        reason: "without /etc/hostname this service sets the name localhost over the tenant's own",
        scope: Scope::Everywhere,
        action: Action::RemoveMatching(&["etc/runlevels/*/hostname"]),
    },
];
