//! Paths of this repository that its documents name must exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// What a path of this repository starts with.
const TOP: [&str; 11] = [
    "filetree/",
    "tenant/",
    "hostd/",
    "rootfs-tools/",
    "profiles/",
    "systemd/",
    "tests/",
    "docs/",
    ".ci/",
    ".cargo/",
    "Cargo.toml",
];

pub(super) fn check() -> Result<()> {
    let root = sh::repository();
    let documents = documents(&root)?;
    let mut gone = Vec::new();
    let mut named = 0;
    for document in documents {
        // A record of a decision speaks of its day.
        if document.starts_with(root.join("docs/adr")) || !document.exists() {
            continue;
        }
        let text = fs::read_to_string(&document).with_context(|| format!("{}", document.display()))?;
        for path in text.lines().flat_map(paths).flat_map(|path| expand(&path)) {
            named += 1;
            if !exists(&root, &path) {
                let document = document.strip_prefix(&root).unwrap_or(&document);
                gone.push(format!("{} names {path}", document.display()));
            }
        }
    }
    if !root.join("docs/ARCHITECTURE.md").exists() {
        gone.push("docs/ARCHITECTURE.md is missing".to_owned());
    }
    if !gone.is_empty() {
        bail!("paths that are gone:\n{}", gone.join("\n"));
    }
    eprintln!("{named} paths named, all there");
    Ok(())
}

/// All that is written for people.
pub(super) fn documents(root: &Path) -> Result<Vec<PathBuf>> {
    let mut documents = vec![root.join("README.md")];
    collect(&root.join("docs"), &mut documents)?;
    Ok(documents)
}

fn collect(dir: &Path, documents: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, documents)?;
        } else if path.extension().is_some_and(|kind| kind == "md") {
            documents.push(path);
        }
    }
    Ok(())
}

/// The repository's paths in a line: words in backticks or in a link.
fn paths(line: &str) -> Vec<String> {
    let quoted = line.split('`').skip(1).step_by(2).flat_map(|text| text.split(' '));
    let linked = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let linked = linked.map(|path| path.trim_start_matches("../"));
    let all = quoted.chain(linked).map(|path| path.trim_end_matches([',', ';', ':', '.']));
    all.filter(|path| TOP.iter().any(|top| path.starts_with(top)))
        .filter(|path| !path.contains(['<', '$', '*', '…', '(']) && !path.contains("NAME"))
        .map(str::to_owned)
        .collect()
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn expand(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((inside, after)) = rest.split_once('}') else { return vec![path.to_owned()] };
    inside.split(',').flat_map(|one| expand(&format!("{before}{one}{after}"))).collect()
}

fn exists(root: &Path, path: &str) -> bool {
    // `tenant/src/plan/mod.rs:12` and `tenant/src/plan` are paths, `docs/reference` in a link too.
    let file = path.split(':').next().unwrap_or(path);
    root.join(file).exists() || root.join("docs").join(file).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_backticks_and_links() {
        let line = "see `tenant/src/{a,b}.rs`, `cargo run`, [x](../hostd/src/lib.rs#y) and tenant/none";
        assert_eq!(paths(line), ["tenant/src/{a,b}.rs", "hostd/src/lib.rs"]);
        assert_eq!(expand("tenant/src/{a,b}.rs"), ["tenant/src/a.rs", "tenant/src/b.rs"]);
    }
}
