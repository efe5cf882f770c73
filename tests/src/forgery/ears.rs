//! Who would hear a forged frame, and what they believe.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{COUNT, End, Frames};
use crate::{
    Host, Namespace, Run, Tenant,
    frame::{Frame, Mac},
    tally::Tally,
};

fn mac(text: &str) -> Mac {
    let bytes = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a hardware address"));
    bytes.collect::<Vec<_>>().try_into().expect("six bytes")
}

/// What is known of a tenant's `eth0`: its hardware address and its only address of each family.
///
/// # Panics
/// When it has none.
pub fn end(tenant: &Tenant<'_>) -> End {
    let address = |family: &str| {
        let script = format!("ip -{family} -o address show dev eth0 scope global | awk '{{ print $4 }}'");
        tenant.says(&script).split('/').next().unwrap_or_default().to_owned()
    };
    End {
        mac: mac_of(tenant),
        v4: address("4").parse().expect("an IPv4 address"),
        v6: address("6").parse().expect("an IPv6 address"),
    }
}

/// The hardware address of a tenant's `eth0`.
///
/// # Panics
/// When it has none.
pub fn mac_of(tenant: &Tenant<'_>) -> Mac {
    mac(&tenant.says("cat /sys/class/net/eth0/address"))
}

/// The hardware address of one of the host's interfaces.
///
/// # Panics
/// When there is no such interface.
pub fn link_mac(host: &Host, is_it: impl Fn(&serde_json::Value) -> bool) -> Mac {
    let links = host.run("ip", &["-json", "link"]).ok().json();
    let links = links.as_array().cloned().unwrap_or_default();
    let link = links.iter().find(|link| is_it(link)).expect("the host has such an interface");
    mac(link["address"].as_str().expect("it has a hardware address"))
}

/// Has the probe put each frame on a wire [`COUNT`] times; `probe` is told everything but the count.
///
/// # Panics
/// When it cannot.
pub fn inject(probe: Run, frames: &Frames) {
    let lines: String = frames.iter().fold(String::new(), |mut lines, (frame, _)| {
        writeln!(lines, "{}", frame.hex()).expect("a string can be written to");
        lines
    });
    let sent = probe.args([COUNT.to_string()]).stdin(lines).ok();
    assert_eq!(sent.text(), (COUNT * frames.len() as u64).to_string());
}

/// Counters at the two places where a frame may arrive: a neighbour's wire and the host's stack.
#[derive(Debug)]
pub struct Ears {
    peer: Tally,
    host: Tally,
    what: Vec<String>,
}

impl Ears {
    /// Listens for these frames.
    ///
    /// # Panics
    /// When it cannot, or two frames cannot be told apart.
    pub fn open(host: &Host, peer: &Tenant<'_>, frames: &Frames) -> Self {
        let (peer, what) = (Tally::on_wire(peer, "eth0", &plain(frames)), Vec::new());
        let mut ears = Self { peer, host: Tally::in_stack(host, &plain(frames)), what };
        ears.what.extend(frames.iter().map(|(frame, _)| frame.what.clone()));
        assert_eq!(ears.what.iter().collect::<BTreeSet<_>>().len(), frames.len(), "two frames with one mark");
        ears
    }

    /// Listens on the host again after somebody took away all of its tables.
    pub fn open_again(&mut self, host: &Host, frames: &Frames) {
        self.host = Tally::in_stack(host, &plain(frames));
    }

    /// What arrived since it was last asked, in words; nothing when nothing did.
    pub fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        for (who, tally) in [("the neighbour", &self.peer), ("the host", &self.host)] {
            for (number, count) in tally.take().into_iter().filter(|(_, count)| *count > 0) {
                heard.push(format!("{count} of {COUNT} at {who}: {}", self.what[number]));
            }
        }
        heard
    }

    /// What did not arrive [`COUNT`] times since it was last asked, of what should.
    pub fn missed(&self, frames: &Frames) -> Vec<String> {
        let (peer, host) = (self.peer.take(), self.host.take());
        let mut missed = Vec::new();
        for (frame, free) in frames {
            let number = self.what.iter().position(|what| *what == frame.what);
            let count = |tally: &std::collections::BTreeMap<usize, u64>| tally.get(&number?).copied();
            let (is_wanted, who, count) = match free {
                super::Free::Peer => (true, "the neighbour", count(&peer)),
                super::Free::Host => (true, "the host", count(&host)),
                super::Free::Unused => (false, "", None),
            };
            if is_wanted && count != Some(COUNT) {
                missed.push(format!("{count:?} of {COUNT} at {who}: {}", frame.what));
            }
        }
        missed
    }
}

fn plain(frames: &Frames) -> Vec<Frame> {
    frames.iter().map(|(frame, _)| frame.clone()).collect()
}

/// What a namespace believes of its neighbours, routes, addresses and the ports of its bridges.
///
/// # Panics
/// When it cannot be asked.
pub fn beliefs(namespace: &Namespace) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    let asked = ["ip -4 neigh", "ip -6 neigh", "ip -4 route", "ip -6 route", "ip -6 address", "bridge fdb"];
    for words in asked {
        let words: Vec<&str> = words.split(' ').collect();
        let text = namespace.run(words[0], &words[1..]).ok().stdout;
        // How sure it is of a neighbour, and how long an address lasts, changes with time.
        let sure = [" REACHABLE", " STALE", " DELAY", " PROBE", " router", " tentative"];
        let lines = text
            .lines()
            .filter(|line| !["FAILED", "INCOMPLETE", "valid_lft"].iter().any(|word| line.contains(word)));
        said.extend(lines.map(|line| sure.iter().fold(line.to_owned(), |line, word| line.replace(word, ""))));
    }
    said
}
