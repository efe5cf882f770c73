//! What all ports have in common: the host's ends of the interfaces of tenants.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

/// The IPv4 address of the host on every routed link: link-local, so it takes nothing from a pool.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The IPv6 address of the host on every routed link.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The interface groups of the ports of every root on this machine.
pub const PORT_GROUPS: RangeInclusive<u32> = 0x7400_0000..=0x74ff_ffff;

/// What the name of a port of tenant number 0 begins with, which no tenant is: it is there for a trial, and comes and
/// goes with no process.
pub const TRIAL_PORT: &str = "t0-";

/// Whether a port is there for a trial.
pub fn is_trial_port(name: &str) -> bool {
    name.starts_with(TRIAL_PORT)
}
