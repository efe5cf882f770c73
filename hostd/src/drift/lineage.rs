//! From which version a file of a tenant's own comes: the one whose file was seen when it was made.

use tenant::model::{
    allocation::{Generation, Pinned},
    ids::Digest,
};
use wire::DriftSource;

use crate::records::stamp::ms_of;

/// The boot that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The version that it began with: its overlays show that until it ends.
    pub digest: Digest,
    /// When it began, milliseconds since 1970 UTC.
    pub since_ms: u64,
}

/// From which version something comes, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The version.
    pub version: Pinned,
    /// How.
    pub known_by: DriftSource,
}

/// The version that an overlay showed at a moment. Where both could be, it is the earlier one: a fix that is named
/// needlessly is better than one that is not.
pub fn at(made_ms: u64, history: &[Generation], boot: Option<Boot>, now: &Pinned) -> Pinned {
    if let Some(boot) = boot.filter(|boot| boot.since_ms <= made_ms)
        && let Some(shown) = history.iter().rev().find(|one| one.digest == boot.digest)
    {
        return shown.pinned();
    }
    // Dates are in whole seconds: the one that it was pinned in may be before or after.
    let is_over = |one: &&Generation| ms_of(&one.since).is_some_and(|since| since + 1000 <= made_ms);
    let shown = history.iter().rev().find(is_over).or(history.first());
    shown.map_or_else(|| now.clone(), Generation::pinned)
}

/// The versions of a history, each once, the latest first.
pub fn versions(history: &[Generation]) -> Vec<Pinned> {
    let mut versions: Vec<Pinned> = Vec::new();
    for generation in history.iter().rev() {
        let pinned = generation.pinned();
        if !versions.contains(&pinned) {
            versions.push(pinned);
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(byte: u8, since: &str) -> Generation {
        let digest = Digest::from_bytes([byte; 32]);
        Generation { image: "debian".parse().unwrap(), digest, since: since.to_owned() }
    }

    #[test]
    fn a_file_comes_from_the_version_that_was_shown_when_it_was_made() {
        let history = [
            generation(1, "2026-01-01T00:00:00Z"),
            generation(2, "2026-01-01T00:01:00Z"),
            generation(1, "2026-01-01T00:02:00Z"),
        ];
        let now = history[2].pinned();
        let zero = ms_of("2026-01-01T00:00:00Z").unwrap();
        let byte = |made: u64, boot| at(zero + made, &history, boot, &now).digest.hex()[..2].to_owned();
        for (made, expected) in
            [(5_000, "01"), (60_500, "01"), (61_000, "02"), (119_000, "02"), (122_000, "01")]
        {
            assert_eq!(byte(made, None), expected, "{made}");
        }
        // Before all of it: a clock was set, or the files came from elsewhere.
        assert_eq!(at(0, &history, None, &now).digest, history[0].digest);
        // It was rebased while it was running: its overlays show what it has booted with.
        let boot = Some(Boot { digest: history[0].digest, since_ms: zero + 10_000 });
        assert_eq!([5_000, 70_000, 130_000].map(|made| byte(made, boot)), ["01", "01", "01"]);
        let boot = Some(Boot { digest: history[1].digest, since_ms: zero + 70_000 });
        assert_eq!([65_000, 70_000, 130_000].map(|made| byte(made, boot)), ["02", "02", "02"]);
        assert_eq!(versions(&history), [history[0].pinned(), history[1].pinned()]);
    }
}
