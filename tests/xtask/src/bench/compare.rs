//! `cargo xtask bench --compare`: whether Tenantry has become slower or bigger than it was published to be.
//!
//! What is compared is no time but a ratio: a figure of Tenantry to that of a peer in the same round, so that
//! another machine, or other work on this one, moves both. A ratio of one round moves by up to 30 % without any
//! change of the code, when the machine does something else while only one of the two has its turn. So three
//! rounds are measured, and a regression is what two of them show fully and the third at least in part: one
//! disturbed round cannot fail the comparison, and a round that is as good as published acquits, since other
//! work makes a ratio worse by chance, but seldom better. A change of the code is in all rounds alike.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::report::{Figure, Results, Unit, median};
use crate::sh;

/// How often everything is measured.
pub(super) const ROUNDS: usize = 3;

/// A ratio that is worse by this part of itself in the middle round is a regression …
const WORSE: f64 = 0.15;

/// … when it is worse by this in the best round too.
const WORSE_AT_BEST: f64 = 0.05;

const OWN: &str = "Tenantry";

/// What a figure without a peer of the same name is divided by: how long LXC takes to run a program. It is
/// made of processes, mounts and small files too.
const YARDSTICK: [&str; 3] = ["start, exec /bin/true, end", "LXC", "tuned"];

/// Medians by what was measured, of whom, on what.
type Medians = BTreeMap<[String; 3], (Unit, f64)>;

/// `docs/reference/benchmarks.json`.
#[derive(Deserialize)]
struct Published {
    figures: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(flatten)]
    figure: Figure,
    median: f64,
}

/// A figure of Tenantry, and what it is divided by: nothing when no machine makes it larger.
#[derive(Debug, PartialEq)]
struct Ratio {
    own: [String; 3],
    peer: Option<[String; 3]>,
}

/// A ratio as it was published and as it is now.
#[derive(Debug)]
struct Row {
    ratio: Ratio,
    published: f64,
    /// One of each round in which both could be measured.
    now: Vec<f64>,
    /// By which part it is worse in the middle round and in the best; better below zero.
    worse: f64,
    worse_at_best: f64,
}

impl Row {
    fn is_regression(&self) -> bool {
        // What is printed as 15.0 % is 15 %.
        self.worse > WORSE - 1e-9 && self.worse_at_best > WORSE_AT_BEST - 1e-9
    }
}

/// Compares rounds with what is published, or with the figures of another run; prints the table, and fails when a ratio is worse.
pub(super) fn run(rounds: &[Results], old: Option<&Path>) -> Result<()> {
    let file = old.map_or_else(|| sh::repository().join("docs/reference/benchmarks.json"), Path::to_owned);
    let name = file.display();
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {name}"))?;
    let published: Published = serde_json::from_str(&text).with_context(|| format!("{name} is malformed"))?;
    let published = medians(published.figures.into_iter().map(|entry| (entry.figure, entry.median)));
    let kept = sh::target().join("tenantry-cache/bench-rounds.json");
    fs::write(&kept, serde_json::to_string_pretty(rounds)?)
        .with_context(|| format!("cannot write {}", kept.display()))?;
    eprintln!("the figures of each round are in {}", kept.display());
    let rounds: Vec<Medians> = rounds.iter().map(|results| medians(results.medians())).collect();
    let rows = compare(&published, &rounds)?;
    println!("{}", table(&rows));
    judge(&rows)
}

fn medians(figures: impl Iterator<Item = (Figure, f64)>) -> Medians {
    figures.map(|(figure, value)| ([figure.what, figure.who, figure.image], (figure.unit, value))).collect()
}

/// Every ratio that is published and was measured in each round.
fn compare(published: &Medians, rounds: &[Medians]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let is_own =
        |([_, who, _], (unit, _)): &(&[String; 3], &(Unit, f64))| who.starts_with(OWN) && unit.is_compared();
    for (own, (unit, _)) in published.iter().filter(is_own) {
        let peer = (!matches!(unit, Unit::Kibibytes | Unit::Gibibytes)).then(|| peer(published, own));
        let ratio = Ratio { own: own.clone(), peer };
        // Nothing is no part of anything: the table of targets watches over what is to stay nothing.
        let Some(before) = value(published, &ratio).filter(|before| *before > 0.0) else { continue };
        let now: Vec<f64> = rounds.iter().filter_map(|round| value(round, &ratio)).collect();
        // Only a whole run measures it.
        if now.is_empty() {
            continue;
        }
        // A peer that seems to take no memory: what else the machine does has freed as much meanwhile.
        if 2 * now.len() <= rounds.len() {
            bail!(
                "{} could not be measured in {} rounds of {}",
                own.join(", "),
                rounds.len() - now.len(),
                rounds.len()
            );
        }
        let worse = |now: f64| if unit.is_rate() { before / now } else { now / before } - 1.0;
        let worse_at_best = now.iter().copied().map(worse).fold(f64::INFINITY, f64::min);
        let worse = worse(median(&now));
        rows.push(Row { ratio, published: before, now, worse, worse_at_best });
    }
    if rows.is_empty() {
        bail!("nothing that was measured is published: there is nothing to compare");
    }
    Ok(rows)
}

