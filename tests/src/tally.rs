//! Counts marked frames where they arrive, in the kernel, so that none is missed.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Host, Namespace, Tenant,
    frame::{Frame, HEADER},
};

/// Counters in one namespace, in tables of their own behind everybody else's.
#[derive(Debug)]
pub struct Tally {
    namespace: Namespace,
}

/// Behind every other rule: what arrives here goes to a socket, or to the ARP table.
const LAST: i32 = 10_000;

impl Tally {
    /// Counts what comes over the wire to a tenant's interface, whatever it is.
    ///
    /// # Panics
    /// When the counters cannot be set up.
    pub fn on_wire(tenant: &Tenant<'_>, interface: &str, frames: &[Frame]) -> Self {
        let mut script =
            String::from("table netdev tally { }\ndelete table netdev tally\ntable netdev tally {\n");
        frames.iter().enumerate().for_each(|(number, _)| script += &format!("counter c{number} {{ }}\n"));
        script += &format!("chain wire {{ type filter hook ingress device {interface} priority {LAST};\n");
        for (number, frame) in frames.iter().enumerate() {
            for at in frame.marks_at() {
                script += &format!("@ll,{},64 {} counter name c{number}\n", at * 8, frame.mark());
            }
        }
        Self::load(Namespace::of(tenant.pids().0), &(script + "}\n}\n"))
    }

    /// Counts what the host's own stack takes in: IP packets for it, and ARP.
    ///
    /// # Panics
    /// As [`Self::on_wire`].
    pub fn in_stack(host: &Host, frames: &[Frame]) -> Self {
        let mut script = String::new();
        for (family, of_family) in [("inet", [0x0800, 0x86dd].as_slice()), ("arp", &[0x0806])] {
            let ours =
                || frames.iter().enumerate().filter(|(_, frame)| of_family.contains(&frame.ethertype()));
            script += &format!("table {family} tally {{ }}\ndelete table {family} tally\n");
            script += &format!("table {family} tally {{\n");
            ours().for_each(|(number, _)| script += &format!("counter c{number} {{ }}\n"));
            script += &format!("chain in {{ type filter hook input priority {LAST};\n");
            for (number, frame) in ours() {
                for at in frame.marks_at() {
                    let at = (at - HEADER) * 8;
                    script += &format!("@nh,{at},64 {} counter name c{number}\n", frame.mark());
                }
            }
            script += "}\n}\n";
        }
        Self::load(host.network(), &script)
    }

    fn load(namespace: Namespace, script: &str) -> Self {
        namespace.run("nft", &["-f", "-"]).stdin(script).ok();
        Self { namespace }
    }

    /// How many of each frame came, by its number, since the last time this was asked.
    ///
    /// # Panics
    /// When the counters have gone.
    pub fn take(&self) -> BTreeMap<usize, u64> {
        let said = self.namespace.run("nft", &["--json", "reset", "counters"]).ok().json();
        let all = said["nftables"].as_array().cloned().unwrap_or_default();
        let ours = all.iter().map(|object| &object["counter"]).filter(|counter| counter["table"] == "tally");
        let number = |counter: &Value| counter["name"].as_str()?.strip_prefix('c')?.parse().ok();
        let counts: BTreeMap<usize, u64> =
            ours.filter_map(|counter| Some((number(counter)?, counter["packets"].as_u64()?))).collect();
        assert!(!counts.is_empty(), "the counters have gone: {said}");
        counts
    }
}
