//! Commands of LXC that are not provided. They are refused by name, so that a script never runs those of an LXC on the
//! same host, which would look for its containers, wait for them, or exit silently.

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
        "checkpoints of running tenants are not supported",
        "freeze it: lxc-freeze -n NAME; or stop it: lxc-stop -n NAME",
    ),
    absent(
        "lxc-config",
        "LXC's configuration of the host is not used",
        "the settings of the host are in etc/tenantry/hostd.toml and tenants in var/lib/tenantry, both below / or $TENANTRY_ROOT",
    ),
    absent(
        "lxc-copy",
        "tenants cannot be copied; many tenants share one image",
        "create another from the same image: tenantctl create NEW --image IMAGE; for one command: lxc-execute -n NEW -- COMMAND",
    ),
    absent(
        "lxc-device",
        "a tenant's devices are set in its configuration",
        "tenantctl edit NAME: `devices` for device access, [[nic]] with mode = \"phys\" for a NIC of the host",
    ),
    absent(
        "lxc-monitor",
        "there is no monitor of state changes",
        "wait for a state: lxc-wait -n NAME -s RUNNING; read the log: tenantctl logs NAME",
    ),
    absent(
        "lxc-snapshot",
        "tenants have no snapshots; images have immutable versions",
        "back up /var/lib/tenantry/tenants/NAME while the tenant is stopped; list the versions of images: rootfsctl list",
    ),
    absent("lxc-unpriv-attach", "every tenant is unprivileged", "lxc-attach -n NAME -- COMMAND"),
    absent("lxc-unpriv-start", "every tenant is unprivileged", "lxc-start -n NAME"),
    absent(
        "lxc-unshare",
        "a program in namespaces of its own is not a tenant",
        "run it in a tenant: lxc-execute -n NAME -- COMMAND; for namespaces only: unshare COMMAND",
    ),
    absent(
        "lxc-update-config",
        "configurations with old key names need no conversion",
        "tenantctl import-lxc FILE",
    ),
    absent(
        "lxc-usernsexec",
        "hostd assigns the ids of tenants",
        "run it in a tenant: lxc-attach -n NAME -- COMMAND; for a user namespace only: unshare --user COMMAND",
    ),
    absent("lxc-top", "another command shows the resource usage of tenants", "tenantctl top"),
];

/// Refuses the command of this name; none if it is none of these.
pub(super) fn refuse(name: &str) -> Option<ExitCode> {
    let absent = ABSENT.iter().find(|absent| absent.name == name)?;
    let text = format!("this command of LXC is not provided: {}", absent.why);
    tell(absent.name, &Failure::new(Code::Invalid, text).help(absent.instead));
    Some(ExitCode::FAILURE)
}
