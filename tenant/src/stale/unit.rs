//! What stale processes belong to in their tenant, and what makes them run the present version.

use std::{
    ffi::OsStr,
    path::{Component, Path},
};

use super::{Look, process::StaleProcess};
use crate::model::image::InitKind;

/// What a process belongs to in its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// It is the tenant's init.
    Init,
    /// A unit of the tenant's systemd.
    Unit(String),
    /// A session of a user, or a user's own systemd: the name of the unit.
    Session(String),
    /// A service of an init that has no units, of OpenRC or runit: its name.
    Service(String),
    /// A command or a shell of `tenantctl`, which systemd counts to init's own unit.
    Attached,
    /// No unit: its init has none.
    Process(u32),
}

/// What makes it run the present version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// `systemctl try-restart UNIT` inside.
    RestartUnit,
    /// `systemctl daemon-reexec` inside.
    DaemonReexec,
    /// `telinit u` inside.
    TelinitU,
    /// `rc-service SERVICE restart` inside.
    RcService,
    /// `sv exit SERVICE` inside: runsvdir(8) starts it again, with its runsv(8) and its log.
    Sv,
    /// Its user logs out, or ends the command.
    LogOut,
    /// What started the process starts it again.
    RestartProcess,
    /// A restart of the tenant: nothing less will do, or what does would break what depends on the unit.
    RestartTenant,
}

/// Stale processes that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// To what.
    pub holder: Holder,
    /// The remedy.
    pub remedy: Remedy,
    /// They.
    pub processes: Vec<StaleProcess>,
}

/// Units that cannot be restarted without breaking what depends on them, as patterns with one `*` at the end; the
/// list of needrestart(1) knows the same ones.
const BREAKING: [&str; 22] = [
    // All services and sessions lose their connection to the bus, and most of them never make a new one.
    "dbus.service",
    "dbus-broker.service",
    // The tenant's own addresses and routes go with them.
    "networking.service",
    "ifup@*",
    "NetworkManager.service",
    "wpa_supplicant*",
    "wicd.service",
    // They end the containers and machines inside.
    "docker.service",
    "lxc*",
    "libvirtd.service",
    "systemd-nspawn@*",
    // They end graphical logins.
    "display-manager.service",
    "gdm*",
    "greetd.service",
    "kdm.service",
    "lightdm.service",
    "lxdm.service",
    "nodm.service",
    "sddm.service",
    "slim.service",
    "wdm.service",
    "xdm.service",
];

/// Units that a login goes through: what waits for one may be restarted, who has logged in must not be thrown out.
const GETTYS: [&str; 4] = ["getty@*", "serial-getty@*", "console-getty.service", "container-getty@*"];

/// The program that waits for a login.
const GETTY: &str = "agetty";

fn is_one_of(patterns: &[&str], unit: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => unit.starts_with(start),
        None => unit == *pattern,
    })
}

/// Whether systemd may call a unit this, and OpenRC or runit a service.
fn is_unit_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.len() < 256 && !name.starts_with(['-', '.']) && name.bytes().all(is_allowed)
}

/// What the process with this id inside belongs to, by its cgroup as the tenant sees it, where init gives each service
/// one.
fn holder(cgroup: &Path, inside: u32) -> Holder {
    let names: Vec<&str> = cgroup
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => OsStr::to_str(name),
            _ => None,
        })
        .collect();
    let is_unit = |name: &&str| name.ends_with(".service") || name.ends_with(".scope");
    // What is below belongs to it: a container's cgroups, the units of a user's own systemd.
    let Some(at) = names.iter().position(is_unit).filter(|at| is_unit_name(names[*at])) else {
        return Holder::Process(inside);
    };
    let unit = names[at].to_owned();
    match unit.as_str() {
        "init.scope" if at == 0 && inside == 1 => Holder::Init,
        "init.scope" if at == 0 => Holder::Attached,
        _ if names[..at].iter().any(|slice| slice.starts_with("user-") && slice.ends_with(".slice")) => {
            Holder::Session(unit)
        }
        _ => Holder::Unit(unit),
    }
}

/// The service that a process belongs to where init has no units. OpenRC gives each a cgroup of its name.
fn service(process: &StaleProcess) -> Option<String> {
    let cgroup = || {
        let mut parts = process.cgroup.components();
        let only = parts.next().filter(|_| parts.next().is_none())?;
        only.as_os_str().to_str().map(str::to_owned)
    };
    process.supervised.clone().or_else(cgroup).filter(|name| is_unit_name(name))
}

