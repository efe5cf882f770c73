//! `rootfsctl` as people call it: what it says, and what it ends with. Needs root.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A host of its own, and a copy of the program that everybody may run.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: a descriptor that writes to it here would be inherited by what other tests start.
        let copy = Command::new("cp").arg(env!("CARGO_BIN_EXE_rootfsctl")).arg(dir.path()).status();
        assert!(copy.unwrap().success());
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("rootfsctl"));
        command.arg("--root").arg(self.path("host")).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        told(self.command(args).output().unwrap())
    }

    /// A directory that is a root filesystem: one program.
    fn tree(&self) -> PathBuf {
        let init = self.path("tree/sbin/init");
        fs::create_dir_all(init.parent().unwrap()).unwrap();
        fs::write(&init, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
        self.path("tree")
    }
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn to_another_user_an_image_is_out_of_reach_and_not_absent() {
    let host = Host::new();
    let (code, _, said) = host.run(&["import", text(&host.tree()), "--name", "mine"]);
    assert_eq!(code, 0, "{said}");
    for args in [&["show", "mine"][..], &["list"], &["list", "mine"], &["lint", "mine"], &["channel", "mine"]]
    {
        let output = host.command(args).uid(65_534).gid(65_534).output().unwrap();
        let (code, _, said) = told(output);
        assert_eq!(code, 1, "{args:?}: {said}");
        assert!(
            said.contains("Permission denied") && said.contains("help: run it as root"),
            "{args:?}: {said}"
        );
        assert!(!said.contains("does not exist"), "{args:?}: {said}");
    }
    let (code, _, said) = host.run(&["show", "other"]);
    assert!(code == 3 && said.contains("image \"other\" does not exist"), "{said}");
}

#[test]
fn what_is_an_error_is_never_published() {
    let host = Host::new();
    let tree = host.tree();
    for path in ["", "sbin", "sbin/init"] {
        std::os::unix::fs::lchown(tree.join(path), Some(100_000), Some(100_000)).unwrap();
    }
    let (code, said, error) = host.run(&["import", text(&tree), "--name", "mine"]);
    assert_eq!((code, said.as_str()), (4, ""), "{error}");
    assert!(error.contains("help: ") && error.contains("--idmap b:0:100000:65536"), "{error}");
    assert!(host.run(&["list"]).1.lines().count() <= 1);

    let (code, said, error) =
        host.run(&["import", text(&tree), "--name", "mine", "--idmap", "b:0:100000:65536"]);
    assert_eq!(code, 0, "{error}");
    assert!(said.starts_with("created mine@sha256:"), "{said}");
    for bad in ["100000", "b:0:1:70000"] {
        assert_eq!(host.run(&["import", text(&tree), "--idmap", bad]).0, 2, "{bad}");
    }
    let twice = ["import", text(&tree), "--idmap", "b:0:100000:9", "--idmap", "u:0:200000:9"];
    let (code, _, error) = host.run(&twice);
    assert!(code == 1 && error.contains("two ranges of ids overlap"), "{error}");
}

#[test]
fn what_was_asked_to_be_kept_is_a_warning() {
    let host = Host::new();
    let tree = host.tree();
    fs::create_dir_all(tree.join("etc/ssh")).unwrap();
    fs::write(tree.join("etc/ssh/ssh_host_rsa_key"), "key").unwrap();
    let (code, said, error) = host.run(&["import", text(&tree), "--name", "mine", "--stock"]);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("warning: etc/ssh/ssh_host_rsa_key") && !said.contains("error"), "{said}");
}

#[test]
fn what_is_left_out_is_told() {
    let host = Host::new();
    let tree = host.tree();
    xattr::set(tree.join("sbin/init"), "trusted.mine", b"x").unwrap();
    let archive = host.path("a.tar");
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "-cf"]).arg(&archive).arg("-C").arg(&tree).arg(".");
    assert!(tar.status().unwrap().success());
    let (code, said, error) = host.run(&["import", text(&archive)]);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("skipped: 1 attributes (trusted.mine 1)"), "{said}");
    let (_, json, _) = host.run(&["--json", "import", text(&archive)]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["left_out"]["names"]["trusted.mine"], 1);
}