/// What a figure of Tenantry is divided by: the same figure of a peer; of a start with a network that of one
/// without; else the yardstick.
fn peer(published: &Medians, [what, who, image]: &[String; 3]) -> [String; 3] {
    let peers = [
        ("LXC", image.as_str()),
        ("LXC, bridge", "IPv4"),
        (if image == "routed" { who.as_str() } else { "" }, "without a network"),
    ];
    let candidates = peers.map(|(who, image)| [what.as_str(), who, image].map(str::to_owned));
    let found = candidates.into_iter().find(|peer| published.contains_key(peer));
    found.unwrap_or_else(|| YARDSTICK.map(str::to_owned))
}

fn value(medians: &Medians, ratio: &Ratio) -> Option<f64> {
    let (_, own) = medians.get(&ratio.own)?;
    let Some(peer) = &ratio.peer else { return Some(*own) };
    let (_, peer) = medians.get(peer)?;
    (*peer > 0.0).then(|| own / peer)
}

/// For people: figure, published, now, verdict.
fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| figure | of | to that of | published | now | rounds | change | verdict |\n\
         |---|---|---|---:|---:|---|---:|---|\n",
    );
    for row in rows {
        let [what, who, image] = &row.ratio.own;
        let peer = match &row.ratio.peer {
            None => "–".to_owned(),
            Some([other, peer, of]) if other == what => format!("{peer}, {of}"),
            Some([other, peer, of]) => format!("{peer}, {of}: {other}"),
        };
        let rounds: Vec<String> = row.now.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let change = match row.worse {
            worse if worse < 0.0 => format!("{:.1} % better", -100.0 * worse),
            worse => format!("{:.1} % worse", 100.0 * worse),
        };
        let verdict = if row.is_regression() { "**regression**" } else { "ok" };
        writeln!(
            text,
            "| {what} | {who}, {image} | {peer} | {:.2} | {:.2} | {} | {change} | {verdict} |",
            row.published,
            median(&row.now),
            rounds.join(" ")
        )
        .expect("a string can be written to");
    }
    text
}

