//! Arguments of calls in words.

use std::fmt;

use crate::kernel::{Access, Child, ChildKind, Entry, OwnFilesystem, Veth};

pub(super) fn list(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}

pub(super) fn word(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "writable",
    }
}

pub(super) fn own_word(own: &OwnFilesystem) -> String {
    match own {
        OwnFilesystem::Devpts { max } => format!("devpts of {max}"),
        OwnFilesystem::Proc => "proc".to_owned(),
        OwnFilesystem::Sysfs => "sysfs".to_owned(),
        OwnFilesystem::Cgroup => "cgroup2".to_owned(),
    }
}

/// An entry of a tmpfs with its mode; of a secret its size alone.
pub(super) fn told_of(entry: Entry<'_>) -> String {
    match entry {
        Entry::Dir(mode) => format!("directory, mode {mode:04o}"),
        Entry::Link(target) => format!("link to {target}"),
        Entry::File => "file, mode 0444".to_owned(),
        Entry::Device(major, minor) => format!("device {major}:{minor}, mode 0666"),
        Entry::Secret(contents) => format!("file of {} bytes, mode 0400", contents.len()),
        Entry::Inaccessible(node) => format!("{node:?}, mode 0000").to_lowercase(),
    }
}

pub(super) fn mac_word(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

pub(super) fn with_mac(mac: Option<[u8; 6]>) -> String {
    mac.map_or(String::new(), |mac| format!(", mac {}", mac_word(mac)))
}

pub(super) fn with_mtu(mtu: Option<u32>) -> String {
    mtu.map_or(String::new(), |mtu| format!(", mtu {mtu}"))
}

pub(super) fn told_of_veth(veth: &Veth<'_>) -> String {
    let bridge = veth.bridge.map_or(String::new(), |bridge| format!(", port of {bridge}"));
    format!(
        "{}, mac {}, group {:#x}{bridge}; peer {}{}{} in process {}",
        veth.altname,
        mac_word(veth.host_mac),
        veth.group,
        veth.name,
        with_mac(Some(veth.mac)),
        with_mtu(veth.mtu),
        veth.pid,
    )
}

pub(super) fn told_of_child(child: &Child<'_>) -> String {
    let kind = match child.kind {
        ChildKind::Macvlan(submode) => format!("macvlan {submode:?}").to_lowercase(),
        ChildKind::Vlan(tag) => format!("vlan {tag}"),
    };
    let Child { name, mac, mtu, pid, .. } = *child;
    format!("{kind} {name}{}{} in process {pid}", with_mac(mac), with_mtu(mtu))
}
