//! Tenants that are whole systems, and routers.

use super::*;

/// A package without dependencies, made inside: a program, a configuration file and a setuid program.
const PACKAGE: &str = r#"
set -e
cd /root && mkdir -p x/DEBIAN x/usr/bin x/etc x/usr/lib/greet/old
printf 'Package: greet\nVersion: 1.0\nArchitecture: all\nMaintainer: n <n@example.org>\nDescription: greets\n' > x/DEBIAN/control
echo /etc/greet.conf > x/DEBIAN/conffiles
printf '#!/bin/sh\ncat /etc/greet.conf\n' > x/usr/bin/greet && chmod 755 x/usr/bin/greet
cp /bin/id x/usr/bin/greet-id && chmod 4755 x/usr/bin/greet-id
ln x/usr/bin/greet x/usr/bin/greet-again
echo hello > x/etc/greet.conf
echo data > x/usr/lib/greet/old/data
dpkg-deb --build --root-owner-group x greet.deb > /dev/null
apt-get install -y ./greet.deb > apt.log 2>&1 || { cat apt.log; exit 1; }
"#;

#[test]
fn an_os_tenant_installs_packages_that_stay_and_that_no_other_tenant_sees() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &["--profile", "os"]), host.boot("bob", &["--profile", "os"]));
    assert_eq!(alice.says("systemctl is-system-running"), "running");
    alice.shell(PACKAGE).ok();
    let installed = |tenant: &Tenant<'_>| {
        assert_eq!(tenant.says("greet && greet-again"), "hello\nhello");
        assert_eq!(
            tenant.says("stat -c '%a %U %h' /usr/bin/greet-id /usr/bin/greet"),
            "4755 root 1\n755 root 2"
        );
        assert_eq!(tenant.says("dpkg-query -W -f '${Status}' greet"), "install ok installed");
        // A setuid program works: nobody becomes root by it.
        assert!(tenant.says("setpriv --reuid=nobody --clear-groups greet-id").contains("euid=0(root)"));
    };
    installed(&alice);
    alice.ctl("restart", &[]).ok();
    installed(&alice);
    assert_eq!(alice.says("systemctl is-system-running"), "running");
    // Neither the neighbour nor the image has any of it.
    assert_eq!(bob.shell("greet").output().code(), 127);
    assert_eq!(bob.shell("dpkg-query -W greet").output().code(), 1);
    let carol = host.boot("carol", &[]);
    assert_eq!(carol.shell("test -e /usr/bin/greet").output().code(), 1);
    alice.shell("apt-get purge -y greet > /dev/null && ! test -e /etc/greet.conf").ok();
}

#[test]
fn an_os_tenant_changes_what_the_image_has_as_on_a_disk_of_its_own() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &["--profile", "os"]), host.boot("bob", &["--profile", "os"]));
    for script in [
        // A directory of the image is renamed, and a new one takes its place: redirect_dir.
        "mv /usr/share/common-licenses /usr/share/licenses && mkdir /usr/share/common-licenses",
        "dpkg-divert --local --rename --add /bin/true && ln -s /bin/false /bin/true && ! /bin/true",
        "ln /usr/share/licenses/GPL-3 /usr/share/gpl && test /usr/share/gpl -ef /usr/share/licenses/GPL-3",
        "rm -r /usr/share/doc && mkdir /usr/share/doc && test -z \"$(ls /usr/share/doc)\"",
        "cp --preserve=all /usr/bin/passwd /usr/bin/passwd.new && mv /usr/bin/passwd.new /usr/bin/passwd",
        "setfattr -n user.mark -v 1 /usr/bin/env || python3 -c 'import os; os.setxattr(\"/usr/bin/env\", \"user.mark\", b\"1\")' || true",
        "chown daemon /usr/bin/env && chmod 711 /usr/bin/env && mkfifo /srv/fifo && touch /new",
        "useradd --create-home ann && echo ann:x | chpasswd && su ann -c 'id -un' | grep -x ann",
        "journalctl --flush; logger kept-in-the-journal; journalctl --sync; journalctl | grep -q kept-in-the-journal",
    ] {
        alice.shell(script).ok();
    }
    alice.ctl("restart", &[]).ok();
    for script in [
        "test -e /usr/share/licenses/GPL-3 && test -z \"$(ls /usr/share/common-licenses)\"",
        "! /bin/true && /bin/true.distrib && dpkg-divert --list /bin/true | grep -q true.distrib",
        "test /usr/share/gpl -ef /usr/share/licenses/GPL-3",
        "test -z \"$(ls /usr/share/doc)\" && test -p /srv/fifo && test -e /new",
        "test \"$(stat -c %U:%a /usr/bin/env)\" = daemon:711 && su ann -c 'id -un' | grep -x ann",
        "journalctl | grep -q kept-in-the-journal",
        "test \"$(systemctl is-system-running)\" = running && test \"$(stat -c %a /usr/bin/passwd)\" = 4755",
    ] {
        alice.shell(script).ok();
    }
    bob.shell("/bin/true && test -e /usr/share/common-licenses/GPL-3 && test -n \"$(ls /usr/share/doc)\"")
        .ok();
    assert_eq!(bob.shell("test -e /new || test -e /usr/share/gpl || id ann").output().code(), 1);
}

#[test]
fn a_router_forwards_and_has_no_nic_of_its_own() {
    let host = Host::start();
    for (name, image) in [("tiny", "busybox"), ("whole", "debian")] {
        let router = host.boot(name, &["--profile", "router", "--image", image]);
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/default/forwarding"] {
            assert_eq!(router.says(&format!("cat /proc/sys/net/{key}")), "1", "{image}: {key}");
        }
        assert_eq!(router.says("ls /sys/class/net"), "lo");
        // CAP_NET_ADMIN and CAP_NET_RAW over its own namespace.
        router
            .says("ip link add br0 type bridge && ip address add 10.9.9.1/24 dev br0 && ip link set br0 up");
        assert_eq!(router.says("cat /proc/sys/net/ipv6/conf/br0/forwarding"), "1");
        let tty = "ls /dev/tty[0-9]*";
        assert_eq!(router.says(tty), "/dev/tty1");
    }
    let whole = Tenant::new(&host, "whole");
    assert_eq!(whole.says("systemctl is-system-running"), "running");
    assert_eq!(host.boot("plain", &["--image", "busybox"]).says("cat /proc/sys/net/ipv4/ip_forward"), "0");
}
