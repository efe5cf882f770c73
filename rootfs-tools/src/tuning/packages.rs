//! Rows about packages and locales: what is refused, or left alone, where `/usr` is shared.

use super::row::{Action, Row, Scope, USR_IS_OWN};

/// In the order they are applied.
pub(super) const ROWS: &[Row] = &[
    Row {
        id: "package-jobs",
        reason: "a /usr that is the host's to patch needs no daily jobs of packages, and a thousand tenants must not all ask the mirror at six",
        scope: Scope::SharedUsr,
        action: Action::DropIn {
            units: &["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer"],
            text: USR_IS_OWN,
        },
    },
    Row {
        id: "package-tools",
        reason: "dpkg would fail half way, at the first file in a /usr that is shared",
        scope: Scope::SharedUsr,
        action: Action::Program {
            path: "usr/lib/tenantry/refuse-packages",
            text: REFUSE_PACKAGES,
            given: "usr/bin/dpkg",
        },
    },
    Row {
        id: "package-tools-dpkg",
        reason: "dpkg asks before it changes anything",
        scope: Scope::SharedUsr,
        action: Action::File {
            path: "etc/dpkg/dpkg.cfg.d/50-tenantry",
            text: "# Says that nothing can be installed where /usr is shared.\n\
                   pre-invoke=test -w /usr || /usr/lib/tenantry/refuse-packages\n",
            given: "usr/bin/dpkg",
        },
    },
    Row {
        id: "package-tools-apt",
        reason: "apt asks before it downloads, and whatever uses its library before it runs dpkg",
        scope: Scope::SharedUsr,
        action: Action::File {
            path: "etc/apt/apt.conf.d/50-tenantry",
            text: "// Says that nothing can be installed where /usr is shared.\n\
                   AptCli::Hooks::Install { \"test -w /usr || /usr/lib/tenantry/refuse-packages\"; };\n\
                   DPkg::Pre-Invoke { \"test -w /usr || /usr/lib/tenantry/refuse-packages\"; };\n",
            given: "usr/bin/apt-get",
        },
    },
    Row {
        id: "locale-gen",
        reason: "it says that it is done even where it could write nothing",
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
