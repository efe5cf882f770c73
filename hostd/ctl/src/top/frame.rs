//! What `top` shows, as text: pure, and cut to the size of a terminal.

use std::{cmp::Ordering, collections::BTreeMap};

use clap::ValueEnum;

use super::sample::{Load, Sample};
use crate::{output, stat};

/// Lines above the rows: the host, the tenants, the names of the columns.
const HEAD: usize = 3;
/// Narrowest column of names; narrower terminals lose columns from the right.
const NAME: usize = 8;

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Key {
    /// CPU time used now
    Cpu,
    /// Memory
    Memory,
    /// Processes and threads
    Tasks,
    /// Bytes sent and received now
    Net,
    /// Bytes read and written now
    Disk,
    /// Name
    Name,
}

impl Key {
    /// The key of a keyboard that asks for it.
    pub(super) fn typed(byte: u8) -> Option<Self> {
        Some(match byte {
            b'c' => Self::Cpu,
            b'm' => Self::Memory,
            b't' => Self::Tasks,
            b'i' => Self::Net,
            b'd' => Self::Disk,
            b'n' => Self::Name,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Tasks => "tasks",
            Self::Net => "net",
            Self::Disk => "disk",
            Self::Name => "name",
        }
    }

    /// The largest first, names from A.
    fn order(self, a: &Load, b: &Load) -> Ordering {
        let sum = |x: Option<f64>, y: Option<f64>| x.unwrap_or(0.0) + y.unwrap_or(0.0);
        let net = |load: &Load| sum(load.rates.received_bytes_per_sec, load.rates.sent_bytes_per_sec);
        let disk = |load: &Load| sum(load.rates.read_bytes_per_sec, load.rates.written_bytes_per_sec);
        let cpu = |load: &Load| load.rates.cpu_percent.unwrap_or(0.0);
        match self {
            Self::Cpu => cpu(b).total_cmp(&cpu(a)),
            Self::Memory => b.stat.usage.memory_bytes.cmp(&a.stat.usage.memory_bytes),
            Self::Tasks => b.stat.usage.tasks.cmp(&a.stat.usage.tasks),
            Self::Net => net(b).total_cmp(&net(a)),
            Self::Disk => disk(b).total_cmp(&disk(a)),
            Self::Name => Ordering::Equal,
        }
        .then_with(|| a.stat.name.cmp(&b.stat.name))
    }
}

/// Puts tenants in order.
pub(super) fn sort(tenants: &mut [Load], key: Key) {
    tenants.sort_by(|a, b| key.order(a, b));
}

/// A column on the right of the name.
struct Column {
    header: &'static str,
    width: usize,
    value: fn(&Load) -> String,
}

const COLUMNS: &[Column] = &[
    Column { header: "STATE", width: 9, value: |load| load.stat.state.as_str().to_owned() },
    Column { header: "CPU%", width: 7, value: |load| number(load.rates.cpu_percent) },
    Column { header: "MEMORY", width: 8, value: |load| output::size(load.stat.usage.memory_bytes) },
    Column {
        header: "TASKS",
        width: 6,
        value: |load| load.stat.usage.tasks.map_or_else(|| "-".to_owned(), |tasks| tasks.to_string()),
    },
    Column { header: "IN/s", width: 8, value: |load| rate(load.rates.received_bytes_per_sec) },
    Column { header: "OUT/s", width: 8, value: |load| rate(load.rates.sent_bytes_per_sec) },
    Column { header: "READ/s", width: 8, value: |load| rate(load.rates.read_bytes_per_sec) },
    Column { header: "WRITE/s", width: 8, value: |load| rate(load.rates.written_bytes_per_sec) },
    Column {
        header: "PRIVATE",
        width: 8,
        value: |load| output::size(load.stat.usage.memory.map(|memory| memory.private_bytes)),
    },
    Column {
        header: "SHARED",
        width: 8,
        value: |load| output::size(load.stat.usage.memory.and_then(|memory| memory.shared_bytes)),
    },
    Column { header: "LIMIT", width: 8, value: |load| output::size(load.stat.limits.memory_max_bytes) },
];

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

fn rate(value: Option<f64>) -> String {
    output::size(value.map(|value| value as u64))
}

/// What is to be drawn.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    sample: &'a Sample,
    sort: Key,
}

impl<'a> Frame<'a> {
    pub(super) fn new(sample: &'a mut Sample, sort: Key) -> Self {
        self::sort(&mut sample.tenants, sort);
        Self { sample, sort }
    }

