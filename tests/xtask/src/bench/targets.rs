//! What the figures are to be, and whether they are.

use std::fmt::Write as _;

use super::report::{Results, Spread, Unit, number};

/// What a figure is compared with. A rate is to be at least that, everything else at most.
#[derive(Clone, Copy)]
enum Against {
    /// So many times what LXC takes over the same image.
    Lxc(f64),
    /// So many times the better one of LXC and systemd-nspawn over the same image.
    Better(f64),
    /// So many times what LXC's bridge, which filters nothing, takes by IPv4.
    Bridge(f64),
    /// This, in the unit of the figure.
    Absolute(f64),
}

/// A goal for Tenantry on the tuned image, or for a way of its network; a reader of a missed one is sent to a heading of
/// `docs/explanation/memory-and-speed.md`.
struct Target {
    what: &'static str,
    of: [&'static str; 2],
    against: Against,
    explained: &'static str,
}

const TUNED: [&str; 2] = ["Tenantry", "tuned"];

const fn target(what: &'static str, against: Against, explained: &'static str) -> Target {
    Target { what, of: TUNED, against, explained }
}

const fn packets(of: [&'static str; 2]) -> Target {
    let what = "TCP, CPU time for a gigabyte";
    Target { what, of, against: Against::Bridge(1.0), explained: "packets" }
}

const TARGETS: &[Target] = &[
    target("first boot to multi-user", Against::Lxc(1.0), "boots"),
    target("start to multi-user", Against::Lxc(1.0), "boots"),
    target("start to exec", Against::Lxc(0.8), "starts-and-ends"),
    target("start, exec /bin/true, end", Against::Lxc(1.5), "starts-and-ends"),
    target("stop", Against::Better(1.0), "starts-and-ends"),
    target("starts per second, 4 at once", Against::Lxc(1.1), "boots"),
    target("starts per second, 16 at once", Against::Lxc(1.1), "boots"),
    target("memory per system, 100 idle", Against::Lxc(0.95), "memory-of-a-crowd"),
    target("supervisor, private, of 20", Against::Absolute(0.6), "memory-of-a-crowd"),
    target("create, durable", Against::Absolute(5.0), "creating"),
    target("disk per new tenant", Against::Absolute(100.0), "creating"),
    packets(["Tenantry, routed", "IPv4"]),
    packets(["Tenantry, routed", "IPv6"]),
    packets(["Tenantry, bridge", "IPv4"]),
    target("1000 tenants: create", Against::Absolute(5.0), "a-thousand"),
    target("1000 tenants: all multi-user", Against::Absolute(45.0), "a-thousand"),
    target("1000 tenants: memory", Against::Absolute(3.0), "a-thousand"),
    target("1000 tenants: list", Against::Absolute(20.0), "a-thousand"),
    target("1000 tenants: scrape of everything", Against::Absolute(100.0), "a-thousand"),
    target("1000 tenants: hostd's resident memory", Against::Absolute(40.0), "a-thousand"),
    target("1000 tenants: hostd's CPU time while idle", Against::Absolute(0.5), "a-thousand"),
    target("1000 tenants: hostd killed, answers again", Against::Absolute(0.5), "a-thousand"),
    target("1000 tenants: stop", Against::Absolute(30.0), "a-thousand"),
    target("1000 tenants: interfaces left", Against::Absolute(0.0), "a-thousand"),
    target("1000 tenants: cgroups left", Against::Absolute(0.0), "a-thousand"),
    target("1000 tenants: processes left", Against::Absolute(0.0), "a-thousand"),
    target("1000 tenants: elements of the filter left", Against::Absolute(0.0), "a-thousand"),
    target("1000 tenants: directories left", Against::Absolute(0.0), "a-thousand"),
    target("1000 tenants: mounts left", Against::Absolute(0.0), "a-thousand"),
    target("swap, 100 running", Against::Absolute(2.0), "swaps"),
    target("memory per tenant on two versions, 100 running", Against::Absolute(102.4), "swaps"),
    target("page cache of a second version, without what it changes", Against::Absolute(1024.0), "swaps"),
    target("work of 1000 swaps", Against::Absolute(2.0), "swaps"),
    target("rebase of 1000 tenants", Against::Absolute(10.0), "swaps"),
    target("stale of 1000 tenants", Against::Absolute(3.0), "swaps"),
    target("rollout to 1000 tenants, one gate", Against::Absolute(10.0), "swaps"),
];

/// A target with what was measured.
struct Verdict {
    target: String,
    measured: String,
    met: bool,
}

impl Target {
    /// Nothing where one of the two was not measured.
    fn judge(&self, results: &Results) -> Option<Verdict> {
        let [who, image] = self.of;
        let (own, unit) = (results.median(self.what, who, image)?, results.unit(self.what, who, image)?);
        let (at, within): (_, fn(f64, f64) -> bool) = if unit.is_rate() {
            ("≥", |own, bound| own >= bound)
        } else {
            ("≤", |own, bound| own <= bound)
        };
        let (times, [peer, of]) = match self.against {
            Against::Absolute(bound) => {
                return Some(Verdict {
                    target: format!("{at} {bound} {}", unit.symbol()).trim_end().to_owned(),
                    measured: with_unit(own, unit),
                    met: within(own, bound),
                });
            }
            Against::Lxc(times) => (times, ["LXC", image]),
            Against::Bridge(times) => (times, ["LXC, bridge", "IPv4"]),
            Against::Better(times) => (times, [better(self.what, image, unit, results)?, image]),
        };
        let ratio = results.ratio([self.what, who, image], [self.what, peer, of])?;
        let Spread { median, least, most } = ratio;
        let other = with_unit(results.median(self.what, peer, of)?, unit);
        Some(Verdict {
            target: format!("{at} {times} × {peer} ({other})"),
            measured: format!("{median:.2} × ({least:.2} to {most:.2}; {})", with_unit(own, unit)),
            met: within(median, times),
        })
    }
}

fn with_unit(value: f64, unit: Unit) -> String {
    let number = if unit == Unit::Count { format!("{value}") } else { number(Some(value)) };
    format!("{number} {}", unit.symbol()).trim_end().to_owned()
}

fn better(what: &str, image: &str, unit: Unit, results: &Results) -> Option<&'static str> {
    let [lxc, nspawn] = ["LXC", "systemd-nspawn"].map(|who| results.median(what, who, image));
    let lxc_is_better = if unit.is_rate() { lxc? >= nspawn? } else { lxc? <= nspawn? };
    Some(if lxc_is_better { "LXC" } else { "systemd-nspawn" })
}

/// The table of all targets of which something was measured.
pub(super) fn verdicts(text: &mut String, results: &Results) {
    text.push_str(
        "## Targets\n\nOn the tuned image, which the peers boot too. A ratio is the middle one of the rounds' own, with the \
         least and the most.\n\n| figure | target | measured | verdict |\n|---|---|---|---|\n",
    );
    for target in TARGETS {
        let Some(Verdict { target: bound, measured, met }) = target.judge(results) else { continue };
        let what = match target.of {
            TUNED => target.what.to_owned(),
            [who, how] => format!("{}: {who}, {how}", target.what),
        };
        let explained = format!("[where it goes](../explanation/memory-and-speed.md#{})", target.explained);
        let verdict = if met { "met".to_owned() } else { format!("**missed**: {explained}") };
        writeln!(text, "| {what} | {bound} | {measured} | {verdict} |").expect("a string can be written to");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{
        super::{machine::Machine, report::Figure},
        *,
    };
    use crate::sh;

    fn results(figures: &[(&str, Unit, &str, &str, &[f64])]) -> Results {
        let mut results = Results::new(Machine::look());
        for (what, unit, who, image, samples) in figures {
            for sample in *samples {
                results.add(Figure::new(what, *unit, who, image), *sample);
            }
        }
        results
    }

    fn table(results: &Results) -> String {
        let mut text = String::new();
        verdicts(&mut text, results);
        text
    }

    #[test]
    fn a_ratio_is_that_of_the_middle_round_and_not_of_the_medians() {
        let start = "start to multi-user";
        // The machine was slow in the second and third round; Tenantry is behind in two of three.
        let measured = results(&[
            (start, Unit::Milliseconds, "LXC", "tuned", &[100.0, 200.0, 300.0]),
            (start, Unit::Milliseconds, "Tenantry", "tuned", &[190.0, 180.0, 330.0]),
        ]);
        let row = "| ≤ 1 × LXC (200 ms) | 1.10 × (0.90 to 1.90; 190 ms) | **missed**: [where it goes](";
        assert!(table(&measured).contains(row), "{}", table(&measured));
    }

    #[test]
    fn a_rate_is_to_be_more_and_a_stop_as_fast_as_the_faster_peer() {
        let (rate, stop) = ("starts per second, 4 at once", "stop");
        let measured = results(&[
            (rate, Unit::PerSecond, "LXC", "tuned", &[10.0]),
            (rate, Unit::PerSecond, "Tenantry", "tuned", &[11.5]),
            (stop, Unit::Milliseconds, "LXC", "tuned", &[90.0]),
            (stop, Unit::Milliseconds, "systemd-nspawn", "tuned", &[70.0]),
            (stop, Unit::Milliseconds, "Tenantry", "tuned", &[80.0]),
        ]);
        let table = table(&measured);
        assert!(
            table.contains("| ≥ 1.1 × LXC (10.0 1/s) | 1.15 × (1.15 to 1.15; 11.5 1/s) | met |"),
            "{table}"
        );
        assert!(table.contains("| ≤ 1 × systemd-nspawn (70.0 ms) | 1.14 ×"), "{table}");
    }

    #[test]
    fn what_must_be_nothing_is_missed_by_one() {
        let left = |count: f64| {
            let what = "1000 tenants: cgroups left";
            table(&results(&[(what, Unit::Count, "Tenantry", "tuned", &[count])]))
        };
        assert!(left(0.0).contains("| ≤ 0 | 0 | met |"), "{}", left(0.0));
        assert!(left(1.0).contains("| ≤ 0 | 1 | **missed**"), "{}", left(1.0));
    }

    #[test]
    fn what_explains_a_missed_target_is_there() {
        let page = sh::repository().join("docs/explanation/memory-and-speed.md");
        let page = fs::read_to_string(page).unwrap();
        let anchors: Vec<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("## ").or(line.strip_prefix("### ")))
            .map(|heading| heading.to_lowercase().replace(' ', "-").replace([',', '\'', '`', '/'], ""))
            .collect();
        for target in TARGETS {
            assert!(
                anchors.iter().any(|anchor| anchor == target.explained),
                "{}: {anchors:?}",
                target.explained
            );
        }
    }
}
