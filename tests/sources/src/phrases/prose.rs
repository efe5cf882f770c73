//! What users read besides programs: documents, units, profiles, what the package installs.

use std::path::Path;

use super::text::Text;

/// Directories and files that are read as a whole.
const READ: [&str; 8] = [
    "README.md",
    "docs",
    "profiles",
    "systemd",
    "tests/xtask/src/deb/README.Debian",
    "tests/xtask/src/deb/control",
    "tests/xtask/src/deb/hostd.toml",
    "tests/xtask/src/deb/postinst",
];

/// The only part of the changelog that is still written.
const UNRELEASED: [&str; 2] = ["## Unreleased", "## [Unreleased]"];

/// Whether users read a file.
pub(super) fn is_read(path: &Path) -> bool {
    let figures = path.file_name().is_some_and(|name| name == "benchmarks.json");
    !figures && (is_changelog(path) || READ.iter().any(|read| path.starts_with(read)))
}

fn is_changelog(path: &Path) -> bool {
    path == Path::new("CHANGELOG.md")
}

/// The paragraphs of a file: lines that are read as one. An empty line, a heading, a row of a table and an
/// item of a list begin another; in a file of values each line does.
pub(super) fn texts(path: &Path, text: &str) -> Vec<Text> {
    let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    let (is_markdown, is_json) = (kind == "md", kind == "json");
    let marks: &[&str] = if is_markdown { &["#", "|", "- ", "* ", "```", "<"] } else { &["- ", "* "] };
    let mut found: Vec<Text> = Vec::new();
    let mut is_open = false;
    let mut is_read = !is_changelog(path);
    for (number, line) in text.lines().enumerate() {
        if is_changelog(path) && line.starts_with("## ") {
            is_read = UNRELEASED.iter().any(|heading| line.starts_with(heading));
        }
        // Elsewhere a comment goes over several lines.
        let line = if is_markdown { line } else { line.trim_start().trim_start_matches(['#', '/']) };
        let begins = is_json || marks.iter().any(|mark| line.trim_start().starts_with(mark));
        if line.trim().is_empty() || !is_read {
            is_open = false;
            continue;
        }
        let line = without_addresses(line);
        match found.last_mut() {
            Some(last) if is_open && !begins => {
                last.text.push('\n');
                last.text.push_str(&line);
            }
            _ => found.push(Text { line: number + 1, text: line }),
        }
        is_open = !is_markdown || !["#", "|"].iter().any(|mark| text_of(found.last()).starts_with(mark));
    }
    found
}

fn text_of(text: Option<&Text>) -> &str {
    text.map_or("", |text| text.text.trim_start())
}

/// `[text](address)` is its text.
fn without_addresses(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text
}
