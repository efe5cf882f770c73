//! Path walks without a pause, while something else changes what they lead through.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::AsRawFd as _,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::json;

use super::words::say;

/// One execution for so many rounds.
const EXEC_EVERY: u64 = 64;

/// What became of the walks.
#[derive(Debug, Default)]
struct Tally {
    walks: u64,
    failed: u64,
    mixed: u64,
    changes: u64,
    first_error: Option<String>,
}

impl Tally {
    fn note<T>(&mut self, what: &str, result: io::Result<T>) -> Option<T> {
        self.walks += 1;
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed += 1;
                self.first_error.get_or_insert_with(|| format!("{what}: {error}"));
                None
            }
        }
    }
}

/// Opens, reads and looks at every file of a directory and executes `/usr/bin/true`, again and again, until its input
/// ends. All files that are opened by one descriptor of the directory must say the same.
pub(super) fn walk(dir: &str) -> io::Result<()> {
    let names: Vec<_> = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    thread::spawn(move || {
        let _ended = io::stdin().read_to_end(&mut Vec::new());
        over.store(true, Ordering::Relaxed);
    });
    say("walking")?;
    let (mut tally, mut last) = (Tally::default(), String::new());
    let mut round = 0_u64;
    while !is_over.load(Ordering::Relaxed) {
        round += 1;
        let Some(opened) = tally.note("open the directory", File::open(dir)) else { continue };
        let held = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let mut said: Option<String> = None;
        for name in &names {
            let path = std::path::Path::new(dir).join(name);
            tally.note("stat", fs::metadata(&path));
            tally.note("read", fs::read(&path));
            let Some(text) = tally.note("openat", fs::read_to_string(std::path::Path::new(&held).join(name)))
            else {
                continue;
            };
            tally.mixed += u64::from(said.as_ref().is_some_and(|said| *said != text));
            said = Some(text);
        }
        if let Some(said) = said.filter(|said| *said != last) {
            tally.changes += 1;
            last = said;
        }
        if round.is_multiple_of(EXEC_EVERY) {
            let ran = Command::new("/usr/bin/true").stdin(Stdio::null()).status();
            let ran = ran.and_then(|status| match status.success() {
                true => Ok(()),
                false => Err(io::Error::other(status.to_string())),
            });
            tally.note("execute", ran);
        }
    }
    let Tally { walks, failed, mixed, changes, first_error } = tally;
    let answer = json!({
        "walks": walks, "failed": failed, "mixed": mixed, "changes": changes, "first_error": first_error,
    });
    say(&answer.to_string())
}
