//! The figures, and what they say about the targets.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::machine::Machine;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(super) enum Unit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "MiB")]
    Mebibytes,
    #[serde(rename = "KiB")]
    Kibibytes,
    #[serde(rename = "1/s")]
    PerSecond,
    #[serde(rename = "Gbit/s")]
    Gigabits,
}

impl Unit {
    fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
            Self::Kibibytes => "KiB",
            Self::PerSecond => "1/s",
            Self::Gigabits => "Gbit/s",
        }
    }

    /// Whether more of it is better.
    pub(super) fn is_rate(self) -> bool {
        matches!(self, Self::PerSecond | Self::Gigabits)
    }
}

/// One quantity of one contestant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(super) struct Figure {
    pub(super) what: String,
    pub(super) unit: Unit,
    pub(super) who: String,
    pub(super) image: String,
}

impl Figure {
    pub(super) fn new(what: &str, unit: Unit, who: &str, image: &str) -> Self {
        Self { what: what.to_owned(), unit, who: who.to_owned(), image: image.to_owned() }
    }
}

/// All samples of a run.
#[derive(Debug)]
pub(super) struct Results {
    machine: Machine,
    /// Rows of the table in the order in which they were measured.
    rows: Vec<(String, Unit)>,
    samples: BTreeMap<Figure, Vec<f64>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    figure: &'a Figure,
    median: f64,
    least: f64,
    most: f64,
    samples: usize,
}

impl Serialize for Results {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let entries: Vec<Entry<'_>> =
            self.samples.iter().map(|(figure, samples)| entry(figure, samples)).collect();
        let mut document = serializer.serialize_struct("Results", 2)?;
        document.serialize_field("machine", &self.machine)?;
        document.serialize_field("figures", &entries)?;
        document.end()
    }
}

fn entry<'a>(figure: &'a Figure, samples: &[f64]) -> Entry<'a> {
    let round = |value: f64| (value * 1e3).round() / 1e3;
    let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Entry {
        figure,
        median: round(median(samples)),
        least: round(least),
        most: round(most),
        samples: samples.len(),
    }
}

/// The middle of the samples; not a number when there are none.
pub(super) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

impl Results {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine, rows: Vec::new(), samples: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, figure: Figure, value: f64) {
        let row = (figure.what.clone(), figure.unit);
        if !self.rows.contains(&row) {
            self.rows.push(row);
        }
        self.samples.entry(figure).or_default().push(value);
    }

    /// Every figure with its median.
    pub(super) fn medians(&self) -> impl Iterator<Item = (Figure, f64)> {
        self.samples.iter().map(|(figure, samples)| (figure.clone(), median(samples)))
    }

    fn median(&self, what: &str, who: &str, image: &str) -> Option<f64> {
        let figures = self.samples.iter();
        let mut found = figures.filter(|(f, _)| f.what == what && f.who == who && f.image == image);
        found.next().map(|(_, samples)| median(samples))
    }
}

/// What a target is compared with.
#[derive(Clone, Copy)]
enum Against {
    /// LXC on the stock image, times this.
    Lxc(f64),
    /// This, in the unit of the figure.
    Absolute(f64),
}

/// A target: what, on which image, at most.
const TARGETS: &[(&str, &str, Against)] = &[
    ("first boot to multi-user", "stock", Against::Lxc(1.0)),
    ("first boot to multi-user", "tuned", Against::Lxc(0.6)),
    ("start to multi-user", "stock", Against::Lxc(1.0)),
    ("start to multi-user", "tuned", Against::Lxc(0.6)),
    ("memory per system, 20 idle", "stock", Against::Lxc(1.0)),
    ("memory per system, 20 idle", "tuned", Against::Lxc(0.55)),
    ("memory per system, 100 idle", "stock", Against::Lxc(1.0)),
    ("memory per system, 100 idle", "tuned", Against::Lxc(0.55)),
    ("start to exec", "stock", Against::Lxc(1.0)),
    ("start to exec", "tuned", Against::Lxc(1.0)),
    ("supervisor, private, of 20", "tuned", Against::Absolute(0.6)),
    ("create, durable", "tuned", Against::Absolute(10.0)),
    ("disk per new tenant", "tuned", Against::Absolute(100.0)),
    ("swap, 100 running", "tuned", Against::Absolute(2.0)),
    ("memory per tenant on two versions, 100 running", "tuned", Against::Absolute(102.4)),
    ("page cache of a second version, without what it changes", "tuned", Against::Absolute(1024.0)),
    ("work of 1000 swaps", "tuned", Against::Absolute(2.0)),
    ("rebase of 1000 tenants", "tuned", Against::Absolute(10.0)),
    ("stale of 1000 tenants", "tuned", Against::Absolute(3.0)),
    ("rollout to 1000 tenants, one gate", "tuned", Against::Absolute(10.0)),
    ("list, 1000 tenants", "tuned", Against::Absolute(20.0)),
    ("all 1000 booted", "tuned", Against::Absolute(70.0)),
    ("memory per system, 1000 idle", "tuned", Against::Absolute(5.632)),
    ("memory per system, 1000 idle", "stock", Against::Absolute(10.24)),
];

