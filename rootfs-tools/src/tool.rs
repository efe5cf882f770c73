//! The Debian tools this crate runs: looked up in `$PATH`, named with their package when missing, and quoted when they fail.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{self, BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use crate::explain::{Explain, Outcome};

/// A program and the Debian package that contains it.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Name in `$PATH`.
    pub program: &'static str,
    /// Debian package.
    pub package: &'static str,
    /// Whether it runs in a mount and a UTS namespace of its own. Its mounts are invisible to the host and vanish
    /// with its last process, however that ends. The host name is `localhost` there, because packages record it
    /// during installation.
    pub is_private: bool,
}

/// mmdebstrap(1) copies `/etc/hostname` into the tree.
const WITH_LOCALHOST: &str = r#"
echo localhost > /proc/sys/kernel/hostname
if [ -f /etc/hostname ]; then
    name=$(mktemp)
    echo localhost > "$name"
    mount --bind "$name" /etc/hostname
    rm "$name"
fi
exec "$@"
"#;

/// mmdebstrap(1).
pub const MMDEBSTRAP: Tool = Tool { program: "mmdebstrap", package: "mmdebstrap", is_private: true };
/// mkfs.erofs(1).
pub const MKFS_EROFS: Tool = Tool { program: "mkfs.erofs", package: "erofs-utils", is_private: false };
/// A statically linked busybox.
pub const BUSYBOX: Tool = Tool { program: "busybox", package: "busybox-static", is_private: false };
/// veritysetup(8).
pub const VERITYSETUP: Tool = Tool { program: "veritysetup", package: "cryptsetup-bin", is_private: false };
/// ssh-keygen(1).
pub const SSH_KEYGEN: Tool = Tool { program: "ssh-keygen", package: "openssh-client", is_private: false };
/// skopeo(1).
pub const SKOPEO: Tool = Tool { program: "skopeo", package: "skopeo", is_private: false };
/// cp(1) of coreutils.
pub const CP: Tool = Tool { program: "cp", package: "coreutils", is_private: false };
/// All of them.
pub const ALL: [Tool; 7] = [MMDEBSTRAP, MKFS_EROFS, BUSYBOX, VERITYSETUP, SSH_KEYGEN, SKOPEO, CP];

/// A tool that failed.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("program {0:?} is not installed")]
    Missing(&'static str, &'static str),
    /// It could not be started.
    #[error("cannot run {program:?}")]
    Start {
        /// The program.
        program: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{program} failed ({status}){}", said(output))]
    Failed {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines it printed.
        output: Vec<String>,
    },
}

/// The lines that apt and mmdebstrap mark as errors, or else all that are kept.
fn said(output: &[String]) -> String {
    let marked: Vec<_> = output.iter().filter(|line| line.starts_with("E: ")).map(String::as_str).collect();
    let lines = if marked.is_empty() { output.iter().map(String::as_str).collect() } else { marked };
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join(" | ")) }
}

impl Explain for ToolError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Missing(_, package) => Some(format!("apt install {package}")),
            Self::Failed { output, .. } if output.iter().any(|line| line.contains("No space left")) => {
                Some("free some space (rootfsctl gc), or use --root DIR on another disk".to_owned())
            }
            Self::Start { .. } | Self::Failed { .. } => None,
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

impl Tool {
    /// The path of the program, looked up in `$PATH` and the administrator's directories.
    ///
    /// # Errors
    /// [`ToolError::Missing`].
    pub fn find(self) -> Result<PathBuf, ToolError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs =
            std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
        dirs.map(|dir| dir.join(self.program))
            .find(|file| file.is_file())
            .ok_or(ToolError::Missing(self.program, self.package))
    }

    fn command(self) -> Result<Command, ToolError> {
        let program = self.find()?;
        if !self.is_private {
            return Ok(Command::new(program));
        }
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--uts",
            "--propagation",
            "private",
            "--",
            "sh",
            "-ec",
            WITH_LOCALHOST,
            "sh",
        ]);
        command.arg(program);
        Ok(command)
    }

    /// Runs the program and calls `line` for each line it prints, escapes and control characters taken
    /// out. Its standard input is empty.
    ///
    /// # Errors
    /// [`ToolError`]; a failure quotes the last lines.
    pub fn run<A: AsRef<OsStr>>(
        self,
        args: impl IntoIterator<Item = A>,
        mut line: impl FnMut(&str),
    ) -> Result<(), ToolError> {
        let start = |source| ToolError::Start { program: self.program, source };
        let (reader, writer) = io::pipe().map_err(start)?;
        let mut child = self
            .command()?
            .args(args)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(start)?)
            .stderr(writer)
            .spawn()
            .map_err(start)?;
        let mut last = VecDeque::new();
        for text in BufReader::new(reader).split(b'\n') {
            let text: String = String::from_utf8_lossy(&text.map_err(start)?)
                .chars()
                .filter(|c| !c.is_control())
                .take(400)
                .collect();
            if text.trim().is_empty() {
                continue;
            }
            line(&text);
            last.push_back(text);
            if last.len() > 8 {
                last.pop_front();
            }
        }
        let status = child.wait().map_err(start)?;
        if status.success() {
            return Ok(());
        }
        Err(ToolError::Failed { program: self.program, status, output: last.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_names_its_package() {
        let error =
            Tool { program: "no-such-tool", package: "some-package", is_private: false }.find().unwrap_err();
        assert_eq!(error.help().unwrap(), "apt install some-package");
    }

    #[test]
    fn a_failure_quotes_the_last_lines() {
        let tool = Tool { program: "sh", package: "dash", is_private: false };
        let error = tool.run(["-c", "echo one; printf 'two\\033[0m\\n' >&2; exit 3"], |_| {}).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("one | two[0m") && text.contains("exit status: 3"), "{text}");
    }
}
