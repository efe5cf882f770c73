//! The daemon's log: the journal, or standard error where there is none.

use log::LevelFilter;
use tenant::{Layout, journal};

/// Sends log messages of at least `level` to the journal, and to standard error where that is not the
/// journal. The first call wins.
pub fn init(layout: &Layout, level: LevelFilter) {
    journal::install("hostd", layout, None, level, level);
}
