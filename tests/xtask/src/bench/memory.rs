//! Memory that somebody holds, as the whole machine counts it.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// What is summed up, see proc_meminfo(5): everything that tenants cause and that cannot be dropped.
const COUNTED: [&str; 7] =
    ["AnonPages", "Shmem", "SReclaimable", "SUnreclaim", "PageTables", "KernelStack", "Percpu"];

/// The sum stands still when it moves by less than this: well under 1% of a crowd's.
const STILL: u64 = 2 << 20;

/// Drops what can be dropped and waits until the sum stands still; bytes.
pub(super) fn settled() -> Result<u64> {
    still::<3>(Duration::from_secs(20))
}

/// The same for a crowd that has only just started, whose systems go on growing for a while: it must stand still for
/// ten seconds.
pub(super) fn at_rest() -> Result<u64> {
    still::<11>(Duration::from_secs(90))
}

fn still<const SAMPLES: usize>(patience: Duration) -> Result<u64> {
    let deadline = Instant::now() + patience;
    let mut last = [u64::MAX; SAMPLES];
    loop {
        fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop caches")?;
        let now = Held::now()?.all();
        last.rotate_left(1);
        last[SAMPLES - 1] = now;
        let (least, most) = (last.iter().min().copied(), last.iter().max().copied());
        let still = least.zip(most).is_some_and(|(least, most)| most.saturating_sub(least) < STILL);
        if still || Instant::now() > deadline {
            return Ok(now);
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// The counted memory of the whole machine, in its parts; bytes.
pub(super) struct Held([u64; COUNTED.len()]);

impl Held {
    pub(super) fn now() -> Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/meminfo")?))
    }

    fn parse(text: &str) -> Self {
        let value = |wanted: &str| -> Option<u64> {
            let rest = text.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix(':'))?;
            Some(rest.split_ascii_whitespace().next()?.parse::<u64>().ok()? << 10)
        };
        Self(COUNTED.map(|wanted| value(wanted).unwrap_or_default()))
    }

    /// How much it has grown.
    pub(super) fn since(&self, before: &Self) -> Self {
        let mut grown = self.0;
        grown.iter_mut().zip(before.0).for_each(|(now, before)| *now = now.saturating_sub(before));
        Self(grown)
    }

    pub(super) fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    /// By the names of proc_meminfo(5).
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        COUNTED.into_iter().zip(self.0)
    }
}

/// Private memory of one process, bytes, from smaps_rollup.
pub(super) fn private(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("cannot look into process {pid}"))?;
    let value = |line: &str| -> Option<u64> {
        let (key, rest) = line.split_once(':')?;
        let kib: u64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
        matches!(key, "Private_Clean" | "Private_Dirty" | "Private_Hugetlb").then_some(kib << 10)
    };
    Ok(text.lines().filter_map(value).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_the_sum_of_its_parts_and_no_cache() {
        let before = Held::parse(
            "AnonPages: 100 kB\nSlab: 10 kB\nSReclaimable: 4 kB\nSUnreclaim: 6 kB\nCached: 7000 kB\n",
        );
        let after = Held::parse(
            "AnonPages: 300 kB\nSlab: 30 kB\nSReclaimable: 5 kB\nSUnreclaim: 25 kB\nShmem: 1 kB\nCached: 9000 kB\n",
        );
        assert_eq!(before.all(), 110 << 10);
        let grown = after.since(&before);
        assert_eq!(grown.all(), 221 << 10);
        assert_eq!(grown.parts().find(|(what, _)| *what == "SUnreclaim"), Some(("SUnreclaim", 19 << 10)));
    }
}
