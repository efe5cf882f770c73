//! `/proc/cpuinfo`, `/proc/stat` and `/sys/devices/system/cpu/online` of a tenant.
//!
//! See proc_cpuinfo(5), proc_stat(5), and "CPU" and "Cpuset" in `Documentation/admin-guide/cgroup-v2.rst`. A tenant may use
//! the CPUs of its cpuset; of a quota it sees as many of them as it can keep busy. They keep the numbers that the host gives
//! them, as sched_getaffinity(2) and the directories below `/sys/devices/system/cpu` do.

use std::{fmt::Write as _, time::Duration};

/// Of a kernel's clock, per second; USER_HZ is this on every architecture of Debian's.
const HZ: u64 = 100;

/// The numbers of the CPUs that a tenant sees, in rising order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cpus(Vec<u32>);

impl Cpus {
    /// Those of a list as the kernel writes it, e.g. `0-3,8`, see "List format" in cpuset(7).
    pub(super) fn parse(list: &str) -> Self {
        let ranges = list.trim().split(',').filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
        });
        Self(ranges.flatten().collect())
    }

    /// As many as CPU time can be used of in a moment: `quota` is how much of it in a time of 1.
    pub(super) fn within(mut self, quota: Option<f64>) -> Self {
        if let Some(quota) = quota {
            self.0.truncate((quota.ceil() as usize).max(1));
        }
        self
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The file of the kernel: the same list format.
    pub(super) fn online(&self) -> String {
        let mut text = String::new();
        for range in self.0.chunk_by(|one, next| one + 1 == *next) {
            let (first, last) = (range[0], range[range.len() - 1]);
            let comma = if text.is_empty() { "" } else { "," };
            let _ = match range {
                [_] => write!(text, "{comma}{first}"),
                _ => write!(text, "{comma}{first}-{last}"),
            };
        }
        text.push('\n');
        text
    }

    /// Of the kernel's own file the parts of these CPUs.
    pub(super) fn cpuinfo(&self, host: &str) -> String {
        let mut text = String::new();
        for part in host.split_inclusive("\n\n") {
            let number = part.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                (name.trim() == "processor").then(|| value.trim().parse::<u32>().ok()).flatten()
            });
            // On some architectures there is a part that is of the whole machine.
            if number.is_none_or(|number| self.0.contains(&number)) {
                text.push_str(part);
            }
        }
        text
    }

    /// Times since the tenant's boot, of each CPU an equal part: which one it was is not counted for a cgroup. What is
    /// counted for the whole machine alone, interrupts and switches, is 0.
    pub(super) fn stat(&self, usage: &Usage, booted: u64) -> String {
        let count = self.count().max(1) as u64;
        let ticks = |time: Duration| (time.as_micros() as u64) / (1_000_000 / HZ);
        let (user, system) = (ticks(usage.user), ticks(usage.system));
        let idle = (ticks(usage.elapsed) * count).saturating_sub(user + system);
        let mut text = format!("cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n");
        for cpu in &self.0 {
            let (user, system, idle) = (user / count, system / count, idle / count);
            let _ = writeln!(text, "cpu{cpu} {user} 0 {system} {idle} 0 0 0 0 0 0");
        }
        let _ = writeln!(text, "intr 0\nctxt 0\nbtime {booted}\nprocesses {}", usage.tasks);
        let _ = writeln!(text, "procs_running 1\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0");
        text
    }
}

/// What a tenant has used of CPUs since its boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) user: Duration,
    pub(super) system: Duration,
    /// Time since then.
    pub(super) elapsed: Duration,
    /// Processes and threads that it has.
    pub(super) tasks: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_shows_as_many_cpus_as_it_keeps_busy() {
        let online = |list, quota| Cpus::parse(list).within(quota).online();
        assert_eq!(online("0-7", None), "0-7\n");
        assert_eq!(online("0-7", Some(2.0)), "0-1\n");
        assert_eq!(online("0-7", Some(2.1)), "0-2\n");
        assert_eq!(online("0-7", Some(0.1)), "0\n");
        assert_eq!(online("1,3-4,9\n", None), "1,3-4,9\n");
        assert_eq!(online("1,3-4,9\n", Some(2.0)), "1,3\n");
        assert_eq!(online("0-1", Some(64.0)), "0-1\n");
        assert_eq!(online("", None), "\n");
    }

    #[test]
    fn cpuinfo_has_the_parts_of_these_cpus() {
        let host = "processor\t: 0\nmodel name\t: A\n\nprocessor\t: 1\nmodel name\t: B\n\n\
                    processor\t: 10\nmodel name\t: C\n\n";
        let text = Cpus::parse("1,10").cpuinfo(host);
        assert_eq!(text, "processor\t: 1\nmodel name\t: B\n\nprocessor\t: 10\nmodel name\t: C\n\n");
        let arm = "processor\t: 0\nBogoMIPS\t: 1\n\nHardware\t: X\n";
        assert_eq!(Cpus::parse("1").cpuinfo(arm), "Hardware\t: X\n");
    }

    #[test]
    fn times_add_up_to_those_of_its_cpus() {
        let usage = Usage {
            user: Duration::from_secs(30),
            system: Duration::from_millis(10_050),
            elapsed: Duration::from_secs(100),
            tasks: 12,
        };
        let text = Cpus::parse("0-1").stat(&usage, 1_700_000_000);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("cpu  3000 0 1005 15995 0 0 0 0 0 0"));
        assert_eq!(lines.next(), Some("cpu0 1500 0 502 7997 0 0 0 0 0 0"));
        assert_eq!(text.lines().filter(|line| line.starts_with("cpu")).count(), 3);
        assert!(text.contains("\nbtime 1700000000\n"));
        // More than there is time: of a clock that is read later than the other.
        let busy = Usage { user: Duration::from_secs(300), ..usage };
        assert!(Cpus::parse("0").stat(&busy, 0).starts_with("cpu  30000 0 1005 0 "));
    }
}
