//! The architectures whose calls a kernel takes, and the numbers they have there.

use std::{ops::RangeInclusive, str::FromStr as _};

use syscalls::{aarch64, arm, x86, x86_64};

/// An architecture as the kernel tells a filter of it.
#[derive(Debug)]
pub(super) struct Arch {
    /// `AUDIT_ARCH_*` of linux/audit.h.
    pub(super) audit: u32,
    number: fn(&str) -> Option<u32>,
    /// Calls under which the same is to be had: the name in the table, and the other name.
    also: &'static [(&'static str, &'static str)],
    /// Where an argument stands, for calls where it is not where a 64-bit program has it: arguments of
    /// 64 bits take two places, see syscall(2).
    moved: &'static [(&'static str, u8)],
    /// Numbers of calls that are in no table, because they are no generic ones.
    pub(super) private: Option<RangeInclusive<u32>>,
}

macro_rules! number {
    ($arch:ident) => {
        |name| $arch::Sysno::from_str(name).ok().map(|call| call.id() as u32)
    };
}

const X86_64: Arch =
    Arch { audit: 0xc000_003e, number: number!(x86_64), also: &[], moved: &[], private: None };

const I386: Arch = Arch {
    audit: 0x4000_0003,
    number: number!(x86),
    also: &[("clock_settime", "clock_settime64"), ("settimeofday", "stime"), ("fadvise64", "fadvise64_64")],
    moved: &[("fadvise64", 4), ("fadvise64_64", 5)],
    private: None,
};

const AARCH64: Arch =
    Arch { audit: 0xc000_00b7, number: number!(aarch64), also: &[], moved: &[], private: None };

const ARM: Arch = Arch {
    audit: 0x4000_0028,
    number: number!(arm),
    also: &[("clock_settime", "clock_settime64"), ("fadvise64", "arm_fadvise64_64")],
    moved: &[("arm_fadvise64_64", 1)],
    // breakpoint, cacheflush, usr26, usr32, set_tls, get_tls of asm/unistd.h.
    private: Some(0xf_0001..=0xf_0006),
};

/// What a kernel takes besides its own: that of the 32-bit programs it runs.
pub(super) const HOSTS: [(&str, [&Arch; 2]); 2] =
    [("x86_64", [&X86_64, &I386]), ("aarch64", [&AARCH64, &ARM])];

/// A call of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Its number.
    pub(super) number: u32,
    /// Where the argument stands that another architecture has elsewhere.
    pub(super) moved: Option<u8>,
}

impl Arch {
    /// All calls that a row of the table speaks of; none if the architecture has no such call.
    pub(super) fn calls(&self, row: &str) -> Vec<Call> {
        let others = self.also.iter().filter(|(name, _)| *name == row).map(|(_, other)| *other);
        let call = |name: &str| {
            let moved = self.moved.iter().find(|(other, _)| *other == name).map(|(_, index)| *index);
            (self.number)(name).map(|number| Call { number, moved })
        };
        std::iter::once(row).chain(others).filter_map(call).collect()
    }
}
