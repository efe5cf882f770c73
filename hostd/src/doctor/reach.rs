//! What of the host decides whether routed tenants reach the world: told by a start, and by the doctor.

use std::{collections::BTreeSet, fs};

use tenant::{Tenant, config::Attachment};

fn is_on(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

/// The interfaces that IPv4 default routes lead over, see proc_net(5), `route`.
pub(super) fn uplinks() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let default = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            [link, "00000000", ..] => Some(link.to_owned()),
            _ => None,
        }
    });
    default.collect()
}

/// Whether this host forwards IPv6, all of it.
pub(super) fn forwards_ipv6() -> bool {
    is_on("/proc/sys/net/ipv6/conf/all/forwarding")
}

/// Whether IPv4 that comes in on an interface is forwarded.
pub(super) fn forwards(link: &str) -> bool {
    is_on(&format!("/proc/sys/net/ipv4/conf/{link}/forwarding"))
}

/// The uplinks from which IPv4 is not forwarded.
pub(super) fn shut_uplinks() -> impl Iterator<Item = String> {
    uplinks().into_iter().filter(|link| !forwards(link))
}

/// What that means.
pub(super) fn shut(link: &str) -> String {
    format!(
        "IPv4 from {link} is not forwarded: routed tenants cannot reach networks beyond this host, nor be reached"
    )
}

/// What helps.
pub(super) fn remedy(link: &str) -> String {
    format!("sysctl net.ipv4.conf.{link}.forwarding=1, and the same in /etc/sysctl.d")
}

/// What keeps a tenant that runs from the world.
pub fn warnings(tenant: &Tenant) -> Vec<String> {
    if !tenant.nics.iter().any(|nic| matches!(nic.attachment, Attachment::Routed { .. })) {
        return Vec::new();
    }
    shut_uplinks().map(|link| format!("{}; {}", shut(&link), remedy(&link))).collect()
}
