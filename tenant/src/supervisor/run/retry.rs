//! When something that has failed, and matters, is tried again.

use std::time::{Duration, Instant};

/// A first failure is tried again after this long, a second one after twice as long, and so on.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// The next try, if one is due at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor) struct Retry(Option<(Instant, Duration)>);

impl Retry {
    /// It has failed. Whether it had not failed before: what is to be told is told then.
    pub(in crate::supervisor) fn failed(&mut self, now: Instant) -> bool {
        let pause = self.0.map_or(FIRST, |(_, pause)| (pause * 2).min(LONGEST));
        self.0.replace((now + pause, pause)).is_none()
    }

    /// It has been done, or is wanted no more.
    pub(in crate::supervisor) fn done(&mut self) {
        self.0 = None;
    }

    /// When it is to be tried again.
    pub(in crate::supervisor) fn at(&self) -> Option<Instant> {
        self.0.map(|(at, _)| at)
    }

    /// Whether it is to be tried now.
    pub(in crate::supervisor) fn is_due(&self, now: Instant) -> bool {
        self.at().is_some_and(|at| now >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_again_less_and_less_often_until_it_is_done() {
        let now = Instant::now();
        let mut retry = Retry::default();
        assert!(!retry.is_due(now) && retry.at().is_none());
        assert!(retry.failed(now), "the first failure is told");
        assert!(!retry.is_due(now) && retry.is_due(now + FIRST));
        let waits: Vec<_> = (0..10)
            .map(|_| {
                assert!(!retry.failed(now));
                retry.at().unwrap() - now
            })
            .collect();
        assert_eq!(waits[0], 2 * FIRST);
        assert_eq!(waits[9], LONGEST);
        retry.done();
        assert_eq!(retry, Retry::default());
    }
}