fn remedy(
    holder: &Holder,
    processes: &[StaleProcess],
    init: Option<InitKind>,
    is_one_program: bool,
) -> Remedy {
    match holder {
        Holder::Init if init == Some(InitKind::Systemd) => Remedy::DaemonReexec,
        Holder::Init if init == Some(InitKind::SysV) => Remedy::TelinitU,
        // openrc-init and runit have no way to execute themselves again; busybox ends all processes first.
        Holder::Init => Remedy::RestartTenant,
        Holder::Session(_) | Holder::Attached => Remedy::LogOut,
        Holder::Process(_) if is_one_program => Remedy::RestartTenant,
        Holder::Process(_) => Remedy::RestartProcess,
        Holder::Service(name) if is_one_of(&BREAKING, &format!("{name}.service")) => Remedy::RestartTenant,
        Holder::Service(_) if processes.iter().any(|process| process.supervised.is_some()) => Remedy::Sv,
        Holder::Service(_) => Remedy::RcService,
        Holder::Unit(unit) if is_one_of(&BREAKING, unit) => Remedy::RestartTenant,
        Holder::Unit(unit) if is_one_of(&GETTYS, unit) => {
            match processes.iter().all(|process| process.command == GETTY) {
                true => Remedy::RestartUnit,
                false => Remedy::LogOut,
            }
        }
        // systemd has not started what is in a scope, and cannot start it again.
        Holder::Unit(unit) if unit.ends_with(".scope") => Remedy::RestartProcess,
        Holder::Unit(_) => Remedy::RestartUnit,
    }
}

/// What a look has found, by unit: units by name, then sessions, then init. `init` is the kind of the version's init
/// where it is known; a tenant of one program has neither units nor an init of its own.
pub fn groups(look: Look, init: Option<InitKind>, is_one_program: bool) -> Vec<Group> {
    let init = if look.has_units { Some(InitKind::Systemd) } else { init };
    let mut groups: Vec<Group> = Vec::new();
    for process in look.processes {
        let holder = match (look.has_units, process.inside) {
            (true, inside) => holder(&process.cgroup, inside),
            (false, 1) => Holder::Init,
            (false, inside) => match service(&process).filter(|_| !is_one_program) {
                Some(name) => Holder::Service(name),
                None => Holder::Process(inside),
            },
        };
        match groups.iter_mut().find(|group| group.holder == holder) {
            Some(group) => group.processes.push(process),
            None => groups.push(Group { holder, remedy: Remedy::RestartTenant, processes: vec![process] }),
        }
    }
    for group in &mut groups {
        group.remedy = remedy(&group.holder, &group.processes, init, is_one_program);
    }
    groups.sort_by(|a, b| (place(&a.holder), &a.holder).cmp(&(place(&b.holder), &b.holder)));
    groups
}

