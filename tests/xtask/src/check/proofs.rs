//! Tests that the documents name must exist, and each row of the page of security checks must name one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use super::paths::documents;
use crate::sh;

/// The page on which each row has its test.
const PAGE: &str = "docs/reference/security-checks.md";

/// The tests of each test program.
type Programs = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check() -> Result<()> {
    let root = sh::repository();
    let programs = programs(&root.join("tests"))?;
    let mut faults = Vec::new();
    let mut count = 0;
    for document in documents(&root)?.iter().filter(|document| document.exists()) {
        let text = fs::read_to_string(document).with_context(|| format!("{}", document.display()))?;
        let name = document.strip_prefix(&root).unwrap_or(document).display().to_string();
        for (program, test) in named(&text) {
            match programs.get(program) {
                Some(tests) if !tests.contains(test) => {
                    faults.push(format!("{name} names the test {program}::{test}, which is gone"));
                }
                Some(_) => count += 1,
                None => {}
            }
        }
        if name == PAGE {
            faults
                .extend(unproved(&text, &programs).map(|row| format!("{name}: a row names no test: {row}")));
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    eprintln!("{count} tests named, all there");
    Ok(())
}

/// Words in backticks that are two names.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    text.split('`')
        .filter_map(|word| word.split_once("::"))
        .filter(move |(program, test)| is_name(program) && is_name(test))
}

/// The rows of a page's tables without a test that exists.
fn unproved<'a>(text: &'a str, programs: &'a Programs) -> impl Iterator<Item = &'a str> {
    let lines: Vec<&str> = text.lines().collect();
    let is_rule = |line: &&str| line.starts_with("|--");
    let rows: Vec<&str> = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| line.starts_with("| ") && !lines.get(at + 1).is_some_and(is_rule))
        .map(|(_, line)| *line)
        .collect();
    rows.into_iter().filter(move |row| {
        !named(row).any(|(program, test)| programs.get(program).is_some_and(|tests| tests.contains(test)))
    })
}

/// The test programs of `tests/`: those of the native tier by their names, those of the virtual machine as `vm-…`.
fn programs(tests: &Path) -> Result<Programs> {
    let mut programs = Programs::new();
    for (dir, prefix) in [("tests", ""), ("vm", "vm-"), ("faults", "")] {
        for entry in fs::read_dir(tests.join(dir)).with_context(|| format!("cannot read tests/{dir}"))? {
            let path = entry?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
            let name = if prefix.is_empty() { stem.replace('-', "_") } else { format!("{prefix}{stem}") };
            collect(&path, programs.entry(name).or_default())?;
        }
    }
    Ok(programs)
}

fn collect(path: &Path, tests: &mut BTreeSet<String>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), tests)?;
        }
        return Ok(());
    }
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    tests.extend(tests_in(&text));
    Ok(())
}

/// The functions behind `#[test]`, whatever other attributes they have.
fn tests_in(text: &str) -> impl Iterator<Item = String> {
    let bodies = text.split("#[test]").skip(1);
    bodies.filter_map(|body| Some(body.split_once("fn ")?.1.split('(').next()?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_needs_a_test_that_is_there() {
        let source = "fn helper() {}\n#[test]\nfn one() {}\n\n#[test]\n#[ignore]\nfn other() {}\n";
        assert_eq!(tests_in(source).collect::<Vec<_>>(), ["one", "other"]);
        let programs = Programs::from([("p".to_owned(), tests_in(source).collect())]);
        let page =
            "| class | test |\n|---|---|\n| a | `p::one` |\n| b | `p::gone` |\n| c | `std::fs` |\n| d | |\n";
        assert_eq!(named(page).collect::<Vec<_>>(), [("p", "one"), ("p", "gone"), ("std", "fs")]);
        let rows: Vec<&str> = unproved(page, &programs).collect();
        assert_eq!(rows, ["| b | `p::gone` |", "| c | `std::fs` |", "| d | |"]);
    }
}
