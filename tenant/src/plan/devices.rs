//! Which device nodes the tenant may use, wherever it finds or makes them.

use serde::Serialize;

use super::step::DevNode;
use crate::{
    config::Features,
    model::device::{DeviceClass, DeviceRule, Driver},
};

/// The allow list of a tenant; every device that no rule of it allows is refused. Enforced by a program
/// of type `BPF_PROG_TYPE_CGROUP_DEVICE` on the payload's cgroup, see the kernel's
/// `Documentation/admin-guide/cgroup-v2.rst`, "Device controller".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DevicePlan {
    /// The rules, at most one for the same numbers. One rule has to allow all that an open(2) asks for.
    pub allowed: Vec<DeviceRule>,
}

/// Without these no system works, and no device of the host is behind them: whatever a list says, they are allowed.
const NEEDED: [&str; 6] = [
    "c 1:3 rwm", // null
    "c 1:5 rwm", // zero
    "c 1:7 rwm", // full
    "c 1:8 rwm", // random
    "c 1:9 rwm", // urandom
    "c 5:0 rwm", // tty
];

/// What else `/dev` holds, for a tenant that names no list: terminals, and the multiplexer for more.
const DEFAULT: [&str; 3] = [
    "c 5:1 rwm",  // console
    "c 5:2 rwm",  // ptmx
    "c 136:* rw", // pts
];

pub(super) fn plan(wanted: Option<&[DeviceRule]>, features: Features) -> DevicePlan {
    let shipped = |rules: &[&str]| -> Vec<DeviceRule> {
        rules.iter().map(|rule| rule.parse().expect("the default rules are valid")).collect()
    };
    let mut rules = shipped(&NEEDED);
    rules.extend(wanted.map_or_else(|| shipped(&DEFAULT), <[DeviceRule]>::to_vec));
    rules.extend(feature_nodes(features).map(|node| DeviceRule {
        class: DeviceClass::Char,
        major: Some(node.major),
        minor: Some(node.minor),
        read: true,
        write: true,
        mknod: false,
    }));
    let mut allowed: Vec<DeviceRule> = Vec::new();
    for rule in rules {
        let same = |other: &&mut DeviceRule| {
            (other.class, other.major, other.minor) == (rule.class, rule.major, rule.minor)
        };
        match allowed.iter_mut().find(same) {
            Some(known) => {
                known.read |= rule.read;
                known.write |= rule.write;
                known.mknod |= rule.mknod;
            }
            None => allowed.push(rule),
        }
    }
    // What allows everything leaves nothing for the others to say.
    if let Some(all) = allowed.iter().copied().find(allows_all) {
        allowed = vec![all];
    }
    DevicePlan { allowed }
}

fn allows_all(rule: &DeviceRule) -> bool {
    let any = rule.class == DeviceClass::All && rule.major.is_none() && rule.minor.is_none();
    any && rule.read && rule.write && rule.mknod
}

pub(super) const DEV_NODES: [DevNode; 6] = [
    DevNode::of_every_host("null", 1, 3),
    DevNode::of_every_host("zero", 1, 5),
    DevNode::of_every_host("full", 1, 7),
    DevNode::of_every_host("random", 1, 8),
    DevNode::of_every_host("urandom", 1, 9),
    DevNode::of_every_host("tty", 5, 0),
];

/// The nodes of the features that a tenant asks for.
pub(super) fn feature_nodes(features: Features) -> impl Iterator<Item = DevNode> {
    let tun = DevNode { name: "net/tun", major: 10, minor: 200, driver: Some(Driver::Tun) };
    let fuse = DevNode { name: "fuse", major: 10, minor: 229, driver: Some(Driver::Fuse) };
    [(features.tun, tun), (features.fuse, fuse)]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(wanted: &[&str]) -> Vec<String> {
        let rules: Vec<DeviceRule> = wanted.iter().map(|rule| rule.parse().unwrap()).collect();
        let allowed = plan(Some(&rules), Features::default()).allowed;
        allowed.iter().map(ToString::to_string).collect()
    }

    fn with_needed(more: &[&str]) -> Vec<String> {
        NEEDED.iter().chain(more).map(ToString::to_string).collect()
    }

    #[test]
    fn rules_for_the_same_nodes_become_one() {
        let merged = texts(&["c 10:1 r", "c 10:2 rw", "c 10:1 w"]);
        assert_eq!(merged, with_needed(&["c 10:1 rw", "c 10:2 rw"]));
        assert_eq!(texts(&["c 1:3 r", "a", "b *:* m"]), ["a *:* rwm"]);
    }

    #[test]
    fn what_every_system_needs_is_allowed_whatever_a_list_says() {
        assert_eq!(texts(&[]), with_needed(&[]));
        assert_eq!(texts(&["c 1:3 r"]), with_needed(&[]));
    }

    #[test]
    fn a_feature_allows_its_device() {
        let features = Features { tun: true, fuse: true, wireguard: true };
        let allowed: Vec<String> =
            plan(Some(&[]), features).allowed.iter().map(ToString::to_string).collect();
        assert_eq!(allowed, with_needed(&["c 10:200 rw", "c 10:229 rw"]));
    }

    #[test]
    fn without_a_list_a_tenant_may_use_what_its_dev_holds() {
        let allowed = plan(None, Features::default()).allowed;
        assert_eq!(allowed.len(), NEEDED.len() + DEFAULT.len());
        for node in super::DEV_NODES {
            let has = |rule: &DeviceRule| rule.major == Some(node.major) && rule.minor == Some(node.minor);
            assert!(allowed.iter().any(has), "{}", node.name);
        }
    }
}
