//! Commands that hostd runs inside a tenant. Each may be dropped before it is answered: it is ended then.

use std::{process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tenant::Layout;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::oneshot,
    time::timeout,
};

/// How long a command that is asked to end may take until it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How much of an output is kept, bytes.
const OUTPUT: u64 = 64 << 10;
/// Most that a command may print, bytes.
const MOST: u64 = 1 << 20;
/// Longest part of an output that a reason has, characters.
const SHOWN: usize = 160;

/// Reads an output to its end, and keeps the beginning.
async fn all(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    if let Some(mut stream) = stream {
        // What was read before a failure counts.
        let _ = (&mut stream).take(OUTPUT).read_to_end(&mut text).await;
        let rest = tokio::io::copy(&mut stream.take(MOST), &mut tokio::io::sink()).await;
        if rest.is_ok_and(|rest| rest == MOST) {
            return Err(format!("it prints more than {} MiB", MOST >> 20));
        }
    }
    Ok(text)
}

/// A client of a command inside, which takes that with it when it is asked to end: at the latest when hostd ends.
struct Client(Child);

impl Client {
    fn ask_to_end(&self) {
        // None of one that has been waited for, whose number may be another's by then.
        if let Some(pid) = self.0.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// Ends it: by a request, and where that is not heard, at once.
    async fn end(&mut self) {
        self.ask_to_end();
        if timeout(GRACE, self.0.wait()).await.is_err() {
            let _ = self.0.kill().await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.ask_to_end();
    }
}

/// Runs a command inside; its output where it ends with 0, else why not.
pub(super) async fn exec(layout: &Layout, name: &str, command: &[&str]) -> Result<Vec<u8>, String> {
    exec_with(layout, name, command, Stdio::null()).await
}

/// [`exec`] of a command that reads something.
pub(super) async fn exec_with(
    layout: &Layout,
    name: &str,
    command: &[&str],
    stdin: Stdio,
) -> Result<Vec<u8>, String> {
    let inside = wire::programs::inside(layout, name).map_err(|error| error.to_string())?;
    let child = Command::from(inside)
        .args(command)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start a command inside: {error}"))?;
    let mut client = Client(child);
    // Dropped with this future.
    let (_asks, asks_no_more) = oneshot::channel::<()>();
    let asking = tokio::spawn(async move {
        tokio::select! {
            answer = answer(&mut client.0) => {
                if answer.is_err() {
                    client.end().await;
                }
                answer
            }
            _ = asks_no_more => {
                client.end().await;
                Err("it was ended".to_owned())
            }
        }
    });
    asking.await.map_err(|error| format!("cannot wait for a command inside: {error}"))?
}

/// Waits for a client of a command inside.
async fn answer(child: &mut Child) -> Result<Vec<u8>, String> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::try_join!(all(stdout), all(stderr))?;
    let status = child.wait().await;
    let status = status.map_err(|error| format!("cannot wait for a command inside: {error}"))?;
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(if stderr.is_empty() { &stdout } else { &stderr });
    let said = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let said: String = said.chars().filter(|char| !char.is_control()).take(SHOWN).collect();
    let code = status.code().map_or("was killed".to_owned(), |code| format!("ended with {code}"));
    Err(if said.is_empty() { format!("it {code}") } else { format!("it {code}: {said}") })
}
