//! What root can change below `/proc/sys`.

use std::{collections::BTreeMap, fs, io};

use serde_json::json;

use super::{see, words::say};

/// Writes something else to every file below `/proc/sys` that can be written; prints what each of those held before and
/// holds now whose value has changed, and those that were refused at last.
pub(super) fn tune() -> io::Result<()> {
    let mut changed = BTreeMap::new();
    let mut kept = Vec::new();
    for path in see::writable_below("/proc/sys") {
        // What cannot be read acts when it is written; what tells itself anew each time shows no change.
        let Ok(before) = fs::read_to_string(&path) else { continue };
        let candidates = others(before.trim());
        let is_changed = candidates.iter().any(|other| {
            fs::write(&path, other).is_ok() && fs::read_to_string(&path).is_ok_and(|now| now != before)
        });
        match is_changed {
            true => drop(changed.insert(path, before.trim().to_owned())),
            false => kept.push(path),
        }
    }
    say(&json!({ "changed": changed, "kept": kept }).to_string())
}

/// Values that may stand in place of one: numbers near by, the first of a list changed, words known to be taken.
fn others(value: &str) -> Vec<String> {
    let (first, rest) = value.split_once(['\t', ' ']).unwrap_or((value, ""));
    match first.parse::<i64>() {
        Ok(number) => [number + 1, number - 1, 1 - number.clamp(0, 1), 1, 0, 2]
            .map(|number| format!("{number} {rest}").trim().to_owned())
            .to_vec(),
        Err(_) => ["reno", "cubic", "pfifo", "changed"].map(str::to_owned).to_vec(),
    }
}

/// Writes what a file holds already: a success changes nothing.
pub(super) fn keep(path: &str) -> io::Result<()> {
    let value = fs::read_to_string(path)?;
    fs::write(path, value)
}
