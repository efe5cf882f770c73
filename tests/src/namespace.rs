//! Network namespaces: those of hosts and tenants, and others that stand for machines elsewhere.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
};

use crate::Run;

/// The network namespace of a process.
#[derive(Clone, Debug)]
pub struct Namespace {
    pid: u32,
}

impl Namespace {
    /// That of a process.
    ///
    /// # Panics
    /// When it is no process id.
    pub fn of(pid: i32) -> Self {
        Self { pid: u32::try_from(pid).expect("a process id") }
    }

    /// The process it is named after, for `ip link set … netns PID`.
    pub fn pid(&self) -> String {
        self.pid.to_string()
    }

    /// Where it is in the file system.
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid)
    }

    /// A program in it, with all else of this one.
    pub fn run(&self, program: &str, args: &[&str]) -> Run {
        Run::new("nsenter", [&format!("--net={}", self.path()), "--", program]).args(args)
    }

    /// Does something in it, on a thread of its own.
    ///
    /// # Panics
    /// When it cannot be entered, or `act` panics.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let file = fs::File::open(self.path()).expect("the namespace is there");
        thread::scope(|scope| {
            let enter = scope.spawn(|| {
                nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("it can be entered");
                act()
            });
            enter.join().expect("nothing panics inside")
        })
    }

    /// A shell script in it, which stops at the first command that fails.
    pub fn shell(&self, script: &str) -> Run {
        self.run("sh", &["-ec", script])
    }
}

/// A process in namespaces of its own, until it is dropped; it ends with the one that made it, too.
#[derive(Debug)]
pub struct Elsewhere {
    holder: Child,
}

impl Elsewhere {
    /// In a new network namespace, its loopback up.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        Self::with(&["--net"], "ip link set lo up")
    }

    /// In a new mount namespace, which a shell script makes ready.
    ///
    /// # Panics
    /// When it cannot be made, or the script fails.
    pub fn with_mounts(script: &str) -> Self {
        Self::with(&["--mount", "--propagation", "private"], script)
    }

    fn with(namespaces: &[&str], script: &str) -> Self {
        let mut holder = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-ec", &format!("{script}\necho up; exec cat")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare(1) can be run");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("the namespace says that it is up");
        assert_eq!(line.trim(), "up", "the namespace did not come up");
        Self { holder }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.holder.id()
    }

    /// Its network namespace.
    pub fn network(&self) -> Namespace {
        Namespace { pid: self.id() }
    }
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
