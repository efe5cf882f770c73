//! Changes to a tenant's file that leave the admin's comments, order and spelling alone.

use tenant::config::{self, Effect, Fragment, ParseError, Range};
use toml_edit::{DocumentMut, Item, Table, TableLike};

/// The text of a new tenant's file.
pub const HEADER: &str =
    "# Every key is optional; `tenantctl explain NAME` shows where each value comes from.\n";

fn document(text: &str) -> Result<DocumentMut, ParseError> {
    text.parse().map_err(|error: toml_edit::TomlError| ParseError::new(error.message()))
}

/// The pair as a document, spelt the way [`config::set`] understood it.
fn pair_document(pair: &str) -> Result<DocumentMut, ParseError> {
    let wanted = config::set(pair)?;
    let (key, value) = pair.split_once('=').ok_or_else(|| ParseError::new("expected key=value"))?;
    // A boolean has one spelling in a file, however it was typed.
    if config::key(key).is_some_and(|key| key.range == Range::Boolean) {
        let text = toml::to_string(&wanted).map_err(|error| ParseError::new(error.to_string()))?;
        return document(&text);
    }
    let quoted = toml::Value::String(value.trim().to_owned()).to_string();
    for line in [format!("{key} = {}\n", value.trim()), format!("{key} = {quoted}\n")] {
        if config::parse_toml::<Fragment>(&line).is_ok_and(|fragment| fragment == wanted) {
            return document(&line);
        }
    }
    Err(ParseError::new("expected key=value"))
}

fn merge(into: &mut Table, from: &Table) {
    for (key, item) in from {
        match (into.get_mut(key), item) {
            (Some(Item::Table(old)), Item::Table(new)) => merge(old, new),
            (Some(Item::Value(old)), Item::Value(new)) => {
                // The comment behind a value belongs to the line, not to the value.
                let decor = old.decor().clone();
                *old = new.clone();
                *old.decor_mut() = decor;
            }
            _ => {
                into.insert(key, item.clone());
            }
        }
    }
}

/// Sets `key=value` pairs and removes keys in the text of a tenant's file.
///
/// # Errors
/// A text that is not TOML, a pair or key that a tenant's file does not have.
pub fn apply(text: &str, set: &[String], unset: &[String]) -> Result<String, ParseError> {
    let mut file = document(text)?;
    for pair in set {
        merge(file.as_table_mut(), pair_document(pair)?.as_table());
    }
    for key in unset {
        remove(file.as_table_mut(), key)?;
    }
    let text = file.to_string();
    config::parse_toml::<Fragment>(&text)?;
    Ok(text)
}

/// Removes a key, given as in TOML: `ttys`, `env.LANG`, `dirs."/data"`.
fn remove(file: &mut Table, key: &str) -> Result<(), ParseError> {
    let path = toml_edit::Key::parse(key).map_err(|error| ParseError::new(error.to_string()))?;
    let Some((last, above)) = path.split_last() else { return Err(ParseError::new("expected a key")) };
    let mut table: Option<&mut dyn TableLike> = Some(file);
    for part in above {
        table = table.and_then(|table| table.get_mut(part.get())?.as_table_like_mut());
    }
    // Whatever stands in the file can be removed from it, a misspelt key above all.
    if table.and_then(|table| table.remove(last.get())).is_some() {
        return Ok(());
    }
    // A misspelt key is told apart from one that is merely not set.
    let known = format!("{key} = {{}}");
    match config::parse_toml::<Fragment>(&known) {
        Err(error) if error.is_unknown_key() => Err(error),
        _ => Ok(()),
    }
}

/// Whether a key of a tenant's file takes effect at once, see [`config::KEYS`].
pub(super) fn is_live(key: &str) -> bool {
    config::key(key).is_some_and(|key| key.effect != Effect::NextStart)
}

/// A key of a table as it is written in a file, quoted where it must be.
pub fn dotted(table: &str, key: &str) -> String {
    let is_bare = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_bare { format!("{table}.{key}") } else { format!("{table}.{key:?}") }
}

