//! The figures.

use std::collections::BTreeMap;

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
    pub(super) machine: Machine,
    /// Rows of the table in the order in which they were measured.
    pub(super) rows: Vec<(String, Unit)>,
    pub(super) samples: BTreeMap<Figure, Vec<f64>>,
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
    pub(super) fn of(values: &[f64]) -> Self {
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

/// A figure with as many digits as mean something.
pub(super) fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

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
