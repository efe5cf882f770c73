//! Containers of LXC, and of others, that are brought over: with what their hosts made of them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
};

use tenantry_tests::{Host, Run, Tenant, poll};

/// A host without images, on which one can be made, and LXC's commands.
fn bare() -> Host {
    let host = Host::bare();
    host.start_hostd();
    host
}

fn write(path: &Path, text: &str) -> String {
    fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("a directory");
    fs::write(path, text).expect("a file");
    path.to_string_lossy().into_owned()
}

/// The root filesystem of a container, of busybox.
fn root(host: &Host, name: &str) -> PathBuf {
    let tree = host.path(format!("containers/{name}/rootfs"));
    for dir in ["bin", "etc", "dev", "proc", "sys", "tmp", "run", "var", "sbin", "root", "usr", "srv"] {
        fs::create_dir_all(tree.join(dir)).expect("a tree");
    }
    let busybox = Run::new("sh", ["-c", "command -v busybox"]).ok();
    fs::copy(busybox.text(), tree.join("bin/busybox")).expect("busybox is here");
    for applet in ["sh", "cat", "sleep", "id", "stat"] {
        symlink("busybox", tree.join("bin").join(applet)).expect("a link");
    }
    write(&tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var:/bin/sh\n");
    write(&tree.join("etc/group"), "root:x:0:\nwww:x:33:\n");
    tree
}

/// Gives everything below a directory to the user of a number, as if that were root.
fn shift(dir: &Path, base: u32) {
    lchown(dir, Some(base), Some(base)).expect("root may do that");
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            shift(&path, base);
        } else {
            lchown(&path, Some(base), Some(base)).expect("root may do that");
        }
    }
}

#[test]
fn an_unprivileged_container_has_its_own_owners_again() {
    let host = bare();
    let tree = root(&host, "web");
    fs::create_dir(tree.join("var/www")).expect("a directory");
    shift(&tree, 100_000);
    lchown(tree.join("var/www"), Some(100_033), Some(100_033)).expect("root may do that");
    fs::set_permissions(tree.join("var/www"), fs::Permissions::from_mode(0o2750)).expect("a mode");
    let text = format!(
        "lxc.uts.name = web\nlxc.rootfs.path = dir:{}\nlxc.init.cmd = /bin/sleep 100000\nlxc.net.0.type = empty\n",
        tree.display()
    );
    // Without its map nothing is made, and the way is told.
    let conf = write(&host.path("containers/web/config"), &text);
    let said = host.ctl(&["import-lxc", &conf]).output().refused(1);
    assert!(said.contains("--idmap b:0:100000:65536"), "{said}");
    assert!(host.names().is_empty());
    assert!(!host.tool("rootfsctl", &["show", "web"]).output().status.success());

    let conf = write(
        &host.path("containers/web/config"),
        &(text + "lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n"),
    );
    host.ctl(&["import-lxc", &conf]).ok();
    host.ctl(&["set", "web", "ready=exec"]).ok();
    let web = Tenant::new(&host, "web");
    web.start();
    assert_eq!(web.says("id -un; stat -c '%u %g %a' /etc/passwd /var/www"), "root\n0 0 644\n33 33 2750");
}

#[test]
fn what_lxc_passes_over_does_not_keep_a_tenant_from_starting() {
    let host = bare();
    let tree = root(&host, "web");
    let data = host.path("data");
    write(&data.join("mark"), "of the host\n");
    let text = format!(
        "lxc.mount.entry = {data} {root}/srv/data none bind,ro,create=dir 0 0\n\
         lxc.mount.entry = {data}/absent srv/absent none bind,optional,create=dir 0 0\n\
         lxc.mount.entry = /etc/resolv.conf etc/resolv.conf none bind,ro 0 0\n\
         lxc.mount.entry = /sys/kernel/debug sys/kernel/debug none bind,optional 0 0\n\
         lxc.mount.entry = none srv/scratch tmpfs size=1m,create=dir 0 0\n\
         lxc.rootfs.path = {root}\nlxc.init.cmd = /bin/sleep 100000\nlxc.net.0.type = empty\n",
        data = data.display(),
        root = tree.display()
    );
    let conf = write(&host.path("containers/web/config"), &text);
    let said = host.ctl(&["import-lxc", &conf]).ok();
    assert!(said.stdout.contains("name servers") && said.stdout.contains(" 1 warnings"), "{}", said.stdout);
    host.ctl(&["set", "web", "ready=exec"]).ok();
    let web = Tenant::new(&host, "web");
    web.start();
    assert_eq!(web.says("cat /srv/data/mark; ls /srv"), "of the host\ndata\nscratch");
}

