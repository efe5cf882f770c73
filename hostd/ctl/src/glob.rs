//! Patterns of names as glob(7) has them: `*`, `?`, `[a-z]`, `[!0-9]`. Braces are the shell's.

/// Whether a word is a pattern, and no name: no name of a tenant has these characters.
pub(super) fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// Whether a name is the word, or matches it where it is a pattern.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // After a `*`: where the pattern goes on, and how much of the name the `*` has taken so far.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(_) => {
                if let Some(length) = one(&pattern[p..], name[n]) {
                    p += length;
                    n += 1;
                    continue;
                }
            }
            None => {}
        }
        // Let the last `*` take one more.
        let Some((after, taken)) = star else { return false };
        star = Some((after, taken + 1));
        (p, n) = (after, taken + 1);
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// How many characters of a pattern stand for one that it begins with; none where they do not match `c`.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern[0] {
        '?' => Some(1),
        '[' => match set(pattern, c) {
            Some((length, is_in)) => is_in.then_some(length),
            // A bracket without its end is a bracket.
            None => (c == '[').then_some(1),
        },
        literal => (literal == c).then_some(1),
    }
}

/// The length of a set in brackets, and whether `c` is in it; none where it does not end.
fn set(pattern: &[char], c: char) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let begin = if negated { 2 } else { 1 };
    // A `]` that comes first is one of the characters.
    let end = pattern.iter().skip(begin + 1).position(|c| *c == ']')? + begin + 1;
    let members = &pattern[begin..end];
    let (mut at, mut is_in) = (0, false);
    while at < members.len() {
        let first = members[at];
        match members.get(at + 1..at + 3) {
            Some(['-', last]) => {
                is_in |= (first..=*last).contains(&c);
                at += 3;
            }
            _ => {
                is_in |= first == c;
                at += 1;
            }
        }
    }
    Some((end + 1, is_in != negated))
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
