//! What a copy of a tenant must not have in common with it: keys, ids, leases. The copy makes its own, as it would at a
//! first boot.

use std::{ffi::CString, io};

use filetree::Dir;
use rootfs_tools::lint::{BIND_KEY, SEEDS, SNAKEOIL};
use tenant::plan::Plan;
use wire::Pattern;

use super::stores::find;
use crate::dirs::remove::remove_all;

/// Paths in a tenant, besides those that no image may have either; the last component may have a `*`.
const OWN: [&str; 6] = [
    "etc/machine-id",
    "etc/ssh/ssh_host_*",
    "var/lib/dbus/machine-id",
    "var/lib/dhcp/*.leases",
    "var/lib/dhcpcd/*.lease",
    "var/lib/systemd/network/*",
];

fn matches(pattern: &str, name: &str) -> bool {
    Pattern::parse(pattern).is_ok_and(|pattern| pattern.matches(name))
}

/// Removes all of that from a tenant's `dirs`.
///
/// # Errors
/// The first file that cannot be removed.
pub(crate) fn forget(plan: &Plan, dirs: &Dir) -> io::Result<()> {
    for path in OWN.iter().chain(SEEDS).chain(SNAKEOIL).chain([&BIND_KEY]) {
        let Some((dir, pattern)) = find(plan, dirs, path)? else { continue };
        let pattern = pattern.to_string_lossy().into_owned();
        let mut found: Vec<CString> = Vec::new();
        dir.rewind()?;
        dir.each(|name, _| -> io::Result<()> {
            if name.to_str().is_ok_and(|name| matches(&pattern, name)) {
                found.push(name.to_owned());
            }
            Ok(())
        })?;
        found.iter().try_for_each(|name| remove_all(&dir, name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, fits) in [
            ("ssh_host_*", "ssh_host_ed25519_key.pub", true),
            ("ssh_host_*", "sshd_config", false),
            ("*.leases", "dhclient.eth0.leases", true),
            ("*.leases", ".lease", false),
            ("rndc.key", "rndc.key", true),
            ("rndc.key", "rndc.key2", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
