//! Commands of LXC that are not provided. They are here by name, so that a script never reaches those of an LXC on the
//! same host, which would look for its containers, wait for them, or end without a word.

use std::process::ExitCode;

use wire::{Code, Failure};

use super::tell;

/// A command that is refused.
pub(super) struct Absent {
    pub(super) name: &'static str,
    /// Why it is not provided.
    pub(super) why: &'static str,
    /// What to use instead.
    pub(super) instead: &'static str,
}

const fn absent(name: &'static str, why: &'static str, instead: &'static str) -> Absent {
    Absent { name, why, instead }
}

/// All of them.
pub(super) const ABSENT: &[Absent] = &[
    absent(
        "lxc-checkpoint",
        "a running tenant is not written to disk",
        "freeze it: lxc-freeze -n NAME; or stop it: lxc-stop -n NAME",
    ),
    absent(
        "lxc-config",
        "the host is not set up by LXC's configuration",
        "the settings of the host are in etc/tenantry/hostd.toml and tenants in var/lib/tenantry, both below / or $TENANTRY_ROOT",
    ),
    absent(
        "lxc-copy",
        "tenants are not copied; many tenants share one image",
        "make another of the same image: tenantctl create NEW --image IMAGE; for one command: lxc-execute -n NEW -- COMMAND",
    ),
    absent(
        "lxc-device",
        "a tenant's devices are in its configuration",
        "tenantctl edit NAME: `devices` for what it may use, [[nic]] with mode = \"phys\" for a NIC of the host",
    ),
    absent(
        "lxc-monitor",
        "changes of state are not sent to programs that wait for them",
        "wait for a state: lxc-wait -n NAME -s RUNNING; look at what happened: tenantctl logs NAME",
    ),
    absent(
        "lxc-snapshot",
        "a tenant has no snapshots; an image has versions that never change",
        "back its directories up while it is stopped, /var/lib/tenantry/tenants/NAME; versions of the image: rootfsctl list",
    ),
    absent("lxc-unpriv-attach", "every tenant is unprivileged", "lxc-attach -n NAME -- COMMAND"),
    absent("lxc-unpriv-start", "every tenant is unprivileged", "lxc-start -n NAME"),
    absent(
        "lxc-unshare",
        "a program in namespaces of its own is not a tenant",
        "to run it in a tenant: lxc-execute -n NAME -- COMMAND; for namespaces only: unshare COMMAND",
    ),
    absent(
        "lxc-update-config",
        "configurations with old key names are read as they are",
        "tenantctl import-lxc FILE",
    ),
    absent(
        "lxc-usernsexec",
        "hostd assigns the ids of tenants",
        "in a tenant: lxc-attach -n NAME -- COMMAND; for a user namespace only: unshare --user COMMAND",
    ),
    absent("lxc-top", "what tenants use is shown by a command of its own", "tenantctl top"),
];

/// Refuses the command of this name; none if it is none of these.
pub(super) fn refuse(name: &str) -> Option<ExitCode> {
    let absent = ABSENT.iter().find(|absent| absent.name == name)?;
    let text = format!("this command of LXC is not provided: {}", absent.why);
    tell(absent.name, &Failure::new(Code::Invalid, text).help(absent.instead));
    Some(ExitCode::FAILURE)
}
