//! The daemon's log: the journal, or standard error where there is none.

use log::LevelFilter;
use tenant::{Layout, journal};
use time::{OffsetDateTime, macros::format_description};

/// Sends log messages of at least `level` to the journal, and to standard error where that is not the
/// journal. The first call wins.
pub fn init(layout: &Layout, level: LevelFilter) {
    journal::install("hostd", layout, None, level, level, Some(now));
}

/// The present time in UTC: `2026-01-02T03:04:05.678Z`, see RFC 3339.
fn now() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::format_description::well_known::Rfc3339;

    use super::*;

    #[test]
    fn the_time_of_a_line_is_of_one_length_and_can_be_parsed() {
        let now = now();
        OffsetDateTime::parse(&now, &Rfc3339).unwrap();
        assert_eq!(now.len(), "2026-01-02T03:04:05.678Z".len());
    }
}
