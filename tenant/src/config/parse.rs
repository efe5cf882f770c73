//! Text to fragment: strict, with a suggestion for a misspelt key.

use serde::de::DeserializeOwned;

use super::Fragment;

/// Why a configuration text is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {message}{}", suggestion.as_ref().map(|key| format!("; did you mean `{key}`?")).unwrap_or_default())]
pub struct ParseError {
    /// Line of the text, counted from 1.
    pub line: usize,
    /// What is wrong, one line.
    pub message: String,
    /// The known key nearest to an unknown one.
    pub suggestion: Option<String>,
}

/// Parses a TOML text into a type that denies unknown fields.
///
/// # Errors
/// The first fault, with its line; for an unknown key the nearest known one.
pub fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T, ParseError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = error.message().lines().next().unwrap_or_default();
        // serde: unknown field `x`, expected one of `a`, `b`
        let mut quoted = message.split('`').skip(1).step_by(2);
        let unknown = message.starts_with("unknown ").then(|| quoted.next()).flatten();
        let suggestion = unknown.and_then(|unknown| {
            quoted
                .map(|known| (strsim::jaro_winkler(unknown, known), known))
                .filter(|(likeness, _)| *likeness > 0.75)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, known)| known.to_owned())
        });
        let message = match unknown {
            Some(unknown) => message.split_once(',').map_or(message, |(head, _)| head).replace(
                &format!("`{unknown}`"),
                &format!("`{}`", unknown.chars().take(64).collect::<String>()),
            ),
            None => message.to_owned(),
        };
        ParseError { line, message, suggestion }
    })
}

/// Sets one `key=value` in a TOML text and keeps its comments and order out of the way of the caller:
/// the result is the fragment that the pair alone stands for. Dotted keys reach into tables, quoted
/// parts hold slashes (`dirs."/data"`). A value that is not TOML is taken as a string.
///
/// # Errors
/// A pair without `=`, or a key or value that a fragment does not have.
pub fn set(pair: &str) -> Result<Fragment, ParseError> {
    let refuse = |message: &str| ParseError { line: 1, message: message.to_owned(), suggestion: None };
    let (key, value) = pair.split_once('=').ok_or_else(|| refuse("expected key=value"))?;
    if key.trim().is_empty() || pair.contains('\n') {
        return Err(refuse("expected key=value on one line"));
    }
    let quoted = toml::Value::String(value.trim().to_owned()).to_string();
    let as_string = format!("{key} = {quoted}\n");
    let as_toml = format!("{key} = {}\n", value.trim());
    parse_toml(&as_toml).or_else(|first| match toml::from_str::<toml::Table>(&as_toml) {
        // Valid TOML of the wrong type: that error speaks of the value the user wrote.
        Ok(_) => parse_toml(&as_string).map_err(|_| first),
        Err(_) => parse_toml(&as_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_key() {
        let error = parse_toml::<Fragment>("ttys = 2\nmemorymax = \"1G\"\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: unknown field `memorymax`; did you mean `memory_max`?");
    }

    #[test]
    fn set_takes_plain_words_toml_values_and_dotted_keys() {
        assert_eq!(set("memory_max=1G").unwrap().memory_max, Some("1G".parse().unwrap()));
        assert_eq!(set("ttys=3").unwrap().ttys, Some(3));
        assert_eq!(set("init=[\"/bin/sh\"]").unwrap().init, Some(vec!["/bin/sh".to_owned()]));
        assert_eq!(set("env.LANG=C.UTF-8").unwrap().env["LANG"], "C.UTF-8");
        assert_eq!(set("dirs.\"/data\"=private").unwrap().dirs.len(), 1);
        assert!(set("ttys").is_err());
        assert!(set("nonsense=1").is_err());
        assert!(set("a=1\nb=2").is_err());
    }
}