    /// Lines that fit a terminal: none is wider, and there are no more of them than it is high. The first are the host,
    /// the tenants and the names of the columns; the third is for reverse video.
    pub(super) fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let keys = format!("by {}; keys: c m t i d n, q ends", self.sort.name());
        let mut lines = vec![host(self.sample), format!("{}; {keys}", counts(&self.sample.tenants))];
        let columns = fitting(width);
        let name = width.saturating_sub(columns.iter().map(|column| column.width + 1).sum());
        lines.push(row(name, "NAME", columns, |column| column.header.to_owned()));
        let tenants = &self.sample.tenants;
        let room = height.saturating_sub(HEAD);
        let is_cut = tenants.len() > room;
        for load in tenants.iter().take(if is_cut { room.saturating_sub(1) } else { room }) {
            lines.push(row(name, &output::clean(&load.stat.name), columns, |column| (column.value)(load)));
        }
        if is_cut {
            lines.push(format!("… {} more", tenants.len() - room.saturating_sub(1)));
        }
        lines.truncate(height);
        lines.iter().map(|line| line.chars().take(width).collect()).collect()
    }
}

/// The columns that fit beside a name that can be read.
fn fitting(width: usize) -> &'static [Column] {
    let mut used = NAME;
    let fits = |column: &&Column| {
        used += column.width + 1;
        used <= width
    };
    &COLUMNS[..COLUMNS.iter().take_while(fits).count()]
}

fn row(name: usize, text: &str, columns: &[Column], value: impl Fn(&Column) -> String) -> String {
    let text: String = match text.chars().count() > name && name > 1 {
        true => text.chars().take(name - 1).chain(['…']).collect(),
        false => text.to_owned(),
    };
    let mut line = format!("{text:<name$}");
    for column in columns {
        line.push_str(&format!(" {:>width$}", value(column), width = column.width));
    }
    line
}

/// `host: cpu 12.3% of 2, memory 3.1G of 7.8G, load 0.10 0.20 0.30`
fn host(sample: &Sample) -> String {
    let machine = &sample.machine;
    let (used, total) = (output::size(machine.memory_used), output::size(machine.memory_total));
    let (cpu, cpus) = (number(machine.cpu_percent), machine.cpus);
    format!("host: cpu {cpu}% of {cpus}, memory {used} of {total}, load {}", machine.load)
}

/// `3 tenants: 1 booting, 2 running`
fn counts(tenants: &[Load]) -> String {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for load in tenants {
        *states.entry(load.stat.state.as_str()).or_insert(0) += 1;
    }
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    match tenants.len() {
        0 => "no tenant is up".to_owned(),
        1 => format!("1 tenant: {}", states.join(", ")),
        count => format!("{count} tenants: {}", states.join(", ")),
    }
}

/// The whole table, for scripts: no line is cut.
pub(super) fn table(sample: &Sample) -> String {
    let mut header = vec!["NAME"];
    header.extend(COLUMNS.iter().map(|column| column.header));
    let row = |load: &Load| {
        let mut row = vec![output::clean(&load.stat.name)];
        row.extend(COLUMNS.iter().map(|column| (column.value)(load)));
        row
    };
    let right: Vec<usize> = (2..header.len()).collect();
    let rows = sample.tenants.iter().map(row).collect();
    let memory = stat::memory(&sample.memory).map(|line| line + "\n").unwrap_or_default();
    format!("{}\n{memory}{}", host(sample), output::table(&header, rows, &right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::{machine::Machine, sample::load};

    fn sample() -> Sample {
        let tenants =
            vec![load("a", 1.0, 9 << 20, 7), load("b\x1b[2J", 50.0, 1 << 20, 8), load("c", 0.0, 0, 30)];
        Sample { machine: Machine::default(), memory: wire::HostMemory::default(), tenants, has_rates: true }
    }

    fn names(sample: &mut Sample, key: Key) -> Vec<String> {
        Frame::new(sample, key).lines(120, 40)[HEAD..].iter().map(|line| line[..1].to_owned()).collect()
    }

    #[test]
    fn every_key_has_its_order() {
        let mut sample = sample();
        for (byte, expected) in
            [(b'c', "bac"), (b'm', "abc"), (b't', "cba"), (b'n', "abc"), (b'i', "abc"), (b'd', "abc")]
        {
            let key = Key::typed(byte).unwrap();
            assert_eq!(names(&mut sample, key).concat(), expected, "{key:?}");
        }
        assert_eq!(Key::typed(b'x'), None);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_nor_are_there_more_than_it_has() {
        let mut sample = sample();
        sample.tenants.extend(
            (0..50).map(|n| load(&format!("a-very-long-name-of-a-tenant-{n}"), 0.0, 1 << 40, 99_999)),
        );
        for (width, height) in [(80, 24), (200, 60), (20, 5), (9, 3), (1, 1), (0, 0)] {
            let lines = Frame::new(&mut sample, Key::Cpu).lines(width, height);
            assert!(lines.len() <= height, "{width}x{height}: {}", lines.len());
            for line in &lines {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
        let lines = Frame::new(&mut sample, Key::Cpu).lines(80, 24);
        assert_eq!((lines.len(), lines[23].as_str()), (24, "… 33 more"));
        assert!(
            lines[2].contains("NAME") && lines[2].contains("CPU%") && lines[2].ends_with("WRITE/s"),
            "{}",
            lines[2]
        );
    }
}
