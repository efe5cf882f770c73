//! Real services from Debian's packages, each under its own unit, in one tenant of its own system.
//!
//! What works, what needs a key and what cannot be had is told in `docs/reference/services.md`.

use std::time::Duration;

use tenantry_tests::{Host, Tenant, poll};

/// Whether the image with the services was built: that needs a mirror of Debian.
fn has_services(host: &Host) -> bool {
    let is_there = host.path("var/lib/tenantry/images/services").exists();
    if !is_there {
        eprintln!("SKIPPED: there is no image \"services\": no mirror had its packages");
    }
    is_there
}

/// Asks a service that may still be starting until it answers.
fn answers(tenant: &Tenant<'_>, question: &str, wanted: &str) {
    let mut last = String::new();
    poll::within(Duration::from_secs(40), &format!("{question} answers {wanted:?}"), || {
        let said = tenant.shell(question).output();
        last = format!("{}{}", said.stdout, said.stderr);
        last.contains(wanted).then_some(())
    });
}

/// A server and its client in one program, with files read by the pool of threads.
const NODE: &str = r#"
const fs = require("fs"), http = require("http");
const server = http.createServer(async (_, answer) => answer.end(await fs.promises.readFile("/proc/sys/kernel/hostname")));
server.listen(0, () => http.get({ port: server.address().port }, (answer) => {
    answer.on("data", (text) => { console.log("served " + text); process.exit(0); });
}));
"#;

#[test]
fn databases_web_servers_java_node_and_podman_run_as_debian_has_them() {
    let host = Host::start();
    if !has_services(&host) {
        return;
    }
    let alice = host.create("alice", &["--image", "services", "--profile", "os"]);
    // Overlays do not lie on overlays: images of containers need another filesystem.
    alice.ctl("set", &["dirs.\"/var/lib/containers\"={ tmpfs = \"64M\" }"]).ok();
    alice.start();
    assert_eq!(alice.says("systemctl is-system-running --wait"), "running");

    answers(&alice, "mariadb --skip-column-names --execute 'select 40 + 2'", "42");
    let table = "create table t (n int) engine = innodb; insert into t values (7); select n + 1 from t";
    answers(
        &alice,
        &format!("mariadb --skip-column-names --execute 'create database d; use d; {table}'"),
        "8",
    );
    answers(&alice, "su postgres -c 'psql --tuples-only --command \"select 40 + 2\"'", "42");
    answers(
        &alice,
        "su postgres -c 'psql --command \"create table t as select 7; checkpoint\"'",
        "CHECKPOINT",
    );
    answers(&alice, "redis-cli set colour green; redis-cli get colour; redis-cli bgsave", "green");
    let get = |port: u16| format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -q 2 127.0.0.1 {port} | head -1");
    answers(&alice, &get(80), "200 OK");
    // Tomcat, on OpenJDK.
    answers(&alice, &get(8080), "200");
    alice.shell("cat > /root/serve.js").stdin(NODE).ok();
    answers(&alice, "node /root/serve.js", "served alice");

    for unit in ["mariadb", "postgresql@15-main", "redis-server", "nginx", "tomcat10", "podman.socket"] {
        assert_eq!(alice.says(&format!("systemctl is-active {unit}")), "active", "{unit}");
    }
    // What the filter refuses they do in another way, and say so at most.
    let log =
        alice.says("journalctl --boot --unit mariadb --unit 'postgresql*' --unit redis-server --no-pager");
    for word in ["Function not implemented", "Bad system call", "fatal", "FATAL"] {
        assert!(!log.contains(word), "{word}: {log}");
    }

    alice
        .says("mkdir -p /root/tree/bin && cp /bin/busybox /root/tree/bin && ln -s busybox /root/tree/bin/sh");
    alice.says("tar --create --directory /root/tree . | podman import --quiet - tiny");
    // Without a limit of processes: this host's cgroup v2 may have no controllers.
    let run = "podman run --rm --pids-limit 0";
    assert_eq!(alice.says(&format!("{run} tiny sh -c 'echo here $$'")), "here 1");
    assert_eq!(alice.says(&format!("{run} --network none --rootfs /root/tree sh -c 'echo bare'")), "bare");
    assert_eq!(alice.says("systemctl --failed --no-legend --plain"), "");
}