fn judge(rows: &[Row]) -> Result<()> {
    let worse: Vec<String> = rows
        .iter()
        .filter(|row| row.is_regression())
        .map(|row| format!("{}: {:.0} % worse", row.ratio.own.join(", "), 100.0 * row.worse))
        .collect();
    if !worse.is_empty() {
        bail!(
            "{} of {} ratios are worse by 15 % or more:\n{}\nhelp: if other programs used this machine meanwhile, \
             repeat it: cargo xtask bench --quick --compare",
            worse.len(),
            rows.len(),
            worse.join("\n")
        );
    }
    eprintln!("none of {} ratios is worse by 15 % or more", rows.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Medians of `what, who, image, unit, value`.
    fn of(rows: &[(&str, &str, &str, Unit, f64)]) -> Medians {
        medians(
            rows.iter().map(|(what, who, image, unit, value)| (Figure::new(what, *unit, who, image), *value)),
        )
    }

    /// Published 1 : 2, and a round in which Tenantry takes so many times as long, on a machine of half the
    /// speed.
    fn published() -> Medians {
        of(&[
            ("start", "Tenantry", "tuned", Unit::Milliseconds, 50.0),
            ("start", "LXC", "tuned", Unit::Milliseconds, 100.0),
            ("rate", "Tenantry", "tuned", Unit::PerSecond, 20.0),
            ("rate", "LXC", "tuned", Unit::PerSecond, 10.0),
        ])
    }

    fn round(start: f64, rate: f64) -> Medians {
        of(&[
            ("start", "Tenantry", "tuned", Unit::Milliseconds, 100.0 * start),
            ("start", "LXC", "tuned", Unit::Milliseconds, 200.0),
            ("rate", "Tenantry", "tuned", Unit::PerSecond, 10.0 / rate),
            ("rate", "LXC", "tuned", Unit::PerSecond, 5.0),
        ])
    }

    fn verdicts(rounds: &[Medians]) -> Vec<(String, bool)> {
        let rows = compare(&published(), rounds).unwrap();
        assert_eq!(judge(&rows).is_err(), rows.iter().any(Row::is_regression));
        rows.iter().map(|row| (row.ratio.own[0].clone(), row.is_regression())).collect()
    }

    #[test]
    fn a_ratio_that_is_worse_by_16_percent_fails_and_one_by_14_does_not() {
        let both = |start, rate| [("rate".to_owned(), rate), ("start".to_owned(), start)];
        assert_eq!(verdicts(&vec![round(1.16, 1.14); 3]), both(true, false));
        assert_eq!(verdicts(&vec![round(1.14, 1.16); 3]), both(false, true));
        assert_eq!(verdicts(&vec![round(1.15, 0.5); 3]), both(true, false));
        assert_eq!(verdicts(&vec![round(1.0, 1.0); 3]), both(false, false));
    }

    #[test]
    fn a_disturbed_round_neither_fails_nor_hides_a_regression() {
        let (good, bad) = (round(1.0, 1.0), round(1.4, 1.4));
        assert!(verdicts(&[good.clone(), bad.clone(), good.clone()]).iter().all(|(_, worse)| !worse));
        // Two rounds, of which nothing is to be seen in the third.
        assert!(verdicts(&[bad.clone(), good, bad.clone()]).iter().all(|(_, worse)| !worse));
        assert!(verdicts(&[bad.clone(), round(1.06, 1.06), bad]).iter().all(|(_, worse)| *worse));
    }

    #[test]
    fn the_table_says_what_was_published_what_is_now_and_the_verdict() {
        let rows = compare(&published(), &vec![round(1.16, 0.5); 3]).unwrap();
        let table = table(&rows);
        let line = "| start | Tenantry, tuned | LXC, tuned | 0.50 | 0.58 | 0.58 0.58 0.58 | 16.0 % worse | **regression** |\n";
        assert!(table.ends_with(line), "{table}");
        assert!(table.contains("| 2.00 | 4.00 | 4.00 4.00 4.00 | 50.0 % better | ok |"), "{table}");
        let error = judge(&rows).unwrap_err().to_string();
        let said = "1 of 2 ratios are worse by 15 % or more:\nstart, Tenantry, tuned: 16 % worse\nhelp: ";
        assert!(error.starts_with(said), "{error}");
    }

    #[test]
    fn every_figure_has_something_to_be_divided_by() {
        let medians = of(&[
            ("start", "LXC", "tuned", Unit::Milliseconds, 1.0),
            ("TCP", "LXC, bridge", "IPv4", Unit::Gigabits, 1.0),
            ("exec", "Tenantry", "without a network", Unit::Milliseconds, 1.0),
        ]);
        let peer = |own: [&str; 3]| peer(&medians, &own.map(str::to_owned)).join("/");
        assert_eq!(peer(["start", "Tenantry", "tuned"]), "start/LXC/tuned");
        assert_eq!(peer(["TCP", "Tenantry, routed", "IPv6"]), "TCP/LXC, bridge/IPv4");
        assert_eq!(peer(["exec", "Tenantry", "routed"]), "exec/Tenantry/without a network");
        for own in [["exec", "Tenantry", "without a network"], ["list", "Tenantry", "stock"]] {
            assert_eq!(peer(own), YARDSTICK.join("/"));
        }
    }

    #[test]
    fn what_no_machine_makes_larger_is_compared_as_it_is() {
        let disk = |size| of(&[("disk", "Tenantry", "tuned", Unit::Kibibytes, size)]);
        let rows = compare(&disk(100.0), &vec![disk(116.0); 3]).unwrap();
        assert!(rows[0].is_regression());
        assert!(
            table(&rows).contains("| disk | Tenantry, tuned | – | 100.00 | 116.00 |"),
            "{}",
            table(&rows)
        );
    }

    #[test]
    fn what_is_to_be_nothing_has_no_ratio() {
        let left = of(&[
            ("left", "Tenantry", "tuned", Unit::Count, 0.0),
            ("page cache", "Tenantry", "tuned", Unit::Kibibytes, 0.0),
            ("memory", "Tenantry", "tuned", Unit::Gibibytes, 3.0),
        ]);
        let rows = compare(&left, std::slice::from_ref(&left)).unwrap();
        assert_eq!(rows.iter().map(|row| row.ratio.own[0].as_str()).collect::<Vec<_>>(), ["memory"]);
    }

    #[test]
    fn a_figure_that_most_rounds_lack_is_an_error_and_so_is_nothing_to_compare() {
        let empty = Medians::new();
        assert_eq!(
            compare(&published(), &[round(1.0, 1.0), empty.clone(), round(1.0, 1.0)]).unwrap().len(),
            2
        );
        assert!(compare(&published(), &[round(1.0, 1.0), empty.clone()]).is_err());
        assert!(compare(&published(), &[empty.clone(), empty]).is_err());
        assert!(compare(&Medians::new(), &[round(1.0, 1.0)]).is_err());
    }

    #[test]
    fn what_is_published_can_be_read() {
        let text = fs::read_to_string(sh::repository().join("docs/reference/benchmarks.json")).unwrap();
        let published: Published = serde_json::from_str(&text).unwrap();
        let medians = medians(published.figures.into_iter().map(|entry| (entry.figure, entry.median)));
        let rows = compare(&medians, std::slice::from_ref(&medians)).unwrap();
        assert!(rows.len() > 20 && rows.iter().all(|row| row.worse == 0.0), "{}", table(&rows));
    }
}
