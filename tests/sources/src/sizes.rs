//! Files that have grown too long: past this, look for the noun that wants a file of its own.

use std::path::PathBuf;

/// Lines that a file may have, tests and fixtures too.
const MOST: usize = 450;

/// What is wrong with these files, by path and text.
pub(crate) fn faults<'a>(files: impl Iterator<Item = &'a (PathBuf, String)>) -> Vec<String> {
    let lengths = files
        .filter(|(path, _)| path.extension().is_some_and(|kind| kind == "rs"))
        .map(|(path, text)| (text.lines().count(), path));
    let mut long: Vec<(usize, &PathBuf)> = lengths.filter(|(lines, _)| *lines > MOST).collect();
    long.sort_by(|one, other| other.cmp(one));
    long.iter().map(|(lines, path)| format!("{}: {lines} lines, at most {MOST}", path.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_too_long_from_one_line_more_than_allowed() {
        let file = |name: &str, lines: usize| (PathBuf::from(name), "//\n".repeat(lines));
        let files = [file("a.rs", MOST), file("b.rs", MOST + 1), file("c.md", MOST + 1), file("d.rs", 1000)];
        assert_eq!(faults(files.iter()), ["d.rs: 1000 lines, at most 450", "b.rs: 451 lines, at most 450"]);
    }
}
