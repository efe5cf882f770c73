//! Progress of a long command: a spinner on a terminal, plain lines when piped.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Reports the steps of one command, always on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    started: Instant,
}

impl Progress {
    /// A spinner if standard error is a terminal, else one line for each step.
    pub fn stderr() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}");
            bar.set_style(style.expect("the template is well-formed"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { lines: bar.is_none(), bar, started: Instant::now() }
    }

    /// No report at all, for tests.
    pub fn silent() -> Self {
        Self { bar: None, lines: false, started: Instant::now() }
    }

    /// Reports the current step.
    pub fn step(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        } else if self.lines {
            let _ = writeln!(io::stderr(), "[{:>5.1}s] {what}", self.started.elapsed().as_secs_f64());
        }
    }

    /// Takes the spinner off the terminal.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
