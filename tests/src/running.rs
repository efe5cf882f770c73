//! A program that goes on while the test does something else, with a pipe to it and one from it.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use crate::{Run, poll};

/// A running program.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// None when it has ended.
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
    read: usize,
}

impl Running {
    /// Starts a program; its standard error goes where its standard output goes.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(run: &Run) -> Self {
        let words = run.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        for (key, value) in run.command().get_envs() {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{words:?} cannot be started: {error}"));
        let stdin = child.stdin.take();
        let lines = Arc::default();
        collect(child.stdout.take().expect("standard output is a pipe"), &lines);
        collect(child.stderr.take().expect("standard error is a pipe"), &lines);
        Self { child, stdin, lines, read: 0 }
    }

    /// Every line it has printed.
    ///
    /// # Panics
    /// Never, unless a reader panicked.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no reader panics").clone()
    }

    /// Gives it a line to read.
    ///
    /// # Panics
    /// When it has gone.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its input has not ended");
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("{error}; it said {:?}", self.lines()));
    }

    /// Waits until it prints this line, behind the one that was expected last.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn expect(&mut self, line: &str) {
        let (lines, from) = (Arc::clone(&self.lines), self.read);
        let what = format!("the program says {line:?}; it said {:?}", self.lines());
        self.read = poll::until(&what, || {
            let lines = lines.lock().expect("no reader panics");
            Some(from + lines[from..].iter().position(|said| said == line)? + 1)
        });
    }

    /// Waits until it has printed at least so many lines.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn expect_lines(&self, count: usize) {
        poll::until_true(&format!("{count} lines"), || self.lines().len() >= count);
    }

    /// Ends its input and waits for its end; the last line it printed.
    ///
    /// # Panics
    /// When it does not end in time, or has printed nothing.
    pub fn end(&mut self) -> String {
        self.stdin = None;
        poll::until_true("the program ends", || !self.goes_on());
        let lines = Arc::clone(&self.lines);
        // Its readers come to the end of its output a moment later.
        poll::until("its last line", || {
            (Arc::strong_count(&lines) == 2).then(|| lines.lock().expect("no reader panics").last().cloned())
        })
        .expect("it printed something")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it goes on.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn goes_on(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }
}

fn collect(pipe: impl std::io::Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            lines.lock().expect("no reader panics").push(line);
        }
    });
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