#[test]
fn configurations_of_others_make_nothing() {
    let host = Host::start();
    let proxmox = "arch: amd64\ncores: 2\nhostname: web\nmemory: 512\nostype: debian\n\
        rootfs: local:101/vm-101-disk-0.raw,size=8G\nlxc.idmap: u 0 100000 65536\n";
    let lxd = "architecture: x86_64\nconfig:\n  image.os: Debian\ndevices: {}\nprofiles:\n- default\n";
    for (name, text, whose) in [("101.conf", proxmox, "Proxmox"), ("web.yaml", lxd, "LXD")] {
        let conf = write(&host.path(name), text);
        for options in [&[][..], &["--name", "web"]] {
            let said = host.ctl(&["import-lxc", &conf]).args(options).output().refused(2);
            assert!(said.contains(whose) && said.contains("help: "), "{said}");
        }
    }
    assert!(host.names().is_empty());
    // A number is no name, and that is what is said.
    let conf = write(&host.path("101/config"), "lxc.tty.max = 1\n");
    let said = host.ctl(&["import-lxc", &conf]).output().refused(2);
    assert!(said.contains("\"101\" is not a tenant name") && said.contains("--name NAME"), "{said}");
}

#[test]
fn each_command_of_lxc_does_something_or_says_why_not() {
    let host = Host::start();
    let links = host.path("lxc");
    host.ctl(&["lxc-links", &links.to_string_lossy()]).ok();
    let lxc = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        Run::new(links.join(words[0]), &words[1..]).env("TENANTRY_ROOT", host.root())
    };
    for (line, instead) in [
        ("lxc-copy -n a -N b", "tenantctl create"),
        ("lxc-copy -n a -e", "lxc-execute"),
        ("lxc-snapshot -n a", "rootfsctl list"),
        ("lxc-monitor -n a", "lxc-wait"),
        ("lxc-monitor -Q", "lxc-wait"),
        ("lxc-device -n a add /dev/null", "devices"),
        ("lxc-checkpoint -n a -s -D /x", "lxc-freeze"),
        ("lxc-config lxc.lxcpath", "TENANTRY_ROOT"),
        ("lxc-top", "tenantctl top"),
        ("lxc-autostart -g onboot", "lxc-ls"),
    ] {
        let name = line.split(' ').next().expect("a command");
        let said = lxc(line).output().refused(1);
        assert!(said.contains(&format!("{name}: error: ")) && said.contains(instead), "{line}: {said}");
    }

    for (name, autostart) in [("first", "true"), ("second", "true"), ("third", "false")] {
        host.create(name, &["--image", "busybox", "--set", &format!("autostart={autostart}")]);
    }
    let states = || lxc("lxc-ls -1 --running").ok().stdout;
    assert_eq!(lxc("lxc-autostart -L").ok().stdout, "first 0\nsecond 0\n");
    assert_eq!(states(), "");
    lxc("lxc-start -n first -d").ok();
    lxc("lxc-autostart").ok();
    assert_eq!(states(), "first\nsecond\n");
    lxc("lxc-autostart -A").ok();
    assert_eq!(states(), "first\nsecond\nthird\n");
    let boot = Tenant::new(&host, "first").boot_id();
    lxc("lxc-autostart -r").ok();
    assert_ne!(Tenant::new(&host, "first").boot_id(), boot);
    lxc("lxc-autostart -s -t 20").ok();
    assert_eq!(states(), "third\n");
    lxc("lxc-autostart -A -k").ok();
    poll::until_true("all are stopped", || states().is_empty());
}
