//! Patterns of names, as tenantctl and hostd both take them.

use glob::MatchOptions;

/// Most parameters of one request that selects.
pub const MOST_PARAMETERS: usize = 256;

/// Nothing that a name, a label or a digest has is special: not a slash, not a dot that comes first.
const PLAIN: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: false,
};

/// A pattern as glob(7) has them: `*`, `?`, `[a-z]`, `[!0-9]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(glob::Pattern);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Why it is none: a bracket without its end.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        // Two in a row mean directories to that crate, and the same as one here.
        let mut single = text.to_owned();
        while single.contains("**") {
            single = single.replace("**", "*");
        }
        // Shells take `[^0-9]` for `[!0-9]`.
        glob::Pattern::new(&single.replace("[^", "[!")).map(Self).map_err(|error| error.msg)
    }

    /// Whether all of a text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.0.matches_with(text, PLAIN)
    }
}

/// The name and the digits of the digest of `IMAGE` or `IMAGE@VERSION`: some of the first or all of them, after
/// `sha256:` or alone; none without a version.
pub fn image_and_digits(text: &str) -> (&str, &str) {
    let (name, version) = text.split_once('@').unwrap_or((text, ""));
    (name, version.rsplit(':').next().unwrap_or_default())
}
