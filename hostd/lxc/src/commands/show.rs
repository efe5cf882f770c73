use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser;
use tenant::TenantName;
use wire::{Code, Detail, Explained, Failure, PlanAnswer, Stat, Usage};

use super::{Applet, Common, Lxc, Named, Result, inside, state::State};

/// Show the state and resource usage of a tenant
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Info {
    #[command(flatten)]
    named: Named,
    /// Show this key of LXC's configuration, e.g. lxc.uts.name (repeatable)
    #[arg(short = 'c', long = "config", value_name = "KEY")]
    config: Vec<String>,
    /// Show its addresses
    #[arg(short = 'i', long)]
    ips: bool,
    /// Show the process id of its init
    #[arg(short = 'p', long)]
    pid: bool,
    /// Show its resource usage
    #[arg(short = 'S', long)]
    stats: bool,
    /// Print plain numbers, and one value without its name
    #[arg(short = 'H', long)]
    no_humanize: bool,
    /// Show its state
    #[arg(short = 's', long)]
    state: bool,
    #[command(flatten)]
    common: Common,
}

impl Applet for Info {
    fn run(mut self, lxc: &Lxc) -> Result<ExitCode> {
        let name = self.named.get()?;
        let detail = lxc.find(&name)?.ok_or_else(|| {
            Failure::new(Code::NoTenant, format!("{name} doesn't exist")).help("list the tenants: lxc-ls")
        })?;
        let mut text = String::new();
        let chosen = [self.ips, self.pid, self.stats, self.state].into_iter().filter(|on| *on).count();
        if chosen == 0 && self.config.is_empty() {
            (self.ips, self.pid, self.stats, self.state) = (true, true, true, true);
            text.push_str(&line("Name:", name.as_str()));
        }
        let bare = self.no_humanize && chosen == 1;
        let mut say = |key: &str, value: &str| {
            text.push_str(&if bare { format!("{value}\n") } else { line(key, value) });
        };
        if self.state {
            say("State:", State::from(detail.summary.state).word());
        }
        if let Some(init) = detail.init_pid {
            if self.pid {
                say("PID:", &init.to_string());
            }
            if self.ips {
                let (ipv4, ipv6) = inside::addresses(init);
                ipv4.iter().chain(&ipv6).for_each(|address| say("IP:", address));
            }
        }
        if self.stats && detail.summary.state.is_up() {
            text.push_str(&self.usage(lxc, &name, &detail)?);
        }
        let missing = self.keys(lxc, &name, &mut text)?;
        client::output::write(&text);
        for key in missing {
            let _ = writeln!(io::stderr(), "{} invalid", client::output::clean(&key));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn line(key: &str, value: &str) -> String {
    format!("{key:<15} {value}\n")
}

impl Info {
    fn bytes(&self, bytes: u64) -> String {
        if self.no_humanize { bytes.to_string() } else { humanize(bytes) }
    }

    fn usage(&self, lxc: &Lxc, name: &TenantName, detail: &Detail) -> Result<String> {
        let Stat { usage, .. } = lxc.get(name, "/stat")?;
        let Usage { memory_bytes, cpu_us, io_read_bytes, io_write_bytes, .. } = usage;
        let mut text = String::new();
        if let Some(us) = cpu_us {
            let value = match self.no_humanize {
                true => us.saturating_mul(1000).to_string(),
                false => format!("{:.2} seconds", us as f64 / 1e6),
            };
            text.push_str(&line("CPU use:", &value));
        }
        if let (Some(read), Some(written)) = (io_read_bytes, io_write_bytes) {
            text.push_str(&line("BlkIO use:", &self.bytes(read + written)));
        }
        if let Some(memory) = memory_bytes {
            text.push_str(&line("Memory use:", &self.bytes(memory)));
        }
        let plan: Option<PlanAnswer> = lxc.get(name, "/plan").ok();
        for interface in detail.init_pid.map(inside::traffic).unwrap_or_default() {
            let link = plan.as_ref().and_then(|plan| host_end(&plan.plan, &interface.name));
            text.push_str(&line("Link:", link.as_deref().unwrap_or(&interface.name)));
            text.push_str(&line(" TX bytes:", &self.bytes(interface.sent)));
            text.push_str(&line(" RX bytes:", &self.bytes(interface.received)));
            text.push_str(&line(" Total bytes:", &self.bytes(interface.sent + interface.received)));
        }
        Ok(text)
    }

    /// Adds the keys that are asked for; those that a tenant does not have are returned.
    fn keys(&self, lxc: &Lxc, name: &TenantName, text: &mut String) -> Result<Vec<String>> {
        if self.config.is_empty() {
            return Ok(Vec::new());
        }
        let explained: Vec<Explained> = lxc.get(name, "/explain")?;
        let mut missing = Vec::new();
        for key in &self.config {
            match configured(key, name, &explained) {
                None => missing.push(key.clone()),
                Some(value) if self.no_humanize && self.config.len() == 1 => {
                    text.push_str(&format!("{value}\n"))
                }
                Some(value) => text.push_str(&format!("{key} = {value}\n")),
            }
        }
        Ok(missing)
    }
}

/// The host's end of an interface, from the tenant's plan.
fn host_end(plan: &serde_json::Value, name: &str) -> Option<String> {
    let nics = plan.get("nics")?.as_array()?;
    let nic = nics.iter().find(|nic| nic.get("name").and_then(|value| value.as_str()) == Some(name))?;
    let end = nic.pointer("/link/port/host_name").or_else(|| nic.pointer("/link/nic"))?;
    Some(end.as_str()?.to_owned())
}

/// The value of a key of LXC's configuration for a tenant.
fn configured(key: &str, name: &TenantName, explained: &[Explained]) -> Option<String> {
    let of = |own: &str| explained.iter().find(|line| line.key == own).map(|line| line.value.clone());
    let flag = |own: &str| of(own).map(|value| if value == "true" { "1" } else { "0" }.to_owned());
    let cgroup = |part: &str| super::cgroup::key_of(part).and_then(of);
    match key {
        "lxc.uts.name" | "lxc.utsname" => of("hostname"),
        "lxc.rootfs.path" | "lxc.rootfs" => of("image").map(|image| format!("tenantry:{image}")),
        "lxc.pty.max" | "lxc.pts" => of("pts_max"),
        "lxc.tty.max" | "lxc.tty" => of("ttys"),
        "lxc.start.auto" => flag("autostart"),
        "lxc.signal.halt" | "lxc.haltsignal" => of("stop_signal"),
        "lxc.init.cmd" | "lxc.init_cmd" => of("init"),
        "lxc.group" => of("group"),
        "lxc.ephemeral" => Some("0".to_owned()),
        "lxc.arch" => Some(nix::sys::utsname::uname().ok()?.machine().to_string_lossy().into_owned()),
        "lxc.log.file" => Some(format!("tenantctl logs {name}")),
        _ => key.strip_prefix("lxc.cgroup2.").or_else(|| key.strip_prefix("lxc.cgroup.")).and_then(cgroup),
    }
}

/// `512 bytes`, `1.50 KiB`, as LXC rounds.
fn humanize(bytes: u64) -> String {
    let scaled = |shift: u32, unit: &str| {
        let hundredths = ((bytes as f64 / (1_u64 << shift) as f64) * 100.0).round() as u64;
        format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100)
    };
    match bytes {
        0..=0x400 => format!("{bytes} bytes"),
        0x401..=0x10_0000 => scaled(10, "KiB"),
        0x10_0001..=0x4000_0000 => scaled(20, "MiB"),
        _ => scaled(30, "GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_sizes_look_as_lxc_prints_them() {
        assert_eq!(line("Name:", "foo"), "Name:           foo\n");
        assert_eq!(line(" Total bytes:", "1.50 KiB"), " Total bytes:   1.50 KiB\n");
        assert_eq!(
            [512, 1536, 5 << 20, 3 << 30].map(humanize),
            ["512 bytes", "1.50 KiB", "5.00 MiB", "3.00 GiB"]
        );
    }

    #[test]
    fn the_host_end_is_found_in_the_plan() {
        let plan = serde_json::json!({"nics": [
            {"name": "eth0", "link": {"mode": "routed", "port": {"host_name": "t1-0"}}},
            {"name": "eth1", "link": {"mode": "phys", "nic": "eno1"}},
        ]});
        assert_eq!(host_end(&plan, "eth0").as_deref(), Some("t1-0"));
        assert_eq!(host_end(&plan, "eth1").as_deref(), Some("eno1"));
        assert_eq!(host_end(&plan, "eth2"), None);
    }
}