/// The order in which they are shown, and dealt with.
fn place(holder: &Holder) -> u8 {
    match holder {
        Holder::Unit(_) | Holder::Service(_) | Holder::Process(_) => 0,
        Holder::Attached | Holder::Session(_) => 1,
        Holder::Init => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(cgroup: &str, inside: u32, command: &str) -> StaleProcess {
        let command = command.to_owned();
        let cgroup = cgroup.into();
        StaleProcess { pid: 1000 + inside, inside, command, cgroup, supervised: None, files: Vec::new() }
    }

    #[test]
    fn a_process_belongs_to_the_unit_that_systemd_restarts() {
        let unit = |name: &str| Holder::Unit(name.to_owned());
        let session = |name: &str| Holder::Session(name.to_owned());
        for (cgroup, inside, expected) in [
            ("init.scope", 1, Holder::Init),
            ("init.scope", 77, Holder::Attached),
            ("system.slice/ssh.service", 5, unit("ssh.service")),
            ("system.slice/system-getty.slice/getty@tty1.service", 5, unit("getty@tty1.service")),
            ("machine.slice/libpod-1a.scope/container", 5, unit("libpod-1a.scope")),
            ("system.slice/docker.service/inner/x.service", 5, unit("docker.service")),
            ("user.slice/user-1000.slice/session-3.scope", 5, session("session-3.scope")),
            (
                "user.slice/user-1000.slice/user@1000.service/app.slice/x.service",
                5,
                session("user@1000.service"),
            ),
            ("system.slice/-H evil.service", 5, Holder::Process(5)),
            ("", 5, Holder::Process(5)),
            ("x/init.scope", 5, unit("init.scope")),
        ] {
            assert_eq!(holder(Path::new(cgroup), inside), expected, "{cgroup}");
        }
    }

    #[test]
    fn the_remedy_breaks_nothing_that_is_not_stale() {
        let look = |has_units, processes: &[StaleProcess]| Look { has_units, processes: processes.to_vec() };
        let found = |look, init, is_one| {
            let groups = groups(look, init, is_one);
            groups.into_iter().map(|group| (group.holder, group.remedy)).collect::<Vec<_>>()
        };
        let unit = |name: &str| Holder::Unit(name.to_owned());
        let all = look(
            true,
            &[
                process("init.scope", 1, "systemd"),
                process("init.scope", 40, "sh"),
                process("system.slice/ssh.service", 41, "sshd"),
                process("system.slice/ssh.service", 42, "sshd"),
                process("system.slice/dbus.service", 43, "dbus-daemon"),
                process("system.slice/console-getty.service", 44, "agetty"),
                process("system.slice/getty@tty1.service", 45, "agetty"),
                process("system.slice/getty@tty1.service", 46, "login"),
                process("user.slice/user-0.slice/session-1.scope", 47, "bash"),
                process("system.slice/run-1.scope", 48, "sleep"),
            ],
        );
        let expected = [
            (unit("console-getty.service"), Remedy::RestartUnit),
            (unit("dbus.service"), Remedy::RestartTenant),
            (unit("getty@tty1.service"), Remedy::LogOut),
            (unit("run-1.scope"), Remedy::RestartProcess),
            (unit("ssh.service"), Remedy::RestartUnit),
            (Holder::Session("session-1.scope".to_owned()), Remedy::LogOut),
            (Holder::Attached, Remedy::LogOut),
            (Holder::Init, Remedy::DaemonReexec),
        ];
        assert_eq!(found(all, Some(InitKind::Systemd), false), expected);
        let two = [process("", 1, "init"), process("", 9, "crond")];
        for (init, expected) in [
            (Some(InitKind::SysV), Remedy::TelinitU),
            (Some(InitKind::OpenRc), Remedy::RestartTenant),
            (Some(InitKind::Busybox), Remedy::RestartTenant),
            (None, Remedy::RestartTenant),
        ] {
            let expected = [(Holder::Process(9), Remedy::RestartProcess), (Holder::Init, expected)];
            assert_eq!(found(look(false, &two), init, false), expected);
        }
        let expected = [(Holder::Process(9), Remedy::RestartTenant), (Holder::Init, Remedy::RestartTenant)];
        assert_eq!(found(look(false, &two), None, true), expected);
    }

    #[test]
    fn services_of_openrc_and_runit_are_known_by_their_names() {
        let supervised = |inside, command, service: &str| StaleProcess {
            supervised: Some(service.to_owned()),
            ..process("", inside, command)
        };
        let found = |processes: Vec<StaleProcess>, is_one| {
            let groups = groups(Look { has_units: false, processes }, Some(InitKind::SysV), is_one);
            groups.into_iter().map(|group| (group.holder, group.remedy)).collect::<Vec<_>>()
        };
        let service = |name: &str| Holder::Service(name.to_owned());
        let openrc =
            || vec![process("ssh", 5, "sshd"), process("dbus", 6, "dbus"), process("docker/1a", 7, "x")];
        let expected = [
            (service("dbus"), Remedy::RestartTenant),
            (service("ssh"), Remedy::RcService),
            (Holder::Process(7), Remedy::RestartProcess),
        ];
        let mut seen = found(openrc(), false);
        seen.sort_by_key(|(holder, _)| matches!(holder, Holder::Process(_)));
        assert_eq!(seen, expected);
        assert!(found(openrc(), true).iter().all(|(holder, _)| matches!(holder, Holder::Process(_))));
        let runit =
            vec![supervised(8, "runsv", "ssh"), supervised(9, "sshd", "ssh"), supervised(10, "x", "-rf /")];
        let expected = [(service("ssh"), Remedy::Sv), (Holder::Process(10), Remedy::RestartProcess)];
        let mut seen = found(runit, false);
        seen.sort_by_key(|(holder, _)| matches!(holder, Holder::Process(_)));
        assert_eq!(seen, expected);
    }
}
