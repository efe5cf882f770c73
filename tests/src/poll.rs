//! Waiting for something to become true, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a promise may take to come true on a busy machine of two cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_millis(10);

/// Asks `probe` again and again until it answers.
///
/// # Panics
/// When `limit` has passed; the message says what was awaited.
pub fn within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        thread::sleep(INTERVAL);
    }
}

/// [`within`] the usual [`PATIENCE`].
///
/// # Panics
/// As [`within`].
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe)
}

/// Waits until `condition` holds.
///
/// # Panics
/// As [`within`].
pub fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    within(PATIENCE, what, || condition().then_some(()));
}
