//! What a tenant is called, and what it must not share with other tenants.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use tenantry_tests::{Host, Tenant, poll};

/// Options of one tenant of each sort that names itself: an init, and a place for `/etc`.
const SORTS: [(&str, &[&str]); 5] = [
    ("shared", &["--image", "debian"]),
    ("os", &["--image", "debian", "--profile", "os"]),
    ("private", &["--image", "debian", "--set", "dirs.\"/etc\"=private"]),
    ("small", &["--image", "busybox"]),
    ("small-os", &["--image", "busybox", "--profile", "os"]),
];

fn resolves(tenant: &Tenant<'_>, name: &str) -> bool {
    // busybox has no getent.
    let ask = format!("getent hosts {name} || ping -c 1 -W 1 {name}");
    tenant.shell(&ask).output().status.success()
}

#[test]
fn the_host_name_of_the_file_is_the_tenants_at_every_start() {
    let host = Host::start();
    for (name, options) in SORTS {
        let tenant = host.boot(name, options);
        assert_eq!(tenant.says("hostname"), name);
        assert!(resolves(&tenant, name), "{name}");
        assert!(!tenant.shell("test -e /etc/hostname").output().status.success(), "{name}");

        tenant.ctl("set", &["hostname=web.example.org"]).ok();
        tenant.ctl("restart", &[]).ok();
        assert_eq!(tenant.says("hostname"), "web.example.org", "{name}");
        let hosts = tenant.says("cat /etc/hosts");
        assert!(hosts.contains("127.0.1.1\tweb.example.org web\t"), "{name}: {hosts}");
        assert!(hosts.contains("host.tenantry"), "{name}: {hosts}");
        assert!(resolves(&tenant, "web") && resolves(&tenant, "web.example.org"), "{name}");
        assert_eq!(tenant.field("/hostname"), "web.example.org");
        assert!(tenant.show().get("hostname_inside").is_none(), "{name}");

        // busybox hears nothing before its first script has run.
        let is_up = || tenant.shell("[ ! -e /etc/inittab ] || [ -e /run/utmp ]").output().status.success();
        poll::until_true("init hears", is_up);
        let _cut_off = tenant.shell("reboot").output();
        poll::until_true("it has rebooted", || {
            let state = tenant.run_state();
            state["phase"] == "running" && state["boots"] == 2
        });
        assert_eq!(tenant.says("hostname"), "web.example.org", "{name}");

        tenant.ctl("set", &["--unset", "hostname"]).ok();
        tenant.ctl("restart", &[]).ok();
        assert_eq!(tenant.says("hostname"), name);
        let hosts = tenant.says("cat /etc/hosts");
        assert!(!hosts.contains("web.example.org") && resolves(&tenant, name), "{name}: {hosts}");
    }
}

#[test]
fn a_host_name_that_was_set_inside_wins_and_show_tells_both() {
    let host = Host::start();
    for (name, options) in SORTS {
        let tenant = host.boot(name, options);
        tenant.says("echo own.example.org > /etc/hostname");
        assert_eq!(tenant.field("/hostname_inside"), "own.example.org");
        tenant.ctl("set", &["hostname=web"]).ok();
        tenant.ctl("restart", &[]).ok();
        assert_eq!(tenant.says("hostname; cat /etc/hostname"), ["own.example.org"; 2].join("\n"), "{name}");
        assert!(resolves(&tenant, "own"), "{name}: {}", tenant.says("cat /etc/hosts"));
        let shown = host.ctl(&["show", name]).ok().stdout;
        assert!(shown.contains("own.example.org, set inside; web in its file"), "{shown}");

        tenant.says("rm /etc/hostname");
        tenant.ctl("restart", &[]).ok();
        assert_eq!(tenant.says("hostname"), "web", "{name}");
        assert!(tenant.show().get("hostname_inside").is_none(), "{name}");
    }
}

#[test]
fn a_host_name_that_hostnamectl_sets_resolves_at_once() {
    let host = Host::start();
    for (name, options) in &SORTS[..2] {
        let alice = host.boot(name, options);
        alice.says("hostnamectl set-hostname own");
        assert_eq!(alice.says("hostname"), "own");
        assert!(resolves(&alice, "own"), "{name}");
        assert_eq!(alice.field("/hostname_inside"), "own");
        alice.ctl("restart", &[]).ok();
        assert_eq!(alice.says("hostname"), "own");
        alice.says("hostnamectl set-hostname ''");
        alice.ctl("restart", &[]).ok();
        assert_eq!(alice.says("hostname"), *name);
    }
}

#[test]
fn a_tenant_with_the_name_files_of_an_earlier_release_follows_its_file() {
    let host = Host::start();
    for (name, etc) in [("shared", "etc/upper"), ("os", "root-overlay/upper/etc")] {
        let (_, options) = SORTS.iter().find(|(sort, _)| sort == &name).expect("a sort");
        let alice = host.create(name, options);
        let etc = host.path(format!("var/lib/tenantry/tenants/{name}/dirs")).join(etc);
        // What they wrote into every new tenant, in this order.
        let own = format!("127.0.1.1\t{name}\n");
        let rest = "::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n\
                    169.254.1.1\tmachine host.tenantry\n";
        fs::write(etc.join("hostname"), format!("{name}\n")).expect("hostname");
        fs::write(etc.join("hosts"), format!("127.0.0.1\tlocalhost\n{own}{rest}")).expect("hosts");
        let machine_id = fs::File::open(etc.join("machine-id")).expect("machine-id");
        machine_id.set_modified(SystemTime::now()).expect("its time can be set");
        assert!(alice.show().get("hostname_inside").is_none(), "it was not set inside");

        alice.ctl("set", &["hostname=web"]).ok();
        alice.start();
        assert_eq!(alice.says("hostname"), "web");
        assert!(resolves(&alice, "web"), "{}", alice.says("cat /etc/hosts"));
        // Set by its admin later, the same name counts.
        alice.says(&format!("echo {name} > /etc/hostname"));
        alice.ctl("restart", &[]).ok();
        assert_eq!(alice.says("hostname"), name);
    }
}

#[test]
fn what_the_tenant_wrote_into_hosts_stays() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.says("echo '10.1.2.3 printer' >> /etc/hosts; chmod 640 /etc/hosts");
    alice.ctl("set", &["hostname=web"]).ok();
    alice.ctl("restart", &[]).ok();
    let hosts = alice.says("cat /etc/hosts");
    assert!(hosts.contains("127.0.1.1\tweb\t") && hosts.ends_with("10.1.2.3 printer"), "{hosts}");
    assert_eq!(alice.says("stat -c '%a %u' /etc/hosts"), "640 0");
    // Without the remark the line is the admin's, and so is a file that is no file.
    alice.says("sed -i 's/#.*//' /etc/hosts");
    alice.ctl("set", &["hostname=db"]).ok();
    alice.ctl("restart", &[]).ok();
    assert!(alice.says("cat /etc/hosts").contains("127.0.1.1\tweb\t\n"));
    alice.says("rm /etc/hosts; mkfifo /etc/hosts; ln -s /proc/self/mem /etc/hostname");
    alice.ctl("restart", &[]).ok();
    assert_eq!(alice.says("hostname; stat -c %F /etc/hosts"), "db\nfifo");
    poll::within(Duration::from_secs(10), "it stops", || {
        alice.ctl("stop", &[]).output().status.success().then_some(())
    });
}
