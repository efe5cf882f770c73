//! Host code reaches what tenants have stored by one way: traced through every verb.

use std::{collections::BTreeSet, fs, process::Stdio};

use tenantry_tests::{Host, Run, poll};

/// Calls that open, and those that name an entry of an open directory.
const TRACED: &str = "open,openat,openat2,open_tree,creat,stat,lstat,newfstatat,statx,access,faccessat,faccessat2,mkdir,mkdirat,\
     unlink,unlinkat,rmdir,rename,renameat,renameat2,link,linkat,symlink,symlinkat,readlink,readlinkat,chmod,fchmodat,\
     chown,lchown,fchownat,mknod,mknodat,utimensat,truncate,setxattr,lsetxattr,getxattr,lgetxattr,listxattr,\
     llistxattr,removexattr,lremovexattr,chdir,execve";

/// What is wrong with a traced call: `name(arguments`, with descriptors as `N<PATH>`. `tenants` is the directory of all.
fn fault(call: &str, tenants: &str) -> Option<&'static str> {
    let (name, arguments) = call.split_once('(')?;
    // At or below a tenant's directories: `…/alice/dirs`, `…/.part-x/dirs/etc`, `…/alice/snapshots/s/dirs/etc`.
    let stored = |path: &str| {
        let below = path.strip_prefix(tenants)?;
        let (_, inner) = below.split_once("/dirs")?;
        (inner.is_empty() || inner.starts_with('/')).then(|| inner.trim_start_matches('/').to_owned())
    };
    let quoted: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
    if quoted.iter().any(|path| stored(path).is_some_and(|inner| !inner.is_empty())) {
        return Some("names it by a path");
    }
    // The directory that a relative name is of.
    let dir =
        arguments.split_once('<').filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    let dir = dir.and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path)?;
    stored(dir)?;
    let first = quoted.first()?;
    if first.is_empty() {
        // The descriptor itself.
        return None;
    }
    match name {
        "openat2" => {
            let flags = arguments.split("resolve=").nth(1).unwrap_or_default();
            let has = |flag: &str| flags.contains(flag);
            let is_bound = has("RESOLVE_BENEATH") || has("RESOLVE_IN_ROOT");
            (!is_bound || !has("RESOLVE_NO_SYMLINKS"))
                .then_some("opens it without RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS")
        }
        "openat" | "open_tree" => Some("opens it without openat2(2)"),
        _ if first.contains('/') || *first == ".." => Some("names more than one component"),
        "newfstatat" | "statx" | "utimensat" | "fchownat" if !arguments.contains("AT_SYMLINK_NOFOLLOW") => {
            Some("follows a link")
        }
        _ => None,
    }
}

#[test]
fn what_is_wrong_with_a_call_is_seen() {
    let tenants = "/x/tenants";
    for (call, is_wrong) in [
        (r#"openat(AT_FDCWD, "/x/tenants/a/dirs/etc/upper/x", O_RDONLY) = 3"#, true),
        (r#"openat(AT_FDCWD, "/x/tenants/a/dirs", O_RDONLY) = 3"#, false),
        (r#"openat(AT_FDCWD, "/x/tenants/a/allocation.toml", O_RDONLY) = 3"#, false),
        (r#"openat(5</x/tenants/a/dirs/etc>, "x", O_RDONLY) = 3"#, true),
        (
            r#"openat2(5</x/tenants/a/dirs>, "x", {flags=O_RDONLY, resolve=RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS}, 24) = 3"#,
            false,
        ),
        (r#"openat2(5</x/tenants/a/dirs>, "x", {flags=O_RDONLY, resolve=RESOLVE_BENEATH}, 24) = 3"#, true),
        (r#"unlinkat(5</x/tenants/a/dirs/etc>, "x", 0) = 0"#, false),
        (r#"unlinkat(5</x/tenants/a/dirs/etc>, "x/y", 0) = 0"#, true),
        (r#"unlinkat(5</x/tenants>, ".gone-a", 0) = 0"#, false),
        (r#"newfstatat(5</x/tenants/a/dirs/etc>, "x", {st_mode=S_IFREG}, 0) = 0"#, true),
        (r#"newfstatat(5</x/tenants/a/dirs/etc>, "x", {st_mode=S_IFREG}, AT_SYMLINK_NOFOLLOW) = 0"#, false),
        (r#"newfstatat(5</x/tenants/a/dirs/etc>, "", {st_mode=S_IFREG}, AT_EMPTY_PATH) = 0"#, false),
        (r#"chmod("/proc/self/fd/7", 0644) = 0"#, false),
        (r#"lstat("/x/tenants/a/snapshots/s/dirs/etc", {}) = 0"#, true),
    ] {
        assert_eq!(fault(call, tenants).is_some(), is_wrong, "{call}");
    }
}

#[test]
fn no_verb_opens_what_a_tenant_has_stored_another_way() {
    let host = Host::start();
    let log = host.path("calls");
    let pid = host.hostd_pid().to_string();
    let log_path = log.to_str().expect("a path").to_owned();
    let trace = format!("trace={TRACED}");
    let mut strace = std::process::Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "4096",
            "-qq",
            "-e",
            &trace,
            "-e",
            "signal=none",
            "-o",
            &log_path,
            "-p",
            &pid,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace(1)");
    poll::until_true("hostd is traced", || {
        fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| !text.contains("TracerPid:\t0\n"))
    });
    let ctl = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        host.ctl(&words).limit(std::time::Duration::from_secs(120)).ok();
    };
    ctl("create alice --image busybox");
    ctl("start alice");
    let script = "echo > /etc/motd; mkdir /root/a; echo > /root/a/f; ln -s /etc /root/l";
    host.ctl(&["exec", "alice", "--", "sh", "-c", script]).ok();
    let archive = host.path("a.tar");
    let archive = archive.to_str().expect("a path");
    let out = host.path("passwd");
    let out = out.to_str().expect("a path");
    for line in [
        "snapshot alice one",
        "clone alice bob",
        &format!("export alice {archive}"),
        &format!("import {archive} carol"),
        &format!("cp {archive} alice:/root/x"),
        &format!("cp alice:/etc/passwd {out}"),
        "show alice",
        "drift alice",
        "stop alice",
        &format!("cp {archive} alice:/root/y"),
        "restore alice one",
        "reset alice /root --yes",
        "rename alice dora",
        "start dora",
        "set dora memory_max=100M",
        "doctor",
        "destroy dora bob carol --force --yes",
    ] {
        if line.starts_with("doctor") {
            // What it says of this machine is not the question.
            let _said = host.ctl(&line.split_whitespace().collect::<Vec<_>>()).output();
        } else {
            ctl(line);
        }
    }
    Run::new("kill", ["-INT", &strace.id().to_string()]).ok();
    strace.wait().expect("strace ends");
    let calls = fs::read_to_string(&log).expect("the calls");
    let tenants = host.path("var/lib/tenantry/tenants");
    let tenants = tenants.to_str().expect("a path");
    let seen = calls.lines().filter(|line| line.contains("/dirs")).count();
    assert!(seen > 100, "only {seen} calls were traced");
    let wrong: BTreeSet<String> = calls
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(_, call)| Some((fault(call.trim_start(), tenants)?, call.trim_start())))
        .map(|(what, call)| format!("{what}: {}", call.chars().take(300).collect::<String>()))
        .collect();
    let shown: Vec<&String> = wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "{} calls: {shown:#?}", wrong.len());
}