/// Lines of the kernel's log about system calls that ended a program.
fn killed_by_a_filter() -> usize {
    let log = tenantry_tests::Run::new("dmesg", [""; 0]).ok().stdout;
    log.lines().filter(|line| line.contains("type=1326") && line.contains("hello")).count()
}

#[test]
fn programs_of_32_bits_run_and_leave_no_line_in_the_hosts_log() {
    let host = Host::start();
    if !has_services(&host) {
        return;
    }
    let alice = host.boot("alice", &["--image", "services"]);
    let before = killed_by_a_filter();
    assert_eq!(alice.says("hello"), "Hello, world!");
    // ELFCLASS32
    let class = "od --address-radix=n --format=u1 --skip-bytes=4 --read-bytes=1";
    let is_32_bit = |program: &str| alice.says(&format!("{class} {program}")).trim() == "1";
    assert!(is_32_bit("/usr/bin/hello") && is_32_bit("/usr/bin/nc.traditional"));
    assert_eq!(alice.says("LC_ALL=C ldd /usr/bin/hello | grep --count i386-linux-gnu"), "1");
    assert_eq!(killed_by_a_filter(), before);
}

#[test]
fn sockets_of_32_bit_programs_are_refused_unless_the_tenant_is_allowed_them() {
    let host = Host::start();
    if !has_services(&host) {
        return;
    }
    let alice = host.boot("alice", &["--image", "services"]);
    let get = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc.traditional -q 2 127.0.0.1 80 | head -1";
    let said = alice.shell(get).output();
    assert!(said.stdout.is_empty() && said.stderr.contains("Function not implemented"), "{said:?}");
    alice.ctl("set", &["allow_syscalls=[\"socketcall\"]"]).ok();
    alice.ctl("restart", &[]).ok();
    answers(&alice, get, "200 OK");
}

#[test]
fn a_vpn_over_tun_carries_packets_between_two_tenants() {
    let host = Host::start();
    if !has_services(&host) {
        return;
    }
    let tenants = ["alice", "bob"].map(|name| {
        let tenant = host.create(name, &["--image", "services"]);
        tenant.ctl("set", &["tun=true", "group=vpn"]).ok();
        tenant.start();
        tenant
    });
    let [alice, bob] = &tenants;
    alice.says("openvpn --genkey secret /root/key");
    bob.shell("cat > /root/key").stdin(alice.says("cat /root/key")).ok();
    let address = |tenant: &Tenant<'_>| {
        let words = tenant.says("ip -4 -brief address show eth0");
        let address = words.split_ascii_whitespace().nth(2).and_then(|cidr| cidr.split('/').next());
        address.unwrap_or_else(|| panic!("{words} has no address")).to_owned()
    };
    for (tenant, own, peer, remote) in
        [(alice, "10.9.8.1", "10.9.8.2", address(bob)), (bob, "10.9.8.2", "10.9.8.1", address(alice))]
    {
        tenant.says(&format!(
            "openvpn --dev tun --cipher AES-256-CBC --secret /root/key --ifconfig {own} {peer} \
             --remote {remote} --daemon vpn --log /root/vpn.log"
        ));
    }
    answers(alice, "ping -c 1 -W 1 10.9.8.2", "1 received");
    assert!(bob.says("ip -brief link show type tun").contains("tun0"));
}

#[test]
fn sshfs_mounts_what_ssh_serves() {
    let host = Host::start();
    if !has_services(&host) {
        return;
    }
    let alice = host.create("alice", &["--image", "services"]);
    alice.ctl("set", &["fuse=true"]).ok();
    alice.start();
    alice.says(
        "systemctl start ssh; mkdir -p -m 700 /root/.ssh; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519; \
         cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys; echo served > /srv/file; mkdir -p /root/remote",
    );
    answers(
        &alice,
        "sshfs -o StrictHostKeyChecking=accept-new root@localhost:/srv /root/remote && cat /root/remote/file",
        "served",
    );
    assert_eq!(alice.says("stat --file-system --format %T /root/remote"), "fuseblk");
    alice.says("fusermount3 -u /root/remote");
    assert_eq!(alice.shell("cat /root/remote/file").output().code(), 1);
}