/// The keys in which two texts of a tenant's file differ and that take effect at a start only.
pub fn waiting(before: &str, after: &str) -> Vec<String> {
    changed(before, after).into_iter().filter(|key| !is_live(key)).collect()
}

/// The keys in which two texts of a tenant's file differ.
pub fn changed(before: &str, after: &str) -> Vec<String> {
    let table = |text: &str| text.parse::<toml::Table>().unwrap_or_default();
    let (before, after) = (table(before), table(after));
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |key: &&String| before.get(*key) != after.get(*key);
    keys.into_iter().filter(differs).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, pairs: &[&str]) -> String {
        let pairs: Vec<_> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        apply(text, &pairs, &[]).unwrap()
    }

    #[test]
    fn comments_and_order_survive() {
        let text = "# mine\nttys = 2 # two\n\n[env]\n# why\nLANG = \"C\"\n";
        assert_eq!(
            set(text, &["ttys=3", "env.LANG=de", "env.TZ=UTC"]),
            "# mine\nttys = 3 # two\n\n[env]\n# why\nLANG = \"de\"\nTZ = \"UTC\"\n"
        );
    }

    #[test]
    fn new_keys_of_every_type_can_be_set_in_an_empty_file() {
        let text = set(
            "",
            &[
                "memory_max=1G",
                "ttys=3",
                "dirs.\"/data\"=private",
                "dirs.\"/d\"={ tmpfs = \"1M\" }",
                "hostname=1",
            ],
        );
        let fragment: Fragment = config::parse_toml(&text).unwrap();
        assert_eq!((fragment.ttys, fragment.dirs.len()), (Some(3), 2));
        assert_eq!(fragment.hostname.as_deref(), Some("1"));
    }

    #[test]
    fn a_value_stays_as_it_was_typed_but_a_boolean_has_one_spelling() {
        let text = set("", &["autostart=yes", "memory_max=1g", "stop_timeout_sec=2min", "tasks_max=max"]);
        let expected =
            "autostart = true\nmemory_max = \"1g\"\nstop_timeout_sec = \"2min\"\ntasks_max = \"max\"\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_waits_for_the_next_start_is_told_by_its_keys() {
        let before = "# one\nttys = 2\nmemory_max = '1G'\nhostname = 'a'\n";
        let after = "memory_max = '2G'\nttys = 3\n[env]\nA = '1'\n";
        assert_eq!(waiting(before, after), ["env", "hostname", "ttys"]);
        assert_eq!(waiting(before, "hostname = 'a'\nttys = 2"), [""; 0]);
    }

    #[test]
    fn unset_removes_and_tells_misspelt_keys() {
        let text = "ttys = 2\n[env]\nA = \"1\"\nB = \"2\"\n";
        let unset = |keys: &[&str]| {
            let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
            apply(text, &[], &keys)
        };
        assert_eq!(unset(&["ttys", "env.A", "memory_max"]).unwrap(), "[env]\nB = \"2\"\n");
        assert_eq!(unset(&["memorymax"]).unwrap_err().suggestion.as_deref(), Some("memory_max"));
        assert!(apply(text, &["nonsense=1".to_owned()], &[]).is_err());
    }

    #[test]
    fn a_misspelt_key_that_stands_in_the_file_can_be_removed() {
        let text =
            "memorymax = \"1G\"\nttys = 2\ntyts = 3\n[dirs.\"/data\"]\nbnd = \"/x\"\nbind = \"/srv\"\n";
        let unset = |keys: &[&str]| {
            let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
            apply(text, &[], &keys)
        };
        // One of them alone leaves the file as unusable as it is: another one is named.
        let error = unset(&["memorymax"]).unwrap_err();
        assert!(error.message.contains("bnd") || error.message.contains("tyts"), "{}", error.message);
        let all = unset(&["memorymax", "tyts", "dirs.\"/data\".bnd"]).unwrap();
        assert_eq!(all, "ttys = 2\n[dirs.\"/data\"]\nbind = \"/srv\"\n");
        let inline =
            apply("dirs = { \"/d\" = { bnd = 1, tmpfs = \"1M\" } }\n", &[], &["dirs.\"/d\".bnd".to_owned()]);
        assert!(inline.unwrap().contains("tmpfs"));
    }
}
