//! Patterns of names as glob(7) has them: `*`, `?`, `[a-z]`, `[!0-9]`. Braces are the shell's.

use wire::Pattern;

/// Whether a word is a pattern, and no name: no name of a tenant has these characters.
pub(super) fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// Whether a name is the word, or matches it where it is a pattern. A bracket without its end is a bracket.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    match Pattern::parse(pattern) {
        Ok(parsed) => parsed.matches(name),
        Err(_) => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_those_of_a_shell() {
        for (pattern, yes, no) in [
            ("web", &["web"][..], &["web1", "we", ""][..]),
            ("web*", &["web", "web1", "web-x"], &["we", "xweb"]),
            ("*", &["", "a"], &[]),
            ("*b*1", &["web1", "b1", "bb11"], &["b", "web2"]),
            ("web?", &["web1"], &["web", "web12"]),
            ("db[1-3]", &["db1", "db3"], &["db4", "db", "db12"]),
            ("db[!1-3]x", &["db4x"], &["db1x"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("a[b", &["a[b"], &["ab"]),
            ("*a*a*a*a*b", &["aaaab"], &["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]),
        ] {
            for name in yes {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in no {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        }
        assert!(is_pattern("web*") && is_pattern("a?") && is_pattern("a[1]") && !is_pattern("web-1.x_y"));
    }
}
