//! A file in the admin's editor.

use std::{
    env,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::Path,
    process::Command,
};

use nix::sys::signal::Signal;
use tenant::kernel::raw;
use wire::{Code, Failure};

use super::Context;

/// Opens a file in $VISUAL or $EDITOR, and waits until it ends.
pub(super) fn open(path: &Path) -> Result<(), Failure> {
    let editor =
        ["VISUAL", "EDITOR"].into_iter().find_map(|key| env::var(key).ok().filter(|e| !e.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // Ctrl-C is for the editor: were this process to die of it, the editor would be left without a terminal.
    let keys = [Signal::SIGINT, Signal::SIGQUIT];
    let io = |error: io::Error| Failure::of(Code::Failed, &error);
    raw::catch_signals(&keys).map_err(io)?;
    // The variable may hold arguments, e.g. "code --wait": that is the shell's to take apart. The shell catches
    // the keys, the editor gets them as they are.
    let script = format!("trap : INT QUIT; {editor} \"$1\"");
    let status = Command::new("sh").args(["-c", &script, "sh"]).arg(path).status();
    raw::default_signals(&keys).map_err(io)?;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(Code::Failed, format!("the editor {editor:?} failed: {status}"))
            .help("nothing was changed; set $EDITOR to another editor")),
        Err(error) => Err(Failure::of(Code::Failed, &error)),
    }
}

/// Shows the error and asks whether to edit again, on a terminal only.
pub(super) fn again(context: &Context, failure: &Failure) -> bool {
    if !io::stdin().is_terminal() || context.output.json {
        return false;
    }
    context.output.failure(failure);
    let _ = write!(io::stderr(), "Edit again? [Y/n] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok_and(|length| length > 0) && !matches!(answer.trim(), "n" | "N" | "no")
}
