//! Text to fragment: strict, with a suggestion for a misspelt key.

use serde::de::DeserializeOwned;

use super::Fragment;

/// Why a configuration text is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {}{message}{}", named(key.as_deref()), did_you_mean(suggestion.as_deref()))]
pub struct ParseError {
    /// Line of the text, counted from 1.
    pub line: usize,
    /// The key whose value is at fault, dotted.
    pub key: Option<String>,
    /// What is wrong, one line.
    pub message: String,
    /// The known key nearest to an unknown one.
    pub suggestion: Option<String>,
}

fn named(key: Option<&str>) -> String {
    key.map(|key| format!("{key}: ")).unwrap_or_default()
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default()
}

impl ParseError {
    /// A text that is not what a file or a command wants, whatever its keys.
    pub fn new(message: impl Into<String>) -> Self {
        Self { line: 1, key: None, message: message.into(), suggestion: None }
    }

    /// What is wrong, without the line and the key.
    pub fn reason(&self) -> String {
        format!("{}{}", self.message, did_you_mean(self.suggestion.as_deref()))
    }

    /// Whether it is about a key that there is not.
    pub fn is_unknown_key(&self) -> bool {
        self.message.starts_with(UNKNOWN)
    }
}

const UNKNOWN: &str = "unknown key ";

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
        let unknown = message.starts_with("unknown field ").then(|| quoted.next()).flatten();
        let Some(unknown) = unknown else {
            return ParseError {
                line,
                key: key_at(text, line),
                message: message.to_owned(),
                suggestion: None,
            };
        };
        let message = format!("{UNKNOWN}`{}`", unknown.chars().take(64).collect::<String>());
        ParseError { line, key: None, message, suggestion: nearest(unknown, quoted) }
    })
}

/// The known word that a misspelt one was probably meant to be.
fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|known| (strsim::jaro_winkler(unknown, known), known))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_owned())
}

/// The key whose value a line of a TOML text belongs to, with the table it is in.
fn key_at(text: &str, line: usize) -> Option<String> {
    let above: Vec<&str> = text.lines().take(line).map(str::trim).collect();
    let is_header = |line: &str| line.starts_with('[') && line.trim_end_matches(|c| c != ']').ends_with(']');
    let own = above.iter().rposition(|line| line.contains('=') || is_header(line))?;
    let (name, _) = above[own].split_once('=').filter(|_| !is_header(above[own]))?;
    let header = above[..own].iter().rfind(|line| is_header(line));
    let table = header.map(|header| header.trim_matches(|c| matches!(c, '[' | ']' | ' ')));
    let number = header.filter(|header| header.starts_with("[[")).map(|header| {
        let before = above[..own].iter().filter(|line| *line == header).count() - 1;
        format!("[{before}]")
    });
    Some(match table {
        Some(table) => format!("{table}{}.{}", number.unwrap_or_default(), name.trim()),
        None => name.trim().to_owned(),
    })
}

/// Sets one `key=value` in a TOML text and keeps its comments and order out of the way of the caller:
/// the result is the fragment that the pair alone stands for. Dotted keys reach into tables, quoted
/// parts hold slashes (`dirs."/data"`). A value that is not TOML is taken as a string.
///
/// # Errors
/// A pair without `=`, or a key or value that a fragment does not have; the key is named.
pub fn set(pair: &str) -> Result<Fragment, ParseError> {
    let (key, value) = pair.split_once('=').ok_or_else(|| ParseError::new("expected key=value"))?;
    if key.trim().is_empty() || pair.contains('\n') {
        return Err(ParseError::new("expected key=value on one line"));
    }
    let quoted = toml::Value::String(value.trim().to_owned()).to_string();
    let as_string = format!("{key} = {quoted}\n");
    let as_toml = format!("{key} = {}\n", value.trim());
    let parsed =
        parse_toml::<Fragment>(&as_toml).or_else(|first| match toml::from_str::<toml::Table>(&as_toml) {
            // Valid TOML of the wrong type: that error speaks of the value the user wrote.
            Ok(_) => parse_toml(&as_string).map_err(|_| first),
            Err(_) => parse_toml(&as_string),
        });
    let name = || Some(key.trim().to_owned());
    let fragment = parsed.map_err(|error| match error.is_unknown_key() {
        true => error,
        false => ParseError { key: name(), ..error },
    })?;
    match fragment.check_bounds() {
        Ok(()) => Ok(fragment),
        Err(error) => Err(ParseError { key: name(), ..ParseError::new(error.reason) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_key() {
        let error = parse_toml::<Fragment>("ttys = 2\nmemorymax = \"1G\"\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: unknown key `memorymax`; did you mean `memory_max`?");
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

    #[test]
    fn a_value_that_cannot_be_is_told_with_its_key_and_line() {
        for (text, expected) in [
            ("# x = 1\nttys = true", "line 2: ttys: "),
            ("memory_max = 'lots'", "line 1: memory_max: \"lots\" is not a size"),
            ("[[nic]]\nmode = 'none'\n[[nic]]\nmode = 'x'", "line 4: nic[1].mode: "),
            ("[dirs]\n'/a' = 'tmpfs'\n'/b' = 'x'", "line 3: dirs.'/b': "),
            ("autostart = 'maybe'", "line 1: autostart: \"maybe\" is neither true nor false"),
            ("stop_timeout_sec = '5 weeks'", "line 1: stop_timeout_sec: \"5 weeks\" is not a time"),
        ] {
            let said = parse_toml::<Fragment>(text).unwrap_err().to_string();
            assert!(said.starts_with(expected), "{text}: {said}");
        }
    }

    #[test]
    fn what_people_type_is_understood() {
        for (pair, expected) in [
            ("autostart=yes", "autostart = true\n"),
            ("autostart=off", "autostart = false\n"),
            ("tun=On", "tun = true\n"),
            ("memory_max=1g", "memory_max = \"1G\"\n"),
            ("memory_max=1GiB", "memory_max = \"1G\"\n"),
            ("memory_max=infinity", "memory_max = \"max\"\n"),
            ("tasks_max=max", "tasks_max = \"max\"\n"),
            ("tasks_max=\"12\"", "tasks_max = 12\n"),
            ("cpu_quota=max", "cpu_quota = \"max\"\n"),
            ("stop_timeout_sec=2min", "stop_timeout_sec = 120\n"),
            ("stop_timeout_sec=90s", "stop_timeout_sec = 90\n"),
        ] {
            let fragment = set(pair).unwrap_or_else(|error| panic!("{pair}: {error}"));
            assert_eq!(toml::to_string(&fragment).unwrap(), expected, "{pair}");
        }
        let refused = set("console_log=max").unwrap_err();
        assert_eq!(
            (refused.key.as_deref(), refused.message.as_str()),
            (Some("console_log"), "max is outside 4K to 64M")
        );
        assert_eq!(set("ttys=64").unwrap_err().key.as_deref(), Some("ttys"));
    }
}
