//! What forwarding needs of `/proc/sys/net`, see `Documentation/networking/ip-sysctl.rst`.

use std::fs;

use crate::kernel::{KernelError, Result};

const FORWARDING6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// IPv4 forwards and checks the source address (`rp_filter`) per interface; IPv6 has one switch for the
/// host, which is only ever turned on.
pub(in crate::kernel) fn forwarding_enable(link: &str, ipv6: bool) -> Result<()> {
    set(format!("/proc/sys/net/ipv4/conf/{link}/forwarding"), "1")?;
    set(format!("/proc/sys/net/ipv4/conf/{link}/rp_filter"), "1")?;
    // Answers for every address at once, for tenants that route by hand: `ip route add default dev eth0`.
    set(format!("/proc/sys/net/ipv4/conf/{link}/proxy_arp"), "1")?;
    set(format!("/proc/sys/net/ipv4/neigh/{link}/proxy_delay"), "0")?;
    if ipv6 && !is_set(FORWARDING6, "1") {
        keep_advertised_routes()?;
        set(FORWARDING6.to_owned(), "1")?;
    }
    Ok(())
}

fn is_set(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|now| now.trim() == value)
}

fn set(path: String, value: &str) -> Result<()> {
    if is_set(&path, value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|error| KernelError::new(format!("write {value} to"), path, error))
}

/// A host that forwards ignores router advertisements, also those it has its own default route from,
/// unless `accept_ra` is 2.
fn keep_advertised_routes() -> Result<()> {
    let conf = "/proc/sys/net/ipv6/conf";
    let links = fs::read_dir(conf).map_err(|error| KernelError::new("list", conf, error))?;
    for link in links.flatten() {
        let path = format!("{conf}/{}/accept_ra", link.file_name().to_string_lossy());
        if is_set(&path, "1") {
            set(path, "2")?;
        }
    }
    Ok(())
}
