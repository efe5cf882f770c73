//! What the talk of 2010 typed, and what scripts for LXC type today.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    time::Duration,
};

use tenantry_tests::{Host, Run, Tenant, Terminal, poll};

const BETA: &str = include_str!("../fixtures/lxc/beta.conf");

/// The talk's `lxc-veth.conf`.
const VETH: &str = "\
lxc.utsname = foo
lxc.network.type = veth
lxc.network.flags = up
lxc.network.link = br0
lxc.network.name = eth0
lxc.network.ipv4 = 10.0.0.2/24
lxc.pts = 256
lxc.tty = 6
";

/// A host with the commands of LXC.
struct Lxc {
    host: Host,
    links: PathBuf,
}

impl Lxc {
    fn new() -> Self {
        // For the connection that is to last while its tenant is frozen.
        Self::on(Host::start_with("host_services = [\"7777\"]\n"))
    }

    fn on(host: Host) -> Self {
        let links = host.path("lxc");
        let dir = links.to_string_lossy().into_owned();
        host.ctl(&["lxc-links", &dir]).ok();
        Self { host, links }
    }

    /// One of LXC's commands, from a line.
    fn run(&self, line: &str) -> Run {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        self.command(words[0], &words[1..])
    }

    fn command(&self, name: &str, words: &[&str]) -> Run {
        Run::new(self.links.join(name), words).env("TENANTRY_ROOT", self.host.root())
    }

    /// What a command that succeeds prints.
    fn says(&self, line: &str) -> String {
        self.run(line).ok().stdout
    }

    fn state(&self, name: &str) -> String {
        self.says(&format!("lxc-info -n {name} -s -H")).trim().to_owned()
    }

    /// A bridge of the host, which the tenants' veths join.
    fn bridge(&self) {
        for line in ["link add br0 type bridge", "address add 10.0.0.1/24 dev br0", "link set br0 up"] {
            let words: Vec<&str> = line.split(' ').collect();
            self.host.run("ip", &words).ok();
        }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.host.path(name);
        fs::write(&path, text).expect("a configuration can be written");
        path.to_string_lossy().into_owned()
    }
}

/// The whole sequence of commands of the talk, in its order.
#[test]
fn everything_the_talk_typed_works() {
    let lxc = Lxc::new();
    lxc.bridge();
    let check = lxc.says("lxc-checkconfig");
    assert!(check.contains("Network namespace: enabled") && check.contains("Cgroups: enabled"), "{check}");

    let conf = lxc.file("lxc-veth.conf", VETH);
    lxc.run(&format!("lxc-create -n foo -f {conf}")).ok();
    assert_eq!(lxc.says("lxc-ls"), "foo\n");
    assert_eq!(lxc.says("lxc-info -n foo"), "Name:           foo\nState:          STOPPED\n");

    a_shell_in_place_of_init(&lxc);
    a_system_in_the_background(&lxc);
    freezing_keeps_connections_open(&lxc);
    halt_and_reboot_inside(&lxc);

    lxc.run("lxc-start -n foo -d").ok();
    let running = lxc.run("lxc-destroy -n foo").output().refused(1);
    assert!(running.contains("foo is running"), "{running}");
    lxc.run("lxc-stop -n foo").ok();
    assert_eq!(lxc.state("foo"), "STOPPED");
    assert_eq!(lxc.run("lxc-stop -n foo").output().code(), 2);
    lxc.run("lxc-destroy -n foo").ok();
    assert_eq!(lxc.says("lxc-ls"), "");
    let gone = lxc.run("lxc-info -n foo").output().refused(1);
    assert!(gone.contains("foo doesn't exist"), "{gone}");
}

/// `lxc-start -n foo /bin/bash`: a terminal of the container, which ends with the shell.
fn a_shell_in_place_of_init(lxc: &Lxc) {
    let mut terminal = Terminal::open(&lxc.run("lxc-start -n foo /bin/bash"));
    terminal.type_until("echo at-$((40+2))\r", "at-42");
    terminal.type_in("hostname; cat /proc/1/comm\r");
    terminal.expect("foo");
    terminal.expect("bash");
    terminal.type_in("ip -4 -o address show dev eth0\r");
    terminal.expect("10.0.0.2/24");
    terminal.type_in("ls /sys/class/net\r");
    terminal.expect("eth0");
    terminal.type_in("exit\r");
    assert_eq!(terminal.ended(), 0);
    assert_eq!(lxc.state("foo"), "STOPPED");
    // It was for this once.
    let config = lxc.host.ctl(&["explain", "foo"]).ok().stdout;
    assert!(!config.contains("/bin/bash"), "{config}");
}

