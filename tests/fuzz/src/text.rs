//! Inputs as text.

/// The input as text, if it is some: what reads files refuses all other.
pub(crate) fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}
