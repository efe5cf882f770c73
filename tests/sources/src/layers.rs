//! Parts of a crate that must not know of each other, as a table.

use std::path::{Path, PathBuf};

/// Below a directory a module is not named, in code, tests or comments.
struct Rule {
    below: &'static str,
    module: &'static str,
    why: &'static str,
}

const RULES: &[Rule] = &[Rule {
    below: "tenant/src/kernel",
    module: "plan",
    why: "the kernel is told what to do in its own words; apply/ translates a plan",
}];

/// What is wrong with these files, by path and text.
pub(crate) fn faults<'a>(files: impl Iterator<Item = &'a (PathBuf, String)> + Clone) -> Vec<String> {
    let mut faults = Vec::new();
    for rule in RULES {
        for (path, text) in files.clone().filter(|(path, _)| is_below(path, rule.below)) {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| names(line, rule.module)) {
                let (path, line) = (path.display(), line.trim());
                faults.push(format!("{path}:{}: `{line}`: {}", number + 1, rule.why));
            }
        }
    }
    faults
}

fn is_below(path: &Path, dir: &str) -> bool {
    path.starts_with(dir) && path.extension().is_some_and(|kind| kind == "rs")
}

/// Whether a line has `module::`, or imports the module from where it is (`crate::module`, `crate::{module}`).
fn names(line: &str, module: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(module).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + module.len()..]);
        if before.ends_with(is_name) || after.starts_with(is_name) {
            return false;
        }
        let from_crate = before.trim_start().starts_with("use ") && before.contains("crate::");
        after.starts_with("::") || before.ends_with("crate::") || from_crate
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_by_every_form_of_a_path() {
        for line in [
            "use crate::plan::Plan;",
            "use crate::{plan, path};",
            "fn f(_: plan::Step) {}",
            "use crate::plan;",
            "/// [`crate::plan::Plan`]",
        ] {
            assert!(names(line, "plan"), "{line}");
        }
        for line in [
            "// The plan: a list.",
            "let plan = 1;",
            "use crate::explain::x;",
            "use crate::planner;",
            "fn f(plan: u8)",
        ] {
            assert!(!names(line, "plan"), "{line}");
        }
    }

    #[test]
    fn rules_concern_what_is_below_their_directory() {
        let line = "use crate::plan::Plan;\n".to_owned();
        let file = |path: &str| (PathBuf::from(path), line.clone());
        let files = [
            file("tenant/src/kernel/mod.rs"),
            file("tenant/src/apply/mod.rs"),
            file("tenant/src/kernel/x.nft"),
        ];
        let faults = faults(files.iter());
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with("tenant/src/kernel/mod.rs:1: `use crate::plan::Plan;`: "),
            "{faults:?}"
        );
    }
}
