//! What a record is marked with: an id of its own, and the time.

use tenant::files::file_error::FileError;

use super::error::StoreError;

/// 128 random bits as a version 4 UUID without its dashes, as machine-id(5) wants it.
pub(crate) fn random_uuid() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| FileError::new("read", "/dev/urandom", errno))?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The present time, RFC 3339 in UTC.
pub(crate) fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// The present time, milliseconds since 1970 UTC.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

/// A moment, milliseconds since 1970 UTC, as RFC 3339 in UTC.
pub(crate) fn date_ms(millis: u64) -> String {
    let date = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    let date = date.unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    date.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// A moment as RFC 3339 tells it, milliseconds since 1970 UTC.
pub(crate) fn ms_of(date: &str) -> Option<u64> {
    let date = time::OffsetDateTime::parse(date, &time::format_description::well_known::Rfc3339).ok()?;
    u64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok()
}
