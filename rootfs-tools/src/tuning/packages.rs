//! Rows about packages and locales: what is refused, or left alone, where `/usr` is shared.

use super::row::{Action, Row, Scope, USR_IS_OWN};

/// In the order they are applied.
pub(super) const ROWS: &[Row] = &[
    Row {
        id: "package-jobs",
        reason: "the host patches a shared /usr, so packages need no daily jobs, and a thousand tenants must not query the mirror at six",
        scope: Scope::SharedUsr,
        action: Action::DropIn {
            units: &["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer"],
            text: USR_IS_OWN,
        },
    },
    Row {
        id: "package-tools",
        reason: "dpkg would fail halfway, at the first file in a shared /usr",
        scope: Scope::SharedUsr,
        action: Action::Program {
            path: "usr/lib/tenantry/refuse-packages",
            text: REFUSE_PACKAGES,
            given: "usr/bin/dpkg",
        },
    },
    Row {
        id: "package-tools-dpkg",
        reason: "dpkg runs it before it changes anything",
        scope: Scope::SharedUsr,
        action: Action::File {
            path: "etc/dpkg/dpkg.cfg.d/50-tenantry",
            text: "# Refuses to install packages where /usr is shared.\n\
                   pre-invoke={ test -w /usr && test -w /var/lib/dpkg; } || /usr/lib/tenantry/refuse-packages\n",
            given: "usr/bin/dpkg",
        },
    },
    Row {
        id: "package-tools-apt",
        reason: "apt runs it before it downloads, and other users of its library before they run dpkg",
        scope: Scope::SharedUsr,
        action: Action::File {
            path: "etc/apt/apt.conf.d/50-tenantry",
            text: "// Refuses to install packages where /usr is shared.\n\
                   AptCli::Hooks::Install { \"{ test -w /usr && test -w /var/lib/dpkg; } || /usr/lib/tenantry/refuse-packages\"; };\n\
                   DPkg::Pre-Invoke { \"{ test -w /usr && test -w /var/lib/dpkg; } || /usr/lib/tenantry/refuse-packages\"; };\n",
            given: "usr/bin/apt-get",
        },
    },
    Row {
        id: "locale-gen",
        reason: "it reports success even where it could write nothing",
        scope: Scope::SharedUsr,
        action: Action::Program {
            path: "usr/local/sbin/locale-gen",
            text: LOCALE_GEN,
            given: "usr/sbin/locale-gen",
        },
    },
    Row {
        id: "locale",
        reason: "systemd, pam_env, cron and `tenantctl exec` read it; without it sessions over ssh are in ASCII",
        scope: Scope::NothingToDo,
        action: Action::Locale,
    },
];

const REFUSE_PACKAGES: &str = include_str!("scripts/refuse-packages.sh");

const LOCALE_GEN: &str = include_str!("scripts/locale-gen.sh");