fn a_system_in_the_background(lxc: &Lxc) {
    lxc.run("lxc-start -n foo -d").ok();
    lxc.run("lxc-wait -n foo -s RUNNING -t 60").ok();
    lxc.host.ctl(&["wait", "foo", "--for", "running"]).ok();
    let table = lxc.says("lxc-ls -f");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[0].starts_with("NAME STATE   AUTOSTART GROUPS IPV4     IPV6"), "{table}");
    assert!(lines[1].starts_with("foo  RUNNING 0         -      10.0.0.2 "), "{table}");
    let info = lxc.says("lxc-info -n foo");
    for line in [
        "Name:           foo\n",
        "State:          RUNNING\n",
        "\nPID:            ",
        "IP:             10.0.0.2\n",
        "\nLink:           ",
        "\n TX bytes:      ",
    ] {
        assert!(info.contains(line), "{line:?} in {info}");
    }
    assert_eq!(lxc.says("lxc-info -n foo -c lxc.utsname -c lxc.tty"), "lxc.utsname = foo\nlxc.tty = 6\n");

    let mut console = Terminal::open(&lxc.run("lxc-console -n foo -t 1"));
    console.expect("Type <Ctrl+a q> to exit the console");
    console.type_until("\r", "login:");
    console.type_in("root\r");
    console.type_until("\r", "foo:~#");
    console.type_in("tty; hostname\r");
    console.expect("/dev/");
    console.expect("foo");
    console.type_in("\u{1}q");
    assert_eq!(console.ended(), 0);

    assert_eq!(lxc.says("lxc-attach -n foo -- hostname"), "foo\n");
    assert_eq!(
        lxc.command("lxc-attach", &["-n", "foo", "-v", "A=b c", "--", "sh", "-c", "echo $A; exit 7"])
            .output()
            .code(),
        7
    );
    assert_eq!(lxc.says("lxc-ls --stopped"), "");
    lxc.run("lxc-cgroup -n foo pids.max 500").ok();
    assert_eq!(lxc.says("lxc-cgroup -n foo pids.max").trim(), "500");
    let stray = lxc.run("lxc-cgroup -n foo cpuset.cpus 0").output().refused(1);
    assert!(stray.contains("pids.max"), "{stray}");
}

