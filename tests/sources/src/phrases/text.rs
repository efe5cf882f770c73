//! What is read as one.

/// A piece of text that is read as one, and where it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) line: usize,
    pub(super) text: String,
}
