//! Misspelt words, found by codespell(1).
//!
//! Debian's codespell and not `typos`: one package of the distribution instead of a program from
//! another registry. Words it is wrong about are in `tests/xtask/spelling.txt`, one a line.

use anyhow::Result;

use crate::sh;

pub(super) fn check() -> Result<()> {
    let files = sh::read(git_files())?;
    let text = files.lines().filter(|file| {
        let kind = file.rsplit('.').next().unwrap_or_default();
        matches!(kind, "rs" | "md" | "toml" | "sh" | "service" | "json" | "run")
    });
    let mut codespell = sh::command("codespell", &["--ignore-words", "tests/xtask/spelling.txt"]);
    codespell.args(["--uri-ignore-words-list", "*"]).args(text).current_dir(sh::repository());
    sh::show_briefly(codespell, "codespell")
}

fn git_files() -> std::process::Command {
    let mut git = sh::command("git", &["ls-files"]);
    git.current_dir(sh::repository());
    git
}
