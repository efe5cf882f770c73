//! The host's own load, as proc(5) tells it.

use std::fs;

use tenant::files::facts::meminfo;

/// Time of all CPUs, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticks {
    busy: u64,
    all: u64,
    cpus: usize,
}

/// The host now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Machine {
    /// Percent of all CPUs together, since the last look.
    pub(super) cpu_percent: Option<f64>,
    pub(super) cpus: usize,
    pub(super) memory_used: Option<u64>,
    pub(super) memory_total: Option<u64>,
    /// The averages of one, five and fifteen minutes.
    pub(super) load: String,
}

impl Ticks {
    /// As they are now; zero where they cannot be read.
    pub(super) fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut ticks = Self { cpus: text.lines().filter(|line| is_cpu(line)).count(), ..Self::default() };
        let Some(line) = text.lines().find_map(|line| line.strip_prefix("cpu ")) else { return ticks };
        // user nice system idle iowait irq softirq steal; guest times are part of the first two.
        for (at, field) in line.split_whitespace().take(8).enumerate() {
            let count: u64 = field.parse().unwrap_or(0);
            ticks.all += count;
            ticks.busy += if matches!(at, 3 | 4) { 0 } else { count };
        }
        ticks
    }
}

fn is_cpu(line: &str) -> bool {
    line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

impl Machine {
    pub(super) fn read(now: Ticks, before: Option<Ticks>) -> Self {
        let [memory, load] = ["meminfo", "loadavg"]
            .map(|file| fs::read_to_string(format!("/proc/{file}")).unwrap_or_default());
        Self::parse(now, before, &memory, &load)
    }

    fn parse(now: Ticks, before: Option<Ticks>, memory: &str, load: &str) -> Self {
        let cpu_percent = before.and_then(|before| {
            let all = now.all.saturating_sub(before.all);
            (all > 0).then(|| now.busy.saturating_sub(before.busy) as f64 * 100.0 / all as f64)
        });
        let total = meminfo(memory, "MemTotal");
        let used = total.and_then(|total| Some(total.saturating_sub(meminfo(memory, "MemAvailable")?)));
        let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        Self { cpu_percent, cpus: now.cpus, memory_used: used, memory_total: total, load }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_off_proc() {
        let before = Ticks::parse("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1\ncpu1 1\nctxt 1\n");
        assert_eq!(before, Ticks { busy: 20, all: 100, cpus: 2 });
        let now = Ticks { busy: 70, all: 200, cpus: 2 };
        let memory = "MemTotal: 4 kB\nMemFree: 1 kB\nMemAvailable: 3 kB\n";
        let machine = Machine::parse(now, Some(before), memory, "0.10 0.20 0.30 1/200 77\n");
        assert_eq!(machine.cpu_percent, Some(50.0));
        assert_eq!((machine.memory_used, machine.memory_total), (Some(1 << 10), Some(4 << 10)));
        assert_eq!((machine.load.as_str(), machine.cpus), ("0.10 0.20 0.30", 2));
        assert_eq!(Machine::parse(Ticks::parse(""), None, "", ""), Machine::default());
    }
}