const COLUMNS: [(&str, &str); 6] = [
    ("LXC", "stock"),
    ("systemd-nspawn", "stock"),
    ("Tenantry", "stock"),
    ("LXC", "tuned"),
    ("systemd-nspawn", "tuned"),
    ("Tenantry", "tuned"),
];

fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// The report for people.
pub(super) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    preface(&mut text, &results.machine);
    verdicts(&mut text, results);
    figures(&mut text, results);
    network(&mut text, results);
    text.push_str(NOTES);
    text
}

fn preface(text: &mut String, machine: &Machine) {
    let Machine { cores, processor, memory_gib, kernel, system, lxc, nspawn, revision } = machine;
    writeln!(
        text,
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`; the same figures with their spread are in `docs/reference/benchmarks.json`.\n\n\
         {cores} cores ({processor}), {memory_gib} GiB of memory, Linux {kernel}, {system}; \
         LXC {lxc}, systemd-nspawn {nspawn}, Tenantry at {revision}.\n"
    )
    .expect("a string can be written to");
}

fn verdicts(text: &mut String, results: &Results) {
    text.push_str("## Targets\n\n| figure | image | target | measured | verdict |\n|---|---|---|---|---|\n");
    for (what, image, against) in TARGETS {
        let Some(own) = results.median(what, "Tenantry", image) else { continue };
        let unit = results.rows.iter().find(|(row, _)| row == what).map_or("", |(_, unit)| unit.symbol());
        let (target, measured, met) = match against {
            Against::Absolute(most) => {
                (format!("≤ {most} {unit}"), format!("{} {unit}", number(Some(own))), own <= *most)
            }
            Against::Lxc(most) => {
                let Some(peer) = results.median(what, "LXC", "stock") else { continue };
                let ratio = own / peer;
                let own = number(Some(own));
                let target = format!("≤ {most} × LXC on stock ({} {unit})", number(Some(peer)));
                (target, format!("{ratio:.2} × ({own} {unit})"), ratio <= *most)
            }
        };
        let verdict = if met { "met" } else { "**missed**" };
        writeln!(text, "| {what} | {image} | {target} | {measured} | {verdict} |").expect("a string");
    }
}

fn figures(text: &mut String, results: &Results) {
    text.push_str("\n## Figures\n\nMedians.\n\n| figure | unit |");
    for (who, image) in COLUMNS {
        write!(text, " {who}, {image} |").expect("a string can be written to");
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---:|".repeat(COLUMNS.len()));
    text.push('\n');
    let of_all = |what: &str| COLUMNS.iter().any(|(who, image)| results.median(what, who, image).is_some());
    for (what, unit) in results.rows.iter().filter(|(what, _)| of_all(what)) {
        write!(text, "| {what} | {} |", unit.symbol()).expect("a string can be written to");
        for (who, image) in COLUMNS {
            write!(text, " {} |", number(results.median(what, who, image))).expect("a string");
        }
        text.push('\n');
    }
}

/// A target of the network: the figure of one, at least or at most this times that of another.
struct NetworkTarget {
    what: &'static str,
    own: [&'static str; 2],
    other: (&'static str, [&'static str; 2]),
    least: Option<f64>,
    most: Option<f64>,
}

const NETWORK_TARGETS: &[NetworkTarget] = &[
    speed(["Tenantry, routed", "IPv4"]),
    speed(["Tenantry, routed", "IPv6"]),
    speed(["Tenantry, bridge", "IPv4"]),
    NetworkTarget {
        what: "start until the exec, 500 running",
        own: ["Tenantry", "routed"],
        other: ("start until the exec, 1 running", ["Tenantry", "routed"]),
        least: None,
        most: Some(1.25),
    },
];

const fn speed(own: [&'static str; 2]) -> NetworkTarget {
    let other = ("TCP, one connection", ["plain veth pair", "IPv4"]);
    NetworkTarget { what: "TCP, one connection", own, other, least: Some(0.9), most: None }
}

/// What was measured of the network, where the columns of the other figures make no sense.
fn network(text: &mut String, results: &Results) {
    let ours = |figure: &&Figure| !COLUMNS.contains(&(figure.who.as_str(), figure.image.as_str()));
    if !results.samples.keys().any(|figure| ours(&figure)) {
        return;
    }
    text.push_str("\n## Network\n\n| figure | of | target | measured | verdict |\n|---|---|---|---|---|\n");
    for target in NETWORK_TARGETS {
        let value = |what, [who, image]: [&str; 2]| results.median(what, who, image);
        let (Some(own), Some(other)) =
            (value(target.what, target.own), value(target.other.0, target.other.1))
        else {
            continue;
        };
        let ratio = own / other;
        let met =
            target.least.is_none_or(|least| ratio >= least) && target.most.is_none_or(|most| ratio <= most);
        let bound = match (target.least, target.most) {
            (Some(least), _) => format!("≥ {least}"),
            (None, most) => format!("≤ {}", most.unwrap_or(1.0)),
        };
        let against = format!("{}, {}, {}", target.other.0, target.other.1[0], target.other.1[1]);
        let verdict = if met { "met" } else { "**missed**" };
        let [who, how] = target.own;
        writeln!(text, "| {} | {who}, {how} | {bound} × {against} | {ratio:.2} × | {verdict} |", target.what)
            .expect("a string can be written to");
    }
    text.push_str("\n| figure | of | unit | median | least | most |\n|---|---|---|---:|---:|---:|\n");
    for (row, unit) in &results.rows {
        for (figure, samples) in
            results.samples.iter().filter(|(figure, _)| figure.what == *row && ours(figure))
        {
            let Entry { median, least, most, .. } = entry(figure, samples);
            let [median, least, most] = [median, least, most].map(|value| number(Some(value)));
            let (who, how, unit) = (&figure.who, &figure.image, unit.symbol());
            writeln!(text, "| {row} | {who}, {how} | {unit} | {median} | {least} | {most} |")
                .expect("a string can be written to");
        }
    }
}

const NOTES: &str = "
## How this is measured

- The contestants run over the very same image trees, take turns within each round, and see the same
  machine: a private mount and network namespace with a cgroup v2 hierarchy alone. The first round only
  fills the caches. No limits are set: on a machine whose controllers are bound to cgroup v1 that hierarchy
  has none. `/run` of each is a tmpfs, as a host has it. `fs.inotify.max_user_instances` is raised for the
  peers, whose systems all count as root.
- **LXC** has an overlay on disk, no user namespace and an empty network namespace. **systemd-nspawn** runs
  with `--volatile=overlay` (an overlay in memory), no user namespace and an empty network namespace.
  **Tenantry** has what its tenants always have: a user namespace, a routed network, seccomp, a console log.
- *to multi-user*: from the command (`lxc-start -d`, `systemd-nspawn --boot`, `tenantctl start`) until the
  system's own systemd sends `READY=1`, which it does when no job is left. A *first boot* is that of a
  system that has never run: it makes its machine-id, and where the image has none its ssh host keys.
- *start to exec*: `sh -c \"exec date +%s%N\"` in place of init, by `lxc-start -F`, `systemd-nspawn` and `tenantctl start`; from
  the command until the time that it printed inside.
- *start, exec /bin/true, end*: `lxc-start -F … /bin/true`, `systemd-nspawn … /bin/true` and `tenant run`
  with `init = [\"/bin/true\"]`, from the command until it returns, so taking everything down is in it.
- *memory*: growth of AnonPages + Shmem + Slab + PageTables + KernelStack + Percpu of the whole machine,
  caches dropped and the sum standing still before and after, divided by the number of systems. The
  supervisors and monitors are in it; Tenantry's hostd is in it where it grows.
- *supervisor*: Private_Clean + Private_Dirty of `tenant run`, LXC's monitor, systemd-nspawn, among others
  like it.
- *TCP, one connection*: one thread sends to another in 128 KiB writes, over every path in turn for half a
  second a round, until everything has arrived. *plain veth pair*: between two network namespaces, nothing
  else. *LXC, bridge*: two containers with a veth each on one bridge, no filter. The CPU time is that of both
  threads; what the kernel does on the way is done in their name.
- *start until the exec*: from the supervisor's first instruction until it has executed init, as it says
  itself, of a busybox tenant with a routed interface and a forwarded port, and of the same without. The
  difference is what the network takes. So many others run meanwhile, each with a port.
- *filter … loaded at once*: `nft -f` with all rules and elements, after a flush.
- *swap*: the supervisor's own work for `tenantctl rebase --to :candidate`, from the request until the tenant shows the
  other version, which differs in one library. *rebase*: the whole command for all of them, by one client, a few at a time.
- *stale*: `tenantctl stale --all`, when every process of each of them was started with the version before. *rollout*:
  `tenantctl rollout start … --watch` in the usual four waves, until it has ended, with `--gate exec:true`, a command in each,
  and with `--gate systemd`, which asks the systemd of each before and after.
- *memory per tenant on two versions*: as *memory*, by how much it grew when all were swapped for the first time, while
  everything that was running kept the version it had. *page cache of a second version*: of its programs and libraries,
  after a tenant and the host have read all of both versions.
- *stock* is the image as Debian's packages make it, *tuned* the one `rootfsctl build debian` makes by
  default from the same packages.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
