//! The kinds of tenants besides `shared-os`, each booted for real.

mod process1;
mod systems;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::Duration,
};

use serde_json::Value;
use tenantry_tests::{Host, Tenant, Terminal, poll};

/// Options of `tenantctl create` for an application of the busybox image.
fn app<'a>(profile: &'a str, init: &'a str) -> Vec<&'a str> {
    let paths = r#"paths=["/bin/busybox", "/bin/sh", "/bin/sleep", "/usr/bin", "/usr/sbin/httpd"]"#;
    vec!["--profile", profile, "--image", "busybox", "--set", paths, "--set", init]
}

/// What a web server at an address answers in the network of the host.
fn fetch(host: &Host, address: &str, path: &str) -> Option<String> {
    host.in_network(|| {
        let mut stream = TcpStream::connect((address, 80)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    })
}

fn exit_code(tenant: &Tenant<'_>) -> Value {
    tenant.show()["exit_code"].clone()
}

#[test]
fn an_app_serves_a_directory_of_the_host_and_one_of_its_own() {
    let host = Host::start();
    let pages = host.path("pages");
    fs::create_dir(&pages).expect("a directory for pages");
    fs::set_permissions(&pages, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::write(pages.join("index.html"), "from the host\n").expect("a page");
    let bind = format!("dirs.\"/srv/www\"={{ bind = {pages:?} }}");
    let server = r#"init=["/usr/sbin/httpd","-f","-p","80","-h","/srv/www"]"#;
    let web = [app("app", server), vec!["--set", &bind]].concat();
    let web = host.boot("web", &web);
    let data = "dirs.\"/data\"=private";
    let own = r#"init=["/bin/sh","-c","test -e /data/index.html || echo from the app > /data/index.html; exec /usr/sbin/httpd -f -p 80 -h /data"]"#;
    let own = host.boot("own", &[app("app", own), vec!["--set", data]].concat());
    for (tenant, text) in [(&web, "from the host"), (&own, "from the app")] {
        let address = tenant.field("/ipv4");
        poll::until_true("the page is served", || {
            fetch(&host, &address, "/index.html").is_some_and(|answer| answer.contains(text))
        });
    }
    // A tenant of a private directory finds it again. (The app does not write the file twice: a
    // reader could meet it between the truncation and the write.)
    own.ctl("restart", &[]).ok();
    assert_eq!(own.says("cat /data/index.html"), "from the app");
    // The application is all there is: its process 1, itself, and the two that ask.
    let count = "all=$(ls /proc); echo \"$all\" | grep -c '^[0-9]*$'";
    assert_eq!(web.says(count), "4", "{}", web.says("ps"));
    web.stop();
    assert_eq!(web.phase(), "stopped");
    assert_eq!(exit_code(&web), 143, "it ended by the signal that stops it");
}

#[test]
fn the_exit_code_of_an_app_is_the_tenants() {
    let host = Host::start();
    for (name, script, code, phase) in [
        ("good", "exit 0", 0, "stopped"),
        ("bad", "echo goes wrong; exit 3", 3, "failed"),
        ("killed", "kill -9 $$", 137, "failed"),
        ("later", "sleep 1.2; exit 5", 5, "failed"),
    ] {
        let init = format!("init=[\"/bin/sh\",\"-c\",{script:?}]");
        let tenant = host.create(name, &app("app", &init));
        tenant.start();
        let waited = tenant.ctl("wait", &["--for", "stopped"]).ok();
        assert_eq!(waited.text(), format!("{phase} (exit code {code})").as_str());
        assert_eq!(tenant.phase(), phase);
        assert_eq!(exit_code(&tenant), code, "{name}");
        if phase == "failed" {
            let failure = tenant.field("/failure");
            assert!(failure.contains(&code.to_string()) || failure.contains("signal 9"), "{failure}");
        }
    }
}

/// A cgroup for a supervisor that no hostd starts.
struct Unit(PathBuf);

impl Unit {
    fn new(name: &str) -> Self {
        let v2 = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
        let v2 = v2.into_iter().find(|dir| dir.join("cgroup.procs").exists()).expect("a cgroup v2 hierarchy");
        let dir = v2.join(format!("tenantry-{name}-{}", std::process::id()));
        fs::create_dir(&dir).expect("a cgroup can be made");
        Self(dir)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        for dir in [self.0.join("payload"), self.0.join("supervisor"), self.0.clone()] {
            let _not_made = fs::remove_dir(dir);
        }
    }
}

#[test]
fn a_supervisor_ends_with_the_code_of_its_app() {
    let host = Host::start();
    for (script, code, says) in
        [("exit 0", 0, ""), ("exit 3", 3, "exited with code 3"), ("kill -15 $$", 143, "signal 15")]
    {
        let name = format!("t{code}");
        let unit = Unit::new(&name);
        host.create(&name, &app("app", &format!("init=[\"/bin/sh\",\"-c\",{script:?}]")));
        let run = format!("--cgroup={}", unit.0.display());
        let run = host.run(&host.program("tenant").to_string_lossy(), &["run", &name, &run]);
        let done = run.env("TENANTRY_ROOT", host.root()).output();
        assert_eq!(done.code(), code, "{script}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{}", done.stderr);
    }
}

#[test]
fn an_app_that_cannot_be_executed_is_not_started() {
    let host = Host::start();
    let gone = host.create("gone", &app("app", r#"init=["/usr/bin/nothing"]"#));
    let said = gone.ctl("start", &[]).output().refused(1);
    assert!(said.contains("/usr/bin/nothing") && said.contains("No such file"), "{said}");
    assert_eq!(gone.phase(), "failed");
    let said = host.ctl(&["create", "none", "--profile", "app", "--image", "busybox"]).output();
    assert!(said.refused(2).contains("paths"));
    let paths = r#"paths=["/usr"]"#;
    let said =
        host.ctl(&["create", "none", "--profile", "app", "--image", "busybox", "--set", paths]).output();
    assert_ne!(said.code(), 0);
    assert!(said.stderr.contains("init") && said.stderr.contains("help:"), "{}", said.stderr);
    assert_eq!(host.names(), ["gone"], "a tenant that cannot be is not made");
}

#[test]
fn a_path_that_the_image_lacks_is_named_with_the_image() {
    let host = Host::start();
    let set = ["--profile", "app", "--image", "busybox", "--set", r#"init=["/bin/sh"]"#];
    let paths = r#"paths=["/bin/sh", "/usr/lib/nothing"]"#;
    let lost = host.create("lost", &[&set[..], &["--set", paths]].concat());
    let said = lost.ctl("start", &[]).output().refused(1);
    assert!(said.contains("/usr/lib/nothing") && said.contains("\"busybox\""), "{said}");
    lost.ctl("set", &[r#"paths=["/usr", "/usr/lib/nothing"]"#]).ok();
    let said = lost.ctl("start", &[]).output().refused(1);
    assert!(said.contains("/usr/lib/nothing"), "inside a listed directory as well: {said}");
    lost.ctl("set", &[r#"paths=["/bin/sh", "/proc/self"]"#]).output().refused(1);
}

#[test]
fn an_app_sees_the_listed_paths_and_nothing_else() {
    let host = Host::start();
    let paths = r#"paths=["/bin/sleep","/bin/cat","/bin/ls","/bin/touch","/lib64","/usr/lib/x86_64-linux-gnu","/bin/sh","/etc/alternatives/awk","/usr/bin/awk"]"#;
    let set = ["--profile", "app", "--set", paths, "--set", r#"init=["/bin/sleep","1000"]"#];
    let alice = host.boot("alice", &set);
    assert_eq!(alice.says("ls /"), "bin\ndev\netc\nlib\nlib64\nproc\nrun\nsys\ntmp\nusr");
    // Links of the top level are as in the image, so that a program finds its loader; links further down
    // have become what they lead to.
    assert_eq!(alice.says("ls /usr/bin/"), "awk\ncat\nls\nsh\nsleep\ntouch");
    assert_eq!(alice.says("awk 'BEGIN { print 6 * 7 }'"), "42");
    for path in ["/usr/bin/new", "/new", "/usr/lib/x86_64-linux-gnu/new", "/usr/lib/new", "/bin/ls"] {
        let said = alice.shell(&format!("touch {path}")).output();
        assert!(said.stderr.contains("Read-only"), "{path}: {}", said.stderr);
    }
    alice.says("touch /tmp/new /run/new");
}

#[test]
fn listed_paths_are_shared_with_no_neighbour() {
    let host = Host::start();
    let paths = r#"paths=["/bin","/lib","/lib64","/usr/share/common-licenses/GPL-3"]"#;
    let set = ["--profile", "app-plus", "--set", paths, "--set", r#"init=["/bin/sleep","1000"]"#];
    let (alice, bob) = (host.boot("alice", &set), host.boot("bob", &set));
    alice.bring_probe();
    bob.bring_probe();
    for file in ["/bin/true", "/usr/lib/os-release", "/usr/share/common-licenses/GPL-3"] {
        let hold = |tenant: &Tenant<'_>| {
            let mut terminal = Terminal::open(&tenant.exec(&["/root/probe", "lock", file]));
            terminal.expect("locked");
            terminal
        };
        let (_alice, _bob) = (hold(&alice), hold(&bob));
        assert!(!alice.probe_again(&["lock", file]).status.success(), "inside one tenant a lock holds");
    }
    for file in ["/usr/lib/os-release", "/usr/share/common-licenses/GPL-3"] {
        let mut watch = Terminal::open(&alice.exec(&["/root/probe", "watch", file]));
        watch.expect("watching");
        bob.says(&format!("cat {file} > /dev/null"));
        alice.says("true");
        assert!(!watch.shown().contains("event"), "alice saw that bob read {file}");
        alice.says(&format!("cat {file} > /dev/null"));
        watch.expect("event");
    }
}

/// A mount to be taken away, whatever becomes of the test.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _not_mounted = nix::mount::umount2(&entry.path(), nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

#[test]
fn an_app_runs_from_an_erofs_image() {
    let host = Host::bare();
    host.tool("rootfsctl", &["build", "busybox", "--format", "erofs"]).ok();
    host.start_hostd();
    let _mounted = Mounted(host.path("run/tenantry/images"));
    let web = host.boot("web", &app("app", r#"init=["/usr/sbin/httpd","-f","-h","/usr"]"#));
    assert_eq!(web.says("ls /usr"), "bin\nsbin");
    poll::until_true("it serves", || {
        fetch(&host, &web.field("/ipv4"), "/none").is_some_and(|answer| answer.contains("404"))
    });
    web.ctl("destroy", &["--force", "--yes"]).ok();
}

/// A damaged block of such an image: `tests/vm/integrity.rs`, on a machine that has what it takes.
#[test]
fn an_image_with_a_hash_tree_is_run_or_refused_with_what_is_missing() {
    let host = Host::bare();
    host.tool("rootfsctl", &["build", "busybox", "--format", "erofs", "--verity"]).ok();
    assert!(host.tool("rootfsctl", &["list"]).ok().stdout.contains("erofs+verity"));
    let tree = host.tool("rootfsctl", &["build", "busybox", "--name", "tree", "--verity"]).output();
    if !tree.status.success() {
        let said = tree.refused(4);
        assert!(said.contains("fs-verity") && said.contains("CONFIG_FS_VERITY"), "{said}");
        assert!(!host.path("var/lib/tenantry/images/tree").exists(), "nothing is left of it");
    }
    host.start_hostd();
    let _mounted = Mounted(host.path("run/tenantry/images"));
    let misc = fs::read_to_string("/proc/misc").unwrap();
    if misc.contains("device-mapper") {
        host.boot("web", &["--image", "busybox"]).ctl("destroy", &["--force", "--yes"]).ok();
    } else {
        let said = host.ctl(&["create", "web", "--image", "busybox"]).output().refused(1);
        assert!(said.contains("image.erofs") && said.contains("dm-verity"), "{said}");
        assert!(host.names().is_empty(), "nothing is left of it");
    }
}

#[test]
fn the_console_of_an_app_is_its_terminal() {
    let host = Host::start();
    let alice = host.boot("alice", &app("app", r#"init=["/bin/sh"]"#));
    let mut terminal = alice.console(&[]);
    terminal.type_until("\r", "# ");
    terminal.type_in("echo mark-$((40+2)); sleep 1000\r");
    terminal.expect("mark-42");
    terminal.type_until("\u{3}", "# ");
    terminal.type_in("echo again-$((40+3)); tty\r");
    terminal.expect("again-43");
    terminal.type_in("exit 4\r");
    terminal.ended();
    alice.awaits("failed");
    assert_eq!(exit_code(&alice), 4);
}

#[test]
fn an_app_plus_has_a_tty_with_a_shell_and_an_etc_of_its_own() {
    let host = Host::start();
    let server = r#"init=["/usr/sbin/httpd","-f","-h","/root"]"#;
    let alice = host.boot("alice", &app("app-plus", server));
    let mut terminal = alice.console(&["-t", "1"]);
    terminal.type_until("\r", "# ");
    terminal.type_in("echo on-$((1+1)) > /root/page; hostname; tty; ps | grep -c '[h]ttpd'\r");
    terminal.expect("alice");
    terminal.expect("/dev/");
    poll::until_true("what the admin wrote is served", || {
        fetch(&host, &alice.field("/ipv4"), "/page").is_some_and(|answer| answer.contains("on-2"))
    });
    // Job control works: the shell leads a session with this terminal.
    terminal.type_in("sleep 1000\r");
    terminal.type_until("\u{3}", "# ");
    let said = alice.ctl("exec", &["-t", "--", "/bin/sh", "-c", "tty; id -u"]).ok();
    assert!(said.stdout.contains("/dev/pts/") && said.stdout.contains('0'), "{}", said.stdout);
    let mut shell = Terminal::open(&alice.ctl("shell", &[]));
    shell.type_until("\r", "# ");
    shell.type_in("echo $((6*7)); exit 6\r");
    shell.expect("42");
    assert_eq!(shell.ended(), 6);
    alice.says("echo mine > /etc/motd");
    alice.ctl("restart", &[]).ok();
    assert_eq!(alice.says("cat /etc/motd /root/page"), "mine\non-2");
    assert_eq!(alice.says("hostname; grep -c '127.0.1.1.alice' /etc/hosts"), "alice\n1");
    assert_eq!(alice.says("ls /"), "bin\ndev\netc\nproc\nroot\nrun\nsbin\nsys\ntmp\nusr");
}

#[test]
fn sysctls_are_set_before_init_and_a_wrong_one_is_named() {
    let host = Host::start();
    let init =
        r#"init=["/bin/sh","-c","cat /proc/sys/net/ipv4/ip_default_ttl > /tmp/seen; exec sleep 1000"]"#;
    let (ttl, filter) =
        ("sysctl.\"net.ipv4.ip_default_ttl\"=\"42\"", "sysctl.\"net.ipv4.conf.eth0.rp_filter\"=\"2\"");
    let set = [&["--image", "busybox", "--set", init][..], &["--set", ttl, "--set", filter]].concat();
    let alice = host.boot("alice", &set);
    assert_eq!(alice.says("cat /tmp/seen /proc/sys/net/ipv4/conf/eth0/rp_filter"), "42\n2");
    assert!(alice.ctl("plan", &[]).ok().stdout.contains("sysctl      net.ipv4.ip_default_ttl = 42\n"));
    let wrongs = ["net.ipv4.no_such_key", "net.core.rmem_max/../x", "kernel.panic"];
    for (name, wrong) in ["bob", "carol", "dave"].into_iter().zip(wrongs) {
        let set = format!("sysctl.{wrong:?}=\"1\"");
        let said = host.ctl(&["create", name, "--image", "busybox", "--set", &set, "--start"]).output();
        assert_ne!(said.code(), 0, "{wrong}");
        assert!(said.stderr.contains(wrong) && said.stderr.contains("help:"), "{}", said.stderr);
    }
}

#[test]
fn dropped_capabilities_are_gone_for_good() {
    let host = Host::start();
    let drop = r#"drop_capabilities=["CAP_SYS_BOOT","CAP_NET_RAW"]"#;
    let alice = host.boot("alice", &["--image", "busybox", "--set", drop]);
    let mask = |pid: &str| {
        let line = alice.says(&format!("grep CapBnd /proc/{pid}/status"));
        u64::from_str_radix(line.split_ascii_whitespace().last().expect("a mask"), 16).expect("hex digits")
    };
    // linux/capability.h: NET_ADMIN is 12, NET_RAW 13, SYS_BOOT 22.
    for pid in ["1", "self"] {
        let bits = [12, 13, 22].map(|bit| mask(pid) >> bit & 1);
        assert_eq!(bits, [1, 0, 0], "{pid}");
    }
    assert!(!alice.ctl("plan", &[]).ok().stdout.contains("CAP_SYS_BOOT"));
}

#[test]
fn name_servers_are_told_at_each_start_and_what_a_tenant_wrote_stays() {
    let host = Host::start();
    let dns = ["--set", r#"dns=["9.9.9.9","2620:fe::fe"]"#, "--set", r#"dns_search=["example.org"]"#];
    let text = "nameserver 9.9.9.9\nnameserver 2620:fe::fe\nsearch example.org";
    let alice = host.boot("alice", &[&["--image", "busybox"][..], &dns].concat());
    assert_eq!(alice.says("cat /etc/resolv.conf"), text);
    alice.ctl("set", &[r#"dns=["1.1.1.1"]"#]).ok();
    alice.ctl("restart", &[]).ok();
    assert_eq!(alice.says("cat /etc/resolv.conf"), "nameserver 1.1.1.1\nsearch example.org");
    // A link is replaced like any other file, and then it is the tenant's.
    alice.says("rm /etc/resolv.conf && echo nameserver 8.8.8.8 > /etc/resolv.conf");
    alice.ctl("restart", &[]).ok();
    assert_eq!(alice.says("cat /etc/resolv.conf"), "nameserver 8.8.8.8");
    let bob = host.boot("bob", &["--image", "busybox", "--set", "dns=[]"]);
    assert_eq!(bob.shell("test -e /etc/resolv.conf || test -e /run/host/resolv.conf").output().code(), 1);
    assert_eq!(bob.says("readlink /etc/resolv.conf"), "../run/host/resolv.conf");
    // An application without an /etc finds them as well.
    let web = host.boot("web", &[&app("app", r#"init=["/bin/sleep","1000"]"#)[..], &dns].concat());
    assert_eq!(web.says("cat /etc/resolv.conf"), text);
    let whole = host.boot("whole", &[&["--profile", "os"][..], &dns].concat());
    assert_eq!(whole.says("cat /etc/resolv.conf"), text);
}

#[test]
fn an_app_can_say_when_it_is_ready() {
    let host = Host::start();
    let script = "use Socket; socket(my $s, AF_UNIX, SOCK_DGRAM, 0); \
                  sub report { send($s, $_[0], 0, sockaddr_un($ENV{NOTIFY_SOCKET})) } \
                  report(\"STATUS=warming up\"); sleep 1 until -e \"/tmp/go\"; report(\"READY=1\"); sleep 1000;";
    let init = format!("init=[\"/usr/bin/perl\",\"-e\",{script:?}]");
    let paths = r#"paths=["/usr","/lib64"]"#;
    let set = ["--profile", "app", "--set", paths, "--set", "ready=notify", "--set", &init];
    let alice = host.create("alice", &set);
    let mut start = alice.ctl("start", &[]).spawn();
    poll::until_true("it says what it does", || alice.show()["status"] == "warming up");
    assert_eq!(alice.phase(), "booting");
    alice.says("touch /tmp/go");
    assert!(start.wait().expect("the client can be waited for").success());
    assert_eq!(alice.phase(), "running");
}
