//! Resource limits of processes, see getrlimit(2).

use std::{collections::BTreeMap, fs, io};

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
};
use serde::{Deserialize, Serialize};

/// Every limit: its name in records, its line in proc_pid_limits(5), its number.
const LIMITS: [(&str, &str, Resource); 16] = [
    ("as", "Max address space", Resource::RLIMIT_AS),
    ("core", "Max core file size", Resource::RLIMIT_CORE),
    ("cpu", "Max cpu time", Resource::RLIMIT_CPU),
    ("data", "Max data size", Resource::RLIMIT_DATA),
    ("fsize", "Max file size", Resource::RLIMIT_FSIZE),
    ("locks", "Max file locks", Resource::RLIMIT_LOCKS),
    ("memlock", "Max locked memory", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", "Max msgqueue size", Resource::RLIMIT_MSGQUEUE),
    ("nice", "Max nice priority", Resource::RLIMIT_NICE),
    ("nofile", "Max open files", Resource::RLIMIT_NOFILE),
    ("nproc", "Max processes", Resource::RLIMIT_NPROC),
    ("rss", "Max resident set", Resource::RLIMIT_RSS),
    ("rtprio", "Max realtime priority", Resource::RLIMIT_RTPRIO),
    ("rttime", "Max realtime timeout", Resource::RLIMIT_RTTIME),
    ("sigpending", "Max pending signals", Resource::RLIMIT_SIGPENDING),
    ("stack", "Max stack size", Resource::RLIMIT_STACK),
];

/// A soft and a hard limit; none is unlimited. The unit is that of the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Limit(Option<u64>, Option<u64>);

fn lesser(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

impl Limit {
    fn within(self, ceiling: Self) -> Self {
        let hard = lesser(self.1, ceiling.1);
        Self(lesser(self.0, hard), hard)
    }
}

/// Limits by their names in [`LIMITS`]. A limit that is not among them is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ResourceLimits(BTreeMap<String, Limit>);

impl ResourceLimits {
    /// Those of a process, or of the caller for `self`.
    pub(super) fn of(process: &str) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(format!("/proc/{process}/limits"))?))
    }

    fn parse(text: &str) -> Self {
        let limit = |line: &str| {
            let (name, title, _) = LIMITS.iter().find(|(_, title, _)| line.starts_with(title))?;
            let mut values = line[title.len()..].split_ascii_whitespace().map(|value| match value {
                "unlimited" => Some(None),
                number => number.parse().ok().map(Some),
            });
            Some(((*name).to_owned(), Limit(values.next()??, values.next()??)))
        };
        Self(text.lines().filter_map(limit).collect())
    }

    /// These, but no hard limit above that of `ceiling`, and no soft one above the hard one.
    pub(super) fn within(&self, ceiling: &Self) -> Self {
        let lower = |(name, limit): (&String, &Limit)| {
            let limit = ceiling.0.get(name).map_or(*limit, |ceiling| limit.within(*ceiling));
            (name.clone(), limit)
        };
        Self(self.0.iter().map(lower).collect())
    }

    /// Gives the calling process these limits. One that it may not raise (without CAP_SYS_RESOURCE) stays as
    /// low as it is: it then has less than it could, never more.
    pub(super) fn apply(&self) -> io::Result<()> {
        let number = |value: Option<u64>| value.unwrap_or(libc::RLIM_INFINITY);
        for (name, _, resource) in LIMITS {
            let Some(limit) = self.0.get(name) else { continue };
            match setrlimit(resource, number(limit.0), number(limit.1)) {
                Err(Errno::EPERM) => {
                    let (_, own) = getrlimit(resource)?;
                    let Limit(soft, hard) = limit.within(Limit(None, Some(own)));
                    setrlimit(resource, number(soft), number(hard))?;
                }
                result => result?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_of_a_process_is_read() {
        let own = ResourceLimits::of("self").unwrap();
        assert_eq!(own.0.len(), LIMITS.len(), "{own:?}");
        for (name, _, resource) in LIMITS {
            let (soft, hard) = getrlimit(resource).unwrap();
            let Limit(read_soft, read_hard) = own.0[name];
            assert_eq!(read_soft.unwrap_or(libc::RLIM_INFINITY), soft, "{name}");
            assert_eq!(read_hard.unwrap_or(libc::RLIM_INFINITY), hard, "{name}");
        }
    }

    #[test]
    fn no_limit_exceeds_the_ceiling() {
        let recorded = "Max open files            1024                 524288               files     \n\
                        Max processes             unlimited            unlimited            processes \n";
        let ceiling = "Max open files            4096                 512                  files     \n\
                       Max processes             100                  200                  processes \n";
        let within = ResourceLimits::parse(recorded).within(&ResourceLimits::parse(ceiling));
        assert_eq!(within.0["nofile"], Limit(Some(512), Some(512)));
        assert_eq!(within.0["nproc"], Limit(Some(200), Some(200)));
        let open = ResourceLimits::parse(recorded).within(&ResourceLimits::default());
        assert_eq!(open, ResourceLimits::parse(recorded));
    }

    #[test]
    fn a_record_of_limits_is_read_as_it_was_written() {
        let own = ResourceLimits::of("self").unwrap();
        let text = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<ResourceLimits>(&text).unwrap(), own);
    }
}
