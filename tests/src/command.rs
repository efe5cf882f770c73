//! Running a program to its end, with a deadline and everything it said.

use std::{
    ffi::{OsStr, OsString},
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A program to run.
#[derive(Debug)]
pub struct Run {
    command: Command,
    words: Vec<OsString>,
    stdin: Vec<u8>,
    limit: Duration,
}

/// What a program did.
#[derive(Debug)]
pub struct Output {
    /// The command line, for messages.
    pub words: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Run {
    /// A program and its first arguments.
    pub fn new<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Self {
        let run = Self {
            words: vec![program.as_ref().to_owned()],
            command: Command::new(program),
            stdin: Vec::new(),
            limit: Duration::from_secs(120),
        };
        run.args(args)
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.command.arg(arg.as_ref());
            self.words.push(arg.as_ref().to_owned());
        }
        self
    }

    /// An environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// The working directory.
    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What it reads on standard input; nothing otherwise.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may take; two minutes otherwise.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The program and its arguments as words.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// The program and its arguments, not started.
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// Starts it on its own, with nothing to read and its output thrown away.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(mut self) -> Child {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} cannot be started: {error}", self.words))
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started or does not end in time (it is killed then).
    pub fn output(mut self) -> Output {
        let words = self.words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let begin = Instant::now();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            self.command.spawn().unwrap_or_else(|error| panic!("`{words}` cannot be started: {error}"));
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        let bytes = std::mem::take(&mut self.stdin);
        // A program that ends without reading its input is judged by what it says, not by this pipe.
        thread::spawn(move || drop(stdin.write_all(&bytes)));
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let deadline = begin + self.limit;
        let mut pause = Duration::from_micros(500);
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break Some(status);
            }
            if Instant::now() > deadline {
                drop(child.kill());
                drop(child.wait());
                break None;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        let took = begin.elapsed();
        let stdout = stdout.join().expect("the reader does not panic");
        let stderr = stderr.join().expect("the reader does not panic");
        let Some(status) = status else {
            panic!("`{words}` did not end within {:?}\n{stdout}\n{stderr}", self.limit);
        };
        Output { words, status, stdout, stderr, took }
    }

    /// Runs it and asserts that it succeeds.
    ///
    /// # Panics
    /// When it does not.
    pub fn ok(self) -> Output {
        self.output().succeeded()
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            drop(pipe.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Output {
    /// The exit code, or 128 plus the signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Itself, having succeeded.
    ///
    /// # Panics
    /// When it did not.
    pub fn succeeded(self) -> Self {
        assert!(
            self.status.success(),
            "`{}` failed with {}\n{}{}",
            self.words,
            self.code(),
            self.stdout,
            self.stderr
        );
        self
    }

    /// What it said, having failed with `code` and a remedy.
    ///
    /// # Panics
    /// When it succeeded, failed otherwise, or did not help.
    pub fn refused(self, code: i32) -> String {
        assert_eq!(self.code(), code, "`{}`\n{}{}", self.words, self.stdout, self.stderr);
        assert!(self.stderr.contains("error"), "`{}` names no error:\n{}", self.words, self.stderr);
        assert!(self.stderr.contains("help:"), "`{}` does not help:\n{}", self.words, self.stderr);
        self.stderr
    }

    /// Standard output without the last newline.
    pub fn text(&self) -> &str {
        self.stdout.trim_end_matches(['\n', '\r'])
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("`{}` prints no JSON ({error}):\n{}\n{}", self.words, self.stdout, self.stderr)
        })
    }
}
