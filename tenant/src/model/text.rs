//! Words that are kept as they are written.

/// A word, `struct Word(String)`, that serde reads by [`std::str::FromStr`] and writes as it is: what
/// `#[serde(try_from = "String", into = "String")]` needs, and `Display`.
macro_rules! text_form {
    ($word:ident, $invalid:ty) => {
        impl TryFrom<String> for $word {
            type Error = $invalid;

            fn try_from(text: String) -> Result<Self, $invalid> {
                text.parse()
            }
        }

        impl From<$word> for String {
            fn from(word: $word) -> Self {
                word.0
            }
        }

        impl std::fmt::Display for $word {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use text_form;
