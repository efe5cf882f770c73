//! What forwarding over a port needs of `/proc/sys/net`, see `Documentation/networking/ip-sysctl.rst`.

use std::path::Path;

use super::{forwarding6, sysctl::set};
use crate::kernel::Result;

/// How an interface checks the source of IPv4 packets: by whether the way back leads over it, or, while another interface
/// has that way, whether there is one at all.
pub(in crate::kernel) fn check_sources(link: &str, strictly: bool) -> Result<()> {
    set(format!("/proc/sys/net/ipv4/conf/{link}/rp_filter"), if strictly { "1" } else { "2" })
}

/// IPv4 forwards and checks the source address (`rp_filter`) per interface; IPv6 has one switch for the
/// host, see [`forwarding6`].
pub(in crate::kernel) fn forwarding_enable(link: &str, ipv6: Option<&Path>) -> Result<()> {
    set(format!("/proc/sys/net/ipv4/conf/{link}/forwarding"), "1")?;
    set(format!("/proc/sys/net/ipv4/conf/{link}/rp_filter"), "1")?;
    // Answers for every address at once, for tenants that route by hand: `ip route add default dev eth0`.
    set(format!("/proc/sys/net/ipv4/conf/{link}/proxy_arp"), "1")?;
    set(format!("/proc/sys/net/ipv4/neigh/{link}/proxy_delay"), "0")?;
    ipv6.map_or(Ok(()), forwarding6::forwarding6_enable)
}
