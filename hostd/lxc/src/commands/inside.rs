//! The network of a running tenant, read from its /proc, regardless of the type of its interfaces.

use std::{fs, net::Ipv6Addr};

/// Addresses, without loopback and link-local ones, which LXC does not show either.
pub(super) fn addresses(init: i32) -> (Vec<String>, Vec<String>) {
    let read = |file: &str| fs::read_to_string(format!("/proc/{init}/net/{file}")).unwrap_or_default();
    (ipv4(&read("fib_trie")), ipv6(&read("if_inet6")))
}

/// Local addresses of the kernel's routing trie, `Documentation/networking/fib_trie.rst`: an address, then
/// what is known of it, among that `/32 host LOCAL`.
fn ipv4(trie: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut address = "";
    for line in trie.lines() {
        let line = line.trim();
        if let Some(leaf) = line.strip_prefix("|-- ") {
            address = leaf;
        } else if line == "/32 host LOCAL"
            && !address.starts_with("127.")
            && !found.iter().any(|a| a == address)
        {
            found.push(address.to_owned());
        }
    }
    found
}

/// Lines of address, index, prefix length, scope, flags and name, all but the last in hexadecimal.
fn ipv6(table: &str) -> Vec<String> {
    let global = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, scope) = (fields.first()?, fields.get(3)?);
        let bits = u128::from_str_radix(address, 16).ok()?;
        (*scope == "00").then(|| Ipv6Addr::from_bits(bits).to_string())
    };
    table.lines().filter_map(global).collect()
}

/// What an interface has received and sent, bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) name: String,
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// The counters of every interface but loopback.
pub(super) fn traffic(init: i32) -> Vec<Traffic> {
    counters(&fs::read_to_string(format!("/proc/{init}/net/dev")).unwrap_or_default())
}

fn counters(table: &str) -> Vec<Traffic> {
    let interface = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let mut numbers = numbers.split_ascii_whitespace();
        let received = numbers.next()?.parse().ok()?;
        let sent = numbers.nth(7)?.parse().ok()?;
        Some(Traffic { name: name.trim().to_owned(), received, sent })
    };
    table.lines().filter_map(interface).filter(|interface| interface.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_found_in_the_trie() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\nLocal:\n     |-- 10.0.0.2\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(ipv4(trie), ["10.0.0.2"]);
    }

    #[test]
    fn link_local_addresses_are_left_out() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
            fd000000000000000000000000000002 02 80 00 80     eth0\n\
            fe800000000000000000000000000002 02 40 20 80     eth0\n";
        assert_eq!(ipv6(table), ["fd00::2"]);
    }

    #[test]
    fn counters_are_those_of_each_interface() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 5 0 0 0 0 0 0 0 5 0 0 0 0 0 0 0\n  eth0: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n";
        assert_eq!(counters(table), [Traffic { name: "eth0".to_owned(), received: 10, sent: 20 }]);
    }
}