/// With an open TCP connection, a tty and a pipe.
fn freezing_keeps_connections_open(lxc: &Lxc) {
    let tenant = Tenant::new(&lxc.host, "foo");
    let listener = lxc.host.in_network(|| TcpListener::bind("10.0.0.1:7777").expect("a port of the host"));
    let script = "exec 3<>/dev/tcp/10.0.0.1/7777; while read -r line <&3; do echo got-$line >&3; done";
    let mut talker = tenant.exec(&["/bin/bash", "-c", script]).spawn();
    let (mut stream, _) = listener.accept().expect("the tenant connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    assert_eq!(ask(&mut stream, "1"), "got-1");
    lxc.run("lxc-freeze -n foo").ok();
    assert_eq!(lxc.state("foo"), "FROZEN");
    lxc.run("lxc-wait -n foo -s FROZEN -t 5").ok();
    stream.write_all(b"2\n").expect("the kernel takes it");
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let mut byte = [0];
    assert!(stream.read(&mut byte).is_err(), "a frozen tenant answered");
    assert_eq!(lxc.run("lxc-wait -n foo -s RUNNING -t 0").output().code(), 1);
    lxc.run("lxc-unfreeze -n foo").ok();
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    assert_eq!(line(&mut stream), "got-2");
    assert_eq!(ask(&mut stream, "3"), "got-3");
    drop(stream);
    poll::until("the talker ends", || talker.try_wait().expect("a child"));
}

fn ask(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(format!("{text}\n").as_bytes()).expect("the connection is there");
    line(stream)
}

fn line(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).expect("an answer") == 1 && byte[0] != b'\n' {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// In 2010 neither worked: halt(8) in a container did nothing, or halted the host.
fn halt_and_reboot_inside(lxc: &Lxc) {
    let tenant = Tenant::new(&lxc.host, "foo");
    let before = tenant.boot_id();
    lxc.run("lxc-attach -n foo -- systemctl reboot").output();
    poll::until_true("foo boots again", || {
        let state = tenant.run_state();
        state["phase"] == "running" && state["boots"] == 2
    });
    assert_ne!(tenant.boot_id(), before);
    lxc.run("lxc-attach -n foo -- systemctl poweroff").output();
    lxc.run("lxc-wait -n foo -s STOPPED -t 60").ok();
}

#[test]
fn the_talks_configuration_becomes_a_tenant_with_the_nic() {
    let lxc = Lxc::new();
    for line in
        ["link add veth1 type veth peer name far1", "address add 10.0.0.1/24 dev far1", "link set far1 up"]
    {
        let words: Vec<&str> = line.split(' ').collect();
        lxc.host.run("ip", &words).ok();
    }
    let conf = lxc.file("beta.conf", BETA);
    // There is no such directory here: nothing is made, and the remedy is told.
    let said = lxc.host.ctl(&["import-lxc", &conf]).output().refused(1);
    assert!(said.contains("rootfsctl import /foo/bifrost-6.1-beta1 --name bifrost-6.1-beta1"), "{said}");
    assert!(lxc.host.names().is_empty());

    let report = lxc.host.ctl(&["import-lxc", &conf, "--dry-run"]).ok().stdout;
    assert!(report.contains(" 0 warnings") && report.contains("mode = \"phys\""), "{report}");
    let report = lxc.host.ctl(&["--json", "import-lxc", &conf, "--dry-run"]).ok().json();
    let lines = BETA.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(lines), "{report:#}");
    assert!(lxc.host.names().is_empty(), "a dry run made a tenant");

    lxc.host.ctl(&["import-lxc", &conf, "--image", "busybox"]).ok();
    let beta = Tenant::new(&lxc.host, "beta");
    beta.start();
    assert_eq!(beta.says("hostname"), "beta");
    assert_eq!(beta.says("cat /sys/class/net/eth0/address"), "4a:49:43:49:79:bf");
    let addresses = beta.says("ip address show dev eth0");
    assert!(addresses.contains("10.0.0.2/24"), "{addresses}");
    assert!(addresses.contains("2003:db8:1:0:214:1234:fe0b:3597/64"), "{addresses}");
    poll::until_true("the other end of the NIC reaches it", || {
        lxc.host.run("busybox", &["ping", "-c", "1", "-W", "1", "10.0.0.2"]).output().status.success()
    });
    let devices = lxc.says("lxc-cgroup -n beta devices.list");
    assert!(devices.contains("c 136:* rw") && !devices.contains("c 5:1"), "{devices}");
    beta.stop();
    lxc.host.run("ip", &["link", "show", "veth1"]).ok();
}

#[test]
fn an_image_is_made_from_the_containers_root() {
    // With an image store of its own.
    let host = Host::bare();
    host.start_hostd();
    let lxc = Lxc::on(host);
    let tree = lxc.host.path("containers/web/rootfs");
    fs::create_dir_all(tree.join("bin")).expect("a tree");
    for dir in ["etc", "dev", "proc", "sys", "tmp", "run", "var", "sbin", "root", "usr"] {
        fs::create_dir_all(tree.join(dir)).expect("a tree");
    }
    let busybox = Run::new("sh", ["-c", "command -v busybox"]).ok();
    fs::copy(busybox.text(), tree.join("bin/busybox")).expect("busybox is here");
    for applet in ["sh", "cat", "sleep", "hostname"] {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet)).expect("a link");
    }
    fs::write(tree.join("etc/mark"), "from the container\n").expect("a file");
    let text = format!(
        "lxc.uts.name = web\nlxc.rootfs.path = dir:{}\nlxc.init.cmd = /bin/sleep 100000\nlxc.net.0.type = empty\n",
        tree.display()
    );
    let conf = lxc.file("containers/web/config", &text);
    lxc.host.ctl(&["import-lxc", &conf, "--name", "site"]).ok();
    lxc.host.ctl(&["set", "site", "ready=exec"]).ok();
    let site = Tenant::new(&lxc.host, "site");
    site.start();
    assert_eq!(site.says("cat /etc/mark; hostname"), "from the container\nweb");
}