#[test]
fn an_image_says_which_init_it_has() {
    let host = Host::new();
    let tree = host.tree();
    fs::write(tree.join("sbin/init"), "\x7fELF\0/run/initctl\0").unwrap();
    host.run(&["import", text(&tree), "--name", "mine"]);
    let (_, said, _) = host.run(&["show", "mine"]);
    assert!(said.contains("init_kind = \"sysv\""), "{said}");
    let (_, said, _) = host.run(&["lint", "mine"]);
    assert!(said.contains("init-kind") && said.contains("sysv"), "{said}");
}

#[test]
fn a_package_that_fails_is_named_and_the_mirror_is_not_blamed() {
    let host = Host::new();
    // What mmdebstrap 1.3 prints when a package cannot be set up, and ends with.
    let script = "#!/bin/sh
echo 'I: installing remaining packages inside the chroot...'
echo 'Setting up badpkg (1) ...'
echo 'it cannot be set up here'
echo 'dpkg: error processing package badpkg (--configure):'
echo ' installed badpkg package post-installation script subprocess returned error exit status 3'
echo 'Errors were encountered while processing:'
echo ' badpkg'
echo 'E: Sub-process env returned an error code (1)'
echo 'E: setup failed: E: apt-get --yes install badpkg failed'
echo 'E: mmdebstrap failed to run'
exit 25
";
    let program = host.path("bin/mmdebstrap");
    fs::create_dir(program.parent().unwrap()).unwrap();
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths(
        [host.path("bin")].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut build =
        host.command(&["build", "debian", "--mirror", "http://127.0.0.1:9/debian", "--include", "badpkg"]);
    let (code, _, error) = told(build.env("PATH", path.unwrap()).output().unwrap());
    assert_eq!(code, 1);
    assert!(error.contains("package \"badpkg\" cannot be installed"), "{error}");
    assert!(error.contains("exit status 3: it cannot be set up here"), "{error}");
    assert!(!error.contains("mirror is reachable"), "{error}");
}

#[test]
fn a_set_of_packages_is_asked_for_by_its_name() {
    let host = Host::new();
    let (code, json, error) = host.run(&[
        "--json",
        "build",
        "debian",
        "--with",
        "admin",
        "--with",
        "man",
        "--include",
        "nginx",
        "--dry-run",
    ]);
    assert_eq!(code, 0, "{error}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["sets"], serde_json::json!(["admin", "man"]));
    let packages: Vec<_> = json["packages"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    for package in ["nano", "cron", "sudo", "curl", "rsync", "less", "iproute2", "man-db", "nginx"] {
        assert!(packages.contains(&package), "{package}: {packages:?}");
    }
    let (_, said, _) = host.run(&["build", "debian", "--dry-run"]);
    assert!(said.contains("sets      -\n") && !said.contains(" cron"), "{said}");
    assert!(!host.path("host").exists(), "nothing is made");

    let (code, _, error) = host.run(&["build", "debian", "--with", "games", "--dry-run"]);
    assert!(code == 2 && error.contains("admin, man, network"), "{error}");
    let (code, _, error) = host.run(&["build", "debian", "--include", "a b", "--dry-run"]);
    assert!(code == 1 && error.contains("\"a b\" is not the name of a Debian package"), "{error}");
    let (_, help, _) = host.run(&["build", "debian", "--help"]);
    assert!(help.contains("- admin:") && help.contains("rsync sudo"), "{help}");
}

/// What mmdebstrap is told, by one that only writes it down.
#[test]
fn a_build_asks_for_what_its_dry_run_says() {
    let host = Host::new();
    let program = host.path("bin/mmdebstrap");
    fs::create_dir(program.parent().unwrap()).unwrap();
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {}\nexit 1\n", text(&host.path("told")));
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths(
        [host.path("bin")].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut build =
        host.command(&["build", "debian", "--with", "man,admin", "--mirror", "http://127.0.0.1:9/d"]);
    build.env("PATH", path.unwrap()).output().unwrap();
    let told = fs::read_to_string(host.path("told")).unwrap();
    let (_, json, _) = host.run(&["--json", "build", "debian", "--with", "admin,man", "--dry-run"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let packages: Vec<_> = json["packages"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    assert!(told.lines().any(|line| line == format!("--include={}", packages.join(","))), "{told}");
    let rules: Vec<_> = told.lines().filter(|line| line.starts_with("--dpkgopt=")).collect();
    assert_eq!(rules.last(), Some(&"--dpkgopt=path-include=/usr/share/man/man[1-9]/*"), "{rules:?}");
}
