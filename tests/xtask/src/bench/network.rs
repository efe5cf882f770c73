//! The network: what it adds to a start and a stop, how long the filter takes to load, and how fast TCP is.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tenantry_tests::{
    Elsewhere, Host, Namespace, Tenant,
    throughput::{self, Sample},
};

use super::{
    contestant::timed,
    report::{Figure, Results, Unit},
    rounds::{WORKERS, each, milliseconds, say},
    scale::Scale,
    tenantry::ctl,
};
use crate::sh;

/// A tenant that costs little besides its network: one process, no terminals.
const SMALL: &[&str] = &["--image", "busybox", "--set", "ttys=0", "--set", "ready=exec"];

/// Milliseconds of one round of sending.
const ROUND: u32 = 500;

/// Measures all of it on a host of its own.
pub(super) fn run(host: &Host, tree: &Path, dir: &Path, scale: &Scale, results: &mut Results) -> Result<()> {
    say("TCP");
    speed(host, tree, dir, scale, results)?;
    let mut running = 0;
    for &count in &scale.networks {
        say(&format!("network of a start among {count}"));
        let names: Vec<String> = (running..count).map(|number| format!("n{number}")).collect();
        names.iter().try_for_each(|name| make(host, name))?;
        each(&names, WORKERS, |name| timed(ctl(host, &["start", "--allow-unenforced", name])).map(drop))?;
        running = count;
        starts(host, count, scale, results)?;
    }
    say("filter");
    filter(host, running, results)?;
    let names: Vec<String> = (0..running).map(|number| format!("n{number}")).collect();
    each(&names, WORKERS, |name| timed(ctl(host, &["destroy", name, "--yes", "--force"])).map(drop))?;
    Ok(())
}

/// Creates a routed tenant to which a port of the host leads.
fn make(host: &Host, name: &str) -> Result<()> {
    let number: u32 = name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse()?;
    let port = format!("ports={}:22/tcp", 20_000 + number);
    let init = r#"init=["/bin/sleep", "100000"]"#;
    let more = ["--set", init, "--set", "group=bench", "--set", &port];
    timed(ctl(host, &[&["create", name], SMALL, &more].concat())).map(drop)
}

/// Starts and stops one tenant with a routed interface and a port, and the same without, in turns.
fn starts(host: &Host, among: usize, scale: &Scale, results: &mut Results) -> Result<()> {
    make(host, "with-9000")?;
    make(host, "none-9001")?;
    sh::read(ctl(host, &["set", "none-9001", "nic=[]", "--unset", "ports"]))?;
    for round in 0..=scale.repetitions * 2 {
        for (name, who) in [("with-9000", "routed"), ("none-9001", "without a network")] {
            timed(ctl(host, &["start", "--allow-unenforced", name]))?;
            let state = Tenant::new(host, name).run_state();
            let exec = state["exec_us"].as_f64().context("state.json has no exec_us")? / 1e3;
            let stop = timed(ctl(host, &["kill", name]))?;
            // The first round only fills the caches.
            if round > 0 {
                let mut add = |what: &str, value: f64| {
                    let what = format!("{what}, {among} running");
                    results.add(Figure::new(&what, Unit::Milliseconds, "Tenantry", who), value);
                };
                add("start until the exec", exec);
                add("kill", milliseconds(stop));
            }
        }
    }
    for name in ["with-9000", "none-9001"] {
        timed(ctl(host, &["destroy", name, "--yes", "--force"]))?;
    }
    Ok(())
}

/// Takes the whole filter away and brings it back, in one transaction of nft and by the doctor.
fn filter(host: &Host, tenants: usize, results: &mut Results) -> Result<()> {
    let rules = host.run("nft", &["--stateless", "list", "ruleset"]).ok().stdout;
    if !rules.contains("table inet tenantry") {
        bail!("the host has no packet filter to measure");
    }
    let file = host.path("ruleset.nft");
    fs::write(&file, format!("flush ruleset\n{rules}"))?;
    let file = file.display().to_string();
    let seconds = |took: Duration| took.as_secs_f64();
    let what = format!("filter of {tenants} tenants loaded at once");
    let has_doctor = host.ctl(&["doctor", "--help"]).output().status.success();
    for _ in 0..5 {
        let took = host.run("nft", &["-f", &file]).ok().took;
        results.add(Figure::new(&what, Unit::Seconds, "Tenantry", "nft"), seconds(took));
        if has_doctor {
            host.run("nft", &["flush", "ruleset"]).ok();
            let took = host.ctl(&["doctor", "--repair"]).ok().took;
            results.add(Figure::new(&what, Unit::Seconds, "Tenantry", "doctor --repair"), seconds(took));
        }
    }
    Ok(())
}