#[test]
fn a_command_in_a_tenant_of_its_own_leaves_nothing_behind() {
    let lxc = Lxc::new();
    let conf = lxc.file("app.conf", "lxc.utsname = app\nlxc.network.type = empty\n");
    let run = |words: &[&str]| lxc.command("lxc-execute", words).output();
    let said = run(&["-n", "app", "-f", &conf, "--", "sh", "-c", "hostname; echo to-stderr >&2; exit 5"]);
    assert_eq!((said.code(), said.text()), (5, "app"), "{}", said.stderr);
    assert!(said.stderr.contains("to-stderr"));
    assert_eq!(lxc.says("lxc-ls"), "");

    let fed = lxc.command("lxc-execute", &["-n", "app", "--", "cat"]).stdin("through a pipe\n").ok();
    assert_eq!(fed.stdout, "through a pipe\n");

    // A signal is for the command, and nothing stays.
    let script = "touch /tmp/here; exec sleep 1000";
    let mut sleeper = lxc.command("lxc-execute", &["-n", "app", "--", "sh", "-c", script]).spawn();
    let app = Tenant::new(&lxc.host, "app");
    poll::until_true("the command runs", || app.shell("test -e /tmp/here").output().status.success());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(sleeper.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it can be signalled");
    let status = poll::until("lxc-execute ends", || sleeper.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(143));
    assert_eq!(lxc.says("lxc-ls"), "");

    // Of one that exists, only this once.
    lxc.run("lxc-create -n stays -t busybox").ok();
    assert_eq!(run(&["-n", "stays", "--", "/bin/false"]).code(), 1);
    assert_eq!((lxc.state("stays").as_str(), lxc.says("lxc-ls").as_str()), ("STOPPED", "stays\n"));
    let config = lxc.host.ctl(&["explain", "stays"]).ok().stdout;
    assert!(!config.contains("trap"), "{config}");

    // What lxc-start runs has the console, and goes with it.
    let brief = lxc.command("lxc-start", &["-n", "brief", "/bin/sh", "--", "-c", "echo on-the-console"]).ok();
    assert!(brief.stdout.contains("on-the-console"), "{}{}", brief.stdout, brief.stderr);
    assert_eq!(lxc.says("lxc-ls"), "stays\n");
    let daemon = lxc.run("lxc-start -n brief -d").output().refused(1);
    assert!(daemon.contains("lxc-create"), "{daemon}");
}

#[test]
fn what_means_nothing_here_says_what_to_use() {
    let lxc = Lxc::new();
    lxc.run("lxc-create -n foo -t busybox").ok();
    for (line, hint) in [
        ("lxc-create -n foo -t busybox", "lxc-destroy -n foo"),
        ("lxc-create -n bar -t nonesuch", "rootfsctl import"),
        ("lxc-create -n bar -t busybox -B lvm", "memory_max"),
        ("lxc-create -n bar --fssize 1G", "memory_max"),
        ("lxc-start -n foo -c /dev/tty8", "lxc-console"),
        ("lxc-start -n nosuch", "lxc-create"),
        ("lxc-execute -n foo -g 5 -- id", "-u USER"),
        ("lxc-execute -n foo", "COMMAND"),
        ("lxc-attach -n foo -- id", "lxc-start -n foo -d"),
        ("lxc-attach -n foo -s MOUNT -- id", "namespaces"),
        ("lxc-freeze -n foo", "lxc-start -n foo -d"),
        ("lxc-console -n nosuch", "lxc-start -n nosuch -d"),
        ("lxc-ls --filter f.*", "grep"),
        ("lxc-ls -P /srv/lxc", "TENANTRY_ROOT"),
        ("lxc-wait -n foo -s NEVER", "STOPPED|RUNNING"),
        ("lxc-stop", "-n NAME"),
        ("lxc-destroy -n nosuch", "lxc-ls"),
    ] {
        // Of lxc-stop, too: 2 is for a container that is there.
        let said = lxc.run(line).output().refused(1);
        assert!(said.contains(hint), "{line}: {said}");
    }
    assert_eq!(lxc.run("lxc-ls --nonsense").output().code(), 1);
    // What does not exist is stopped.
    lxc.run("lxc-wait -n nosuch -s STOPPED -t 1").ok();
    assert_eq!(lxc.run("lxc-wait -n foo -s RUNNING -t 0").output().code(), 1);
    let bad = lxc.file("bad.conf", "lxc.utsname = bar\0\n");
    let said = lxc.run(&format!("lxc-create -n bar -f {bad}")).output().refused(1);
    assert!(said.contains("line 1") && said.contains("control character"), "{said}");
    assert_eq!(lxc.says("lxc-ls"), "foo\n");
}
