//! Tables of the documents must be whole: a line between two rows ends a table, and what follows is shown as text.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::paths::documents;
use crate::sh;

pub(super) fn check() -> Result<()> {
    let root = sh::repository();
    let mut faults = Vec::new();
    for document in documents(&root)?.iter().filter(|document| document.exists()) {
        let text = fs::read_to_string(document).with_context(|| format!("{}", document.display()))?;
        let name = document.strip_prefix(&root).unwrap_or(document).display();
        faults.extend(broken(&text).into_iter().map(|(line, fault)| format!("{name}:{line}: {fault}")));
    }
    if !faults.is_empty() {
        bail!("tables that are cut:\n{}", faults.join("\n"));
    }
    Ok(())
}

/// How many cells a row has.
fn cells(row: &str) -> usize {
    row.trim().trim_matches('|').replace("\\|", "").split('|').count()
}

fn is_rule(line: &str) -> bool {
    line.contains("--") && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '))
}

/// The lines of a text, from 1, at which a table is not one.
fn broken(text: &str) -> Vec<(usize, &'static str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut faults = Vec::new();
    let (mut is_code, mut width) = (false, None);
    for (at, line) in lines.iter().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code || !line.starts_with('|') {
            width = None;
            continue;
        }
        match width {
            None => {
                let rule = lines.get(at + 1).filter(|next| is_rule(next));
                if rule.is_none_or(|rule| cells(rule) != cells(line)) {
                    faults.push((at + 1, "a row without a header above it"));
                }
                width = Some(cells(line));
            }
            Some(width) if cells(line) > width => {
                faults.push((at + 1, "a row with more cells than its table's header"));
            }
            Some(_) => {}
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_cut_by_a_blank_line_is_found() {
        let table = "| a | b |\n|---|---:|\n| `x \\| y` | 2 |\n| short |\n";
        assert_eq!(broken(table), []);
        assert_eq!(broken(&format!("{table}\n| 3 | 4 |\n")), [(6, "a row without a header above it")]);
        assert_eq!(
            broken(&format!("{table}| 3 | 4 | 5 |\n")),
            [(5, "a row with more cells than its table's header")]
        );
        assert_eq!(broken(&format!("```\n| 3 | 4 |\n```\n{table}")), []);
    }
}
