//! Errors as people read them.

use std::error::Error;

/// Longest text of one error, bytes: it may quote what it was given, and that can be a megabyte.
const LONGEST: usize = 4096;

/// An error with all its causes in one line, joined by `: `. What is too long to be read is cut.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = cut(without_numbers(&error.to_string()));
    let mut cause = error.source();
    while let Some(error) = cause {
        // A transparent wrapper says the same as what it wraps.
        let own = cut(without_numbers(&error.to_string()));
        if !text.ends_with(&own) {
            text.push_str(": ");
            text.push_str(&own);
        }
        cause = error.source();
    }
    text
}

/// The beginning of a text, and its end, which says what is wrong.
fn cut(text: String) -> String {
    if text.len() <= LONGEST {
        return text;
    }
    let whole = |at: usize| (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let (begin, end) = (whole(LONGEST / 2), whole(text.len() - LONGEST / 2));
    format!("{} … {}", &text[..begin], &text[end..])
}

/// Takes out what [`std::io::Error`] adds for programmers: ` (os error 2)`.
pub fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')').filter(|(number, _)| number.parse::<u32>().is_ok()) {
            Some((_, rest)) => plain.push_str(rest),
            None => plain.extend([" (os error ", part]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::{io, path::Path};

    use super::*;
    use crate::files::file_error::FileError;

    #[test]
    fn an_error_that_quotes_a_whole_file_is_cut_in_its_middle() {
        let text = format!("a value \"{}\" is no name", "ä".repeat(1 << 19));
        let told = chain(&io::Error::other(text));
        assert!(told.len() < 2 * LONGEST, "{} bytes", told.len());
        assert!(told.starts_with("a value \"ä") && told.ends_with("ä\" is no name"), "{told}");
        let text = "x".repeat(LONGEST);
        assert_eq!(chain(&io::Error::other(text.clone())), text);
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_without_their_numbers() {
        let error = FileError::when("open", Path::new("/x"))(io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(chain(&error), "cannot open \"/x\": No such file or directory");
        assert_eq!(chain(&io::Error::other(error)), "cannot open \"/x\": No such file or directory");
        assert_eq!(without_numbers("a (os error 2): b (os error 17) c"), "a: b c");
        assert_eq!(without_numbers("a (os error x)"), "a (os error x)");
    }
}
