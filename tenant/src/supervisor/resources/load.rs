//! `/proc/loadavg` of a tenant.
//!
//! The kernel counts for the whole machine, every five seconds, how many tasks are running or wait. For a cgroup it counts
//! times: of CPUs used, and in which at least one task was kept waiting (pressure, see `Documentation/accounting/psi.rst`).
//! Their sum over the time that has passed is a load, averaged since the last look; and looks are only made when somebody
//! reads. Where many tasks wait for the same CPU they count as one: it is a lower bound.

use std::time::{Duration, Instant};

/// The file's three averages are over so many seconds.
const SPANS: [f64; 3] = [60.0, 300.0, 900.0];
/// Between looks that are closer to each other nothing is averaged.
const APART: Duration = Duration::from_secs(1);

/// Averages, as of the last look.
#[derive(Clone, Debug)]
pub(super) struct Load {
    looked: Instant,
    /// Time that was used or waited in until then.
    counted: Duration,
    averages: [f64; 3],
}

impl Load {
    /// Of a tenant that has just been started, and has used nothing.
    pub(super) fn begin(now: Instant) -> Self {
        Self { looked: now, counted: Duration::ZERO, averages: [0.0; 3] }
    }

    /// Looks again.
    pub(super) fn look(&mut self, counted: Duration, now: Instant) {
        let passed = now.saturating_duration_since(self.looked);
        if passed < APART {
            return;
        }
        let load = counted.saturating_sub(self.counted).as_secs_f64() / passed.as_secs_f64();
        for (average, span) in self.averages.iter_mut().zip(SPANS) {
            let kept = (-passed.as_secs_f64() / span).exp();
            *average = *average * kept + load * (1.0 - kept);
        }
        (self.looked, self.counted) = (now, counted);
    }

    /// The file: the number of tasks that are running is not counted for a cgroup.
    pub(super) fn text(&self, tasks: u64) -> String {
        let [one, five, fifteen] = self.averages;
        format!("{one:.2} {five:.2} {fifteen:.2} 1/{tasks} {tasks}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_stays_is_shown_as_it_is() {
        let began = Instant::now();
        let mut load = Load::begin(began);
        let seconds = |seconds| Duration::from_secs(seconds);
        // Two CPUs for an hour, looked at once.
        load.look(seconds(7200), began + seconds(3600));
        assert_eq!(load.text(5), "2.00 2.00 1.96 1/5 5\n");
        // Nothing for a minute.
        load.look(seconds(7200), began + seconds(3660));
        assert!(load.text(5).starts_with("0.74 1.64 1.84 "), "{}", load.text(5));
    }

    #[test]
    fn the_average_does_not_depend_on_how_often_it_is_read() {
        let began = Instant::now();
        let (mut seldom, mut often) = (Load::begin(began), Load::begin(began));
        for tenth in 1..=1200 {
            let passed = Duration::from_millis(tenth * 100);
            often.look(passed, began + passed);
        }
        seldom.look(Duration::from_secs(120), began + Duration::from_secs(120));
        assert_eq!(seldom.text(1), often.text(1));
        assert!(seldom.text(1).starts_with("0.86 "), "{}", seldom.text(1));
    }
}
