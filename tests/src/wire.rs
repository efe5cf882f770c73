//! Bridges and wires in the network of a host, and who reaches whom over them.

use serde_json::Value;

use crate::{Host, Tenant};

/// Options of a busybox tenant with these interfaces.
pub fn with(nics: &str) -> Vec<&str> {
    vec!["--image", "busybox", "--set", nics]
}

/// `ip …` in the network of a host.
///
/// # Panics
/// When it fails.
pub fn ip(host: &Host, words: &str) -> String {
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    host.run("ip", &words).ok().stdout
}

/// What ip(8) knows of an interface of the host; null if there is none.
///
/// # Panics
/// When ip(8) prints no JSON.
pub fn link(host: &Host, name: &str) -> Value {
    let output = host.run("ip", &["-json", "-details", "link", "show", "dev", name]).output();
    if !output.status.success() {
        return Value::Null;
    }
    output.json()[0].clone()
}

/// A bridge `br0` of the host with an address.
///
/// # Panics
/// When it cannot be made.
pub fn bridge(host: &Host) {
    ip(host, "link add br0 type bridge");
    ip(host, "address add 10.9.0.1/24 dev br0");
    ip(host, "link set br0 up");
}

/// A NIC `w0` of the host and the neighbour at its other end, 10.7.0.1.
///
/// # Panics
/// When it cannot be made.
pub fn wire(host: &Host) {
    ip(host, "link add w0 type veth peer name w1");
    ip(host, "link set w0 mtu 1400 alias downlink");
    ip(host, "link property add dev w0 altname enp7s0");
    ip(host, "address add 10.7.0.1/24 dev w1");
    ip(host, "link set w1 up");
    ip(host, "link set w0 up");
}

/// Whether a tenant hears an echo from an address.
pub fn pings(from: &Tenant<'_>, address: &str) -> bool {
    from.shell(&format!("ping -c 1 -W 2 {address}")).output().status.success()
}

/// Whether the host hears an echo from an address.
pub fn host_pings(host: &Host, address: &str) -> bool {
    host.run("busybox", &["ping", "-c", "1", "-W", "2", address]).output().status.success()
}

/// Starts a tenant that cannot start, and gives what is said about it.
///
/// # Panics
/// When it starts, or nothing is said that helps.
pub fn refused(tenant: &Tenant<'_>) -> String {
    let output = tenant.ctl("start", &[]).output();
    assert!(!output.status.success(), "{} started", tenant.name());
    assert!(output.stderr.contains("help:"), "no remedy: {}", output.stderr);
    output.stderr
}

/// Name of the host's end of a tenant's interface.
///
/// # Panics
/// When it has none.
pub fn host_end(tenant: &Tenant<'_>, nic: usize) -> String {
    let plan = tenant.ctl("plan", &[]).ok().stdout;
    let line =
        plan.lines().filter(|line| line.starts_with("network")).nth(nic).expect("it has this interface");
    let name = line.split(" over ").nth(1).expect("it has a host end");
    name.split(' ').next().expect("a name").to_owned()
}
