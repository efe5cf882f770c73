//! Programs that do part of the kernel's work: nft(8), veritysetup(8).
//!
//! `std::process::Child::wait_with_output` panics where poll(2) or an ioctl(2) fails, and a pipe to a program's
//! standard input can break when it has taken half a command. So a program has its whole input in a file before it
//! starts, and of its output only one end is a pipe, which is read to its end.

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use rustix::fs::{MemfdFlags, memfd_create};

/// Looks for a program on the path, and where systems keep what only root needs.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let mut programs = dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    programs.find(|program| program.is_file())
}

/// A program that is at work. Dropping it waits for its end.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: File,
}

/// What a program did.
#[derive(Debug)]
pub(super) struct Finished {
    /// How it ended.
    pub(super) status: ExitStatus,
    /// Its standard output.
    pub(super) stdout: Vec<u8>,
    /// Its standard error.
    pub(super) stderr: String,
}

fn unnamed_file(contents: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("tenantry", MemfdFlags::CLOEXEC)?);
    file.write_all(contents)?;
    file.rewind()?;
    Ok(file)
}

impl Running {
    /// Starts a program in the C locale; it finds `input` on its standard input.
    ///
    /// # Errors
    /// Those of memfd_create(2), write(2) and posix_spawn(3). Nothing was started then.
    pub(super) fn start<S: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> io::Result<Self> {
        let stdin = match input {
            [] => Stdio::null(),
            _ => unnamed_file(input)?.into(),
        };
        let stderr = unnamed_file(&[])?;
        let mut command = Command::new(program);
        command.args(args).env("LC_ALL", "C").stdin(stdin).stdout(Stdio::piped()).stderr(stderr.try_clone()?);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        Ok(Self { child, stdout, stderr })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Those of read(2) and wait(2); it has ended then as well, unless it was the latter that failed.
    pub(super) fn finish(mut self) -> io::Result<Finished> {
        let mut stdout = Vec::new();
        let read = self.stdout.take().map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut stdout));
        let status = self.child.wait()?;
        read?;
        let mut stderr = Vec::new();
        self.stderr.rewind()?;
        self.stderr.read_to_end(&mut stderr)?;
        Ok(Finished { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What it still wants to say is heard by no process; without the pipe it cannot wait for a reader.
        self.stdout = None;
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The first line that it wrote to its standard error.
    pub(super) fn complaint(&self) -> &str {
        self.stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("no error message")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, input: &[u8]) -> Finished {
        Running::start(Path::new("/bin/sh"), ["-c", script], input).unwrap().finish().unwrap()
    }

    #[test]
    fn a_program_gets_all_input_and_all_its_output_is_read() {
        // More than a pipe holds, in every direction.
        let input = vec![b'x'; 1 << 20];
        let done = run("cat; head -c 1000000 /dev/zero >&2; exit 3", &input);
        assert_eq!((done.status.code(), done.stdout.len(), done.stderr.len()), (Some(3), 1 << 20, 1_000_000));
        assert_eq!(run("cat", &[]).stdout, b"");
        assert_eq!(run("echo >&2; echo why >&2; echo more >&2", &[]).complaint(), "why");
        Running::start(Path::new("/nonexistent"), [""; 0], &[]).unwrap_err();
    }

    #[test]
    fn one_that_is_dropped_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("end");
        let script = format!("exec > /dev/null; sleep 0.1; touch {}", file.display());
        drop(Running::start(Path::new("/bin/sh"), ["-c", &script], &[]).unwrap());
        assert!(file.exists());
    }
}
