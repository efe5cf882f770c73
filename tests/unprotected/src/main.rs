//! A supervisor without some of its protections. A test of a protection must fail with it, else it proves nothing.
//!
//! It stands in the place of the program `tenant` for a hostd that is told so by `TENANTRY_LIBEXEC`, and is in no
//! package. What it leaves out is in the file `without` next to it: names of [`PROTECTIONS`], separated by spaces. Each is
//! taken out of the plan, which is all that a supervisor obeys; all else is as in `tenant run`.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use tenant::{
    Layout, Plan,
    cause::chain,
    plan::RootStep,
    supervisor::{self, RunOptions},
};

/// Takes one protection out of a plan.
type LeaveOut = fn(&mut Plan);

/// What can be left out: its name, how.
const PROTECTIONS: &[(&str, LeaveOut)] = &[
    ("calls", |plan| {
        plan.security.denied.clear();
        plan.security.newest = ("none", 0x7fff_ffff);
    }),
    ("capabilities", |plan| plan.security.capabilities = EVERY.to_vec()),
    ("no-new-privs", |plan| plan.security.no_new_privs = false),
    ("devices", |plan| plan.devices.allowed = vec!["a".parse().expect("a rule")]),
    ("sysctls", |plan| plan.refused_sysctls.clear()),
    ("cgroups", |plan| plan.cgroup.max_descendants = 1_000_000),
    ("namespaces", |plan| plan.namespaces_max = 1_000_000),
    ("terminals", |plan| {
        for step in &mut plan.root {
            if let RootStep::Devpts { max } = step {
                *max = 1 << 20;
            }
        }
    }),
    ("filter", |plan| plan.filter = None),
    ("overlay", bind_what_is_shared),
];

/// The capabilities that no tenant has, and those that it has.
const EVERY: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The image's own directories, where there would be an overlay of the tenant's own over each.
fn bind_what_is_shared(plan: &mut Plan) {
    let image = plan.image.dir().to_owned();
    for step in &mut plan.root {
        if let RootStep::Shared { at } = step {
            *step = RootStep::Bind { source: image.join(at.relative()), at: at.clone(), writable: false };
        }
    }
}

/// Takes out what the file next to this program names.
fn alter(plan: &mut Plan) {
    for name in named() {
        let (_, leave_out) =
            PROTECTIONS.iter().find(|(known, _)| *known == name).expect("a known protection");
        leave_out(plan);
    }
}

fn named() -> Vec<String> {
    let here = std::env::current_exe().expect("a program has a path");
    let text = std::fs::read_to_string(here.with_file_name("without")).expect("the file `without` is there");
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The command line that hostd gives its supervisors.
fn options() -> Option<RunOptions> {
    let mut words = std::env::args_os().skip(1);
    let word = |words: &mut dyn Iterator<Item = OsString>| words.next()?.into_string().ok();
    if word(&mut words)? != "--root" {
        return None;
    }
    let layout = Layout::new(PathBuf::from(words.next()?));
    if word(&mut words)? != "run" {
        return None;
    }
    let name = word(&mut words)?.parse().ok()?;
    let mut options = RunOptions { layout, name, cgroup: None, v1_cgroups: Vec::new(), alter };
    while let Some(key) = word(&mut words) {
        let dir = PathBuf::from(words.next()?);
        match key.as_str() {
            "--cgroup" => options.cgroup = Some(dir),
            "--v1-cgroup" => options.v1_cgroups.push(dir),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("usage: unprotected --root DIR run NAME --cgroup DIR [--v1-cgroup DIR]…");
        return ExitCode::from(2);
    };
    match supervisor::run(options) {
        Ok(code) => ExitCode::from(code),
        Err(failed) => {
            eprintln!("error: {}", chain(&*failed.error));
            ExitCode::FAILURE
        }
    }
}