/// One TCP connection over each kind of path, in turns.
fn speed(host: &Host, tree: &Path, dir: &Path, scale: &Scale, results: &mut Results) -> Result<()> {
    host.network().shell("ip link add br0 type bridge; ip link set br0 up").ok();
    let boot = |name: &str, nic: &str| -> Result<()> {
        let init = r#"init=["/bin/sleep", "100000"]"#;
        let more = ["--set", init, "--set", "group=bench", "--set", nic];
        timed(ctl(host, &[&["create", name], SMALL, &more].concat()))?;
        timed(ctl(host, &["start", "--allow-unenforced", name])).map(drop)
    };
    let names = ["routed-1", "routed-2", "bridged-1", "bridged-2"];
    for name in names {
        let number = &name[name.len() - 1..];
        let bridged =
            format!(r#"nic=[{{ mode = "bridge", link = "br0", addresses = ["10.9.0.{number}/24"] }}]"#);
        boot(name, if name.starts_with("routed") { r#"nic=[{ mode = "routed" }]"# } else { &bridged })?;
    }
    let [one, two, three, four] = names.map(|name| Tenant::new(host, name));
    let peer = Lxc::start(tree, dir.join("lxc-network"))?;
    let paths = [
        ("plain veth pair", "IPv4", throughput::Path::plain(host)),
        ("Tenantry, routed", "IPv4", throughput::Path::between(&one, &two, &two.field("/ipv4"))),
        ("Tenantry, routed", "IPv6", throughput::Path::between(&two, &one, &one.field("/ipv6"))),
        ("Tenantry, bridge", "IPv4", throughput::Path::between(&three, &four, "10.9.0.2")),
        ("LXC, bridge", "IPv4", peer.path(host)?),
    ];
    let all: Vec<&throughput::Path> = paths.iter().map(|(_, _, path)| path).collect();
    let samples = throughput::rounds(host, &all, scale.repetitions, ROUND);
    for ((who, family, _), samples) in paths.iter().zip(samples) {
        for Sample { rate, effort } in samples {
            results.add(Figure::new("TCP, one connection", Unit::Gigabits, who, family), rate / 1e9);
            let figure = Figure::new("TCP, CPU time for a gigabyte", Unit::Milliseconds, who, family);
            results.add(figure, effort * 8e3);
        }
    }
    drop(paths);
    drop(peer);
    names.iter().try_for_each(|name| timed(ctl(host, &["destroy", name, "--yes", "--force"])).map(drop))?;
    host.network().shell("ip link delete br0").ok();
    Ok(())
}

/// Two containers of LXC, each with a veth on one bridge of this network namespace.
struct Lxc {
    dir: PathBuf,
}

impl Lxc {
    fn start(tree: &Path, dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir)?;
        sh::read(sh::command("sh", &["-ec", "ip link add lxcbr0 type bridge; ip link set lxcbr0 up"]))?;
        let lxc = Self { dir };
        for number in ["1", "2"] {
            let (own, tree) = (lxc.dir.join(number), tree.display());
            for part in ["upper", "rootfs"] {
                fs::create_dir_all(own.join(part))?;
            }
            let config = format!(
                "lxc.uts.name = {number}\n\
                 lxc.rootfs.path = overlay:{tree}:{}/upper\n\
                 lxc.net.0.type = empty\n\
                 lxc.mount.auto = proc:mixed sys:mixed\n\
                 lxc.apparmor.profile = unconfined\nlxc.tty.max = 0\nlxc.pty.max = 16\n",
                own.display()
            );
            fs::write(own.join("config"), config)?;
            let mut start = lxc.command("lxc-start", number);
            start.args(["-d", "--", "/bin/sleep", "100000"]);
            timed(start)?;
            // LXC looks for the bridge in the /sys of another network namespace than this one.
            let network = lxc.network(number)?;
            let pair = format!(
                "ip link add lxc{number} type veth peer name eth0 netns {}; \
                 ip link set lxc{number} master lxcbr0 up",
                network.pid()
            );
            sh::read(sh::command("sh", &["-ec", &pair]))?;
            network.shell(&format!("ip address add 10.8.0.{number}/24 dev eth0; ip link set eth0 up")).ok();
        }
        Ok(lxc)
    }

    fn command(&self, program: &str, name: &str) -> std::process::Command {
        let mut command = sh::command(program, &["-n", name, "-P"]);
        command.arg(&self.dir);
        command
    }

    fn network(&self, name: &str) -> Result<Namespace> {
        let mut info = self.command("lxc-info", name);
        info.args(["-p", "-H"]);
        let pid = sh::read(info)?.trim().parse().context("lxc-info prints no process id")?;
        Ok(Namespace::of(pid))
    }

    fn path(&self, host: &Host) -> Result<throughput::Path> {
        let (near, far) = (self.network("1")?, self.network("2")?);
        Ok(throughput::Path::in_namespaces(host, near, &far, "10.8.0.2", Vec::<Elsewhere>::new()))
    }
}

impl Drop for Lxc {
    fn drop(&mut self) {
        for number in ["1", "2"] {
            let mut stop = self.command("lxc-stop", number);
            stop.arg("-k");
            // One that never started is as good as stopped.
            drop(timed(stop));
        }
        drop(sh::read(sh::command("ip", &["link", "delete", "lxcbr0"])));
    }
}
