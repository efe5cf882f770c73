//! The figures, and what they say about the targets.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::{machine::Machine, targets};

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
    #[serde(rename = "GiB")]
    Gibibytes,
    #[serde(rename = "%")]
    Percent,
    #[serde(rename = "")]
    Count,
}

impl Unit {
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
            Self::Kibibytes => "KiB",
            Self::PerSecond => "1/s",
            Self::Gigabits => "Gbit/s",
            Self::Gibibytes => "GiB",
            Self::Percent => "%",
            Self::Count => "",
        }
    }

    /// Whether it can be compared with another run by a ratio: not what is to be nothing.
    pub(super) fn is_compared(self) -> bool {
        !matches!(self, Self::Count | Self::Percent)
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
    let Spread { median, least, most } = Spread::of(samples);
    Entry { figure, median: round(median), least: round(least), most: round(most), samples: samples.len() }
}

/// The middle of some values, and how far they go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { median: median(values), least, most }
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

    /// What was measured, in the order of the rounds.
    fn samples(&self, [what, who, image]: [&str; 3]) -> Option<(Unit, &[f64])> {
        let mut figures = self.samples.iter();
        let found = figures.find(|(f, _)| f.what == what && f.who == who && f.image == image);
        found.map(|(figure, samples)| (figure.unit, samples.as_slice()))
    }

    pub(super) fn median(&self, what: &str, who: &str, image: &str) -> Option<f64> {
        self.samples([what, who, image]).map(|(_, samples)| median(samples))
    }

    pub(super) fn unit(&self, what: &str, who: &str, image: &str) -> Option<Unit> {
        self.samples([what, who, image]).map(|(unit, _)| unit)
    }

    /// How many times the figure of one is that of another. Where both had a turn in each round, what disturbed a round
    /// disturbed both: it is then the middle one of the rounds' ratios.
    pub(super) fn ratio(&self, own: [&str; 3], peer: [&str; 3]) -> Option<Spread> {
        let ((_, own), (_, peer)) = (self.samples(own)?, self.samples(peer)?);
        let ratios: Vec<f64> = match own.len() == peer.len() {
            true => own.iter().zip(peer).map(|(own, peer)| own / peer).collect(),
            false => vec![median(own) / median(peer)],
        };
        Some(Spread::of(&ratios))
    }
}

const COLUMNS: [(&str, &str); 6] = [
    ("LXC", "stock"),
    ("systemd-nspawn", "stock"),
    ("Tenantry", "stock"),
    ("LXC", "tuned"),
    ("systemd-nspawn", "tuned"),
    ("Tenantry", "tuned"),
];

pub(super) fn number(value: Option<f64>) -> String {
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
    targets::verdicts(&mut text, results);
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

/// What was measured of the network, where the columns of the other figures make no sense.
fn network(text: &mut String, results: &Results) {
    let ours = |figure: &&Figure| !COLUMNS.contains(&(figure.who.as_str(), figure.image.as_str()));
    if !results.samples.keys().any(|figure| ours(&figure)) {
        return;
    }
    text.push_str(
        "\n## Network\n\n| figure | of | unit | median | least | most |\n|---|---|---|---:|---:|---:|\n",
    );
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
  threads; what the kernel does on the way is done in their name. The sender uses Reno, chosen before it connects.
- *start until the exec*: from the supervisor's first instruction until it has executed init, as it says
  itself, of a busybox tenant with a routed interface and a forwarded port, and of the same without. The
  difference is what the network takes. So many others run meanwhile, each with a port.
- *filter … loaded at once*: `nft -f` with all rules and elements, after a flush.
- *1000 tenants*: of the tuned image on a host of their own. *create*, *all multi-user* (`start --all`), *stop* and *destroy* are one command
  each. *memory*: as above, but of all, after the sum has stood still for ten seconds. *scrape of
  everything*: `tenantctl --json stat --all`. *hostd's CPU time*: during 30 seconds in which nothing happens. *hostd killed, answers again*: from its
  SIGKILL and its start until it has answered `list`; all tenants are running then. *left*: what there is of them
  when they are destroyed.
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
