//! The table of phrases, and how a row is found in a text.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// Where a phrase may not come back.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// Strings and the help of programs.
    Messages,
    /// Documents, units, profiles.
    Docs,
}

/// `tests/sources/phrases.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// Files and directories that are not looked at.
    #[serde(default)]
    skip: Vec<PathBuf>,
    /// Words in a text.
    #[serde(default)]
    phrase: Vec<Row>,
    /// Characters in a text, as they stand.
    #[serde(default)]
    raw: Vec<Row>,
    /// Words in an identifier.
    #[serde(default)]
    name: Vec<Row>,
}

/// A row of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// What may not come back. Of words: `a|b` is either, `*` any word, `{}` a value or something in
    /// backticks, and `$` at the end stands for the end of a clause.
    pub(crate) find: String,
    /// What to write.
    pub(crate) instead: String,
    pub(crate) why: String,
    /// Longer phrases in which it may stand; of an identifier, whole identifiers.
    #[serde(default)]
    except: Vec<String>,
    /// Everywhere, when empty.
    #[serde(default, rename = "in")]
    places: Vec<Place>,
    #[serde(skip)]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default)]
enum Kind {
    #[default]
    Phrase,
    Raw,
    Name,
}

impl Row {
    pub(super) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Phrase => "phrase",
            Kind::Raw => "raw",
            Kind::Name => "name",
        }
    }

    fn is_of(&self, place: Place) -> bool {
        self.places.is_empty() || self.places.contains(&place)
    }
}

impl Table {
    /// Parses the table; a row without something to write instead is an error.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut table: Self = toml::from_str(text).context("the table of phrases is malformed")?;
        for (kind, rows) in
            [(Kind::Phrase, &mut table.phrase), (Kind::Raw, &mut table.raw), (Kind::Name, &mut table.name)]
        {
            for row in rows {
                row.kind = kind;
                if [&row.find, &row.instead, &row.why].iter().any(|text| text.trim().is_empty()) {
                    bail!("the row {:?} does not say what to write instead, and why", row.find);
                }
            }
        }
        Ok(table)
    }

    pub(super) fn skips(&self, path: &Path) -> bool {
        self.skip.iter().any(|skipped| path.starts_with(skipped))
    }

    /// The rows that a text holds: each with the byte at which it begins, and what stands there.
    pub(super) fn in_text(&self, place: Place, text: &str) -> Vec<(&Row, usize, String)> {
        let words = words(text);
        let mut found = Vec::new();
        for row in self.phrase.iter().filter(|row| row.is_of(place)) {
            let pattern: Vec<&str> = row.find.split_whitespace().collect();
            for at in 0..words.len() {
                if matches(&pattern, &words[at..]) && !row.except.iter().any(|not| around(not, &words, at)) {
                    let length = pattern.iter().filter(|word| **word != "$").count();
                    found.push((row, words[at].at, quote(text, &words, at, length)));
                }
            }
        }
        for row in self.raw.iter().filter(|row| row.is_of(place)) {
            for (at, _) in text.match_indices(&row.find) {
                if !row.except.iter().any(|not| raw_around(not, &row.find, text, at)) {
                    found.push((row, at, row.find.clone()));
                }
            }
        }
        found
    }

    /// The rows that an identifier holds.
    pub(super) fn in_name(&self, name: &str) -> impl Iterator<Item = &Row> {
        let parts = parts(name);
        self.name.iter().filter(move |row| {
            let wanted = self::parts(&row.find);
            !row.except.iter().any(|not| not == name)
                && parts.windows(wanted.len()).any(|parts| parts == wanted)
        })
    }
}

/// `TellOfHost`, `tell_of_host` and `TELL_OF_HOST` are `tell`, `of`, `host`.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && was_lower) {
            parts.push(String::new());
        }
        if c != '_' {
            parts.last_mut().expect("there is one from the beginning").extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase() || c.is_numeric();
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// A word, a value (`{}`) or a mark that ends a clause.
#[derive(Debug)]
struct Word {
    at: usize,
    end: usize,
    text: String,
}

const VALUE: &str = "{}";

/// The words of a text, in lower case. `{name:?}` and what stands in backticks are values; of other marks only
/// those count that end a clause.
fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let mut until = |close: char| {
            let inside = text[at + 1..].find(['\n', close]).map(|length| at + 1 + length)?;
            let closes = text[inside..].starts_with(close);
            closes.then(|| while chars.next_if(|(next, _)| *next <= inside).is_some() {})?;
            Some(inside + 1)
        };
        match c {
            '{' | '`' => {
                if let Some(end) = until(if c == '{' { '}' } else { '`' }) {
                    words.push(Word { at, end, text: VALUE.to_owned() });
                }
            }
            c if c.is_alphanumeric() => {
                let mut end = at + c.len_utf8();
                while let Some((next, c)) = chars.next_if(|(next, c)| {
                    c.is_alphanumeric()
                        || *c == '_'
                        || (is_inside(*c) && continues(&text[next + c.len_utf8()..]))
                }) {
                    end = next + c.len_utf8();
                }
                words.push(Word { at, end, text: text[at..end].to_lowercase() });
            }
            '.' | ',' | ';' | ':' | '!' | '?' | ')' | '(' | '|' | '–' | '—' => {
                words.push(Word { at, end: at + c.len_utf8(), text: ".".to_owned() });
            }
            _ => {}
        }
    }
    words
}

/// Whether a character belongs to a word when another letter follows it: `don't`, `re-read`, `a/b`.
fn is_inside(c: char) -> bool {
    matches!(c, '\'' | '’' | '-' | '/')
}

fn continues(rest: &str) -> bool {
    rest.starts_with(char::is_alphanumeric)
}

fn matches(pattern: &[&str], words: &[Word]) -> bool {
    pattern.iter().enumerate().all(|(at, part)| match (*part, words.get(at)) {
        ("$", None) => true,
        (_, None) => false,
        ("$", Some(word)) => word.text == ".",
        ("*", Some(word)) => word.text != ".",
        (part, Some(word)) => part.split('|').any(|part| part == word.text),
    })
}

/// Whether a longer phrase stands over the word at this place.
fn around(phrase: &str, words: &[Word], at: usize) -> bool {
    let pattern: Vec<&str> = phrase.split_whitespace().collect();
    (0..pattern.len()).any(|back| back <= at && matches(&pattern, &words[at - back..]))
}

fn raw_around(longer: &str, find: &str, text: &str, at: usize) -> bool {
    longer.match_indices(find).any(|(inside, _)| {
        at.checked_sub(inside)
            .is_some_and(|from| text.get(from..).is_some_and(|rest| rest.starts_with(longer)))
    })
}

/// What was found, with a few words around it.
fn quote(text: &str, words: &[Word], at: usize, length: usize) -> String {
    let first = words[at.saturating_sub(4)].at;
    let last = (at + length + 3).min(words.len()) - 1;
    text[first..words[last].end].split_whitespace().collect::<Vec<_>>().join(" ")
}
