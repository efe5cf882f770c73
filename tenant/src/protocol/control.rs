//! `control.sock`: one line of JSON asks, one line of JSON answers, and the connection closes.
//!
//! ```text
//! {"op":"status"}                       {"ok":true,"status":{"state":{…},"frozen":false,"viewers":0}}
//! {"op":"stop"}  {"op":"reboot"}        {"ok":true}      asked for; state.json tells how it goes
//! {"op":"stop","timeout_sec":5}         {"ok":true}      killed after 5 s; a shorter limit prevails over a longer one
//! {"op":"kill"}                         {"ok":true}
//! {"op":"freeze"}  {"op":"thaw"}        {"ok":true}      done
//! {"op":"park"}                         {"ok":true}      done
//! {"op":"wake","why":"exec"}            {"ok":true}      its processes go on
//! {"op":"console_tail","tty":0,"lines":20}   {"ok":true,"lines":["…"]}
//! {"op":"plan"}                         {"ok":true,"plan":{"text":"…","plan":{…}}}
//! {"op":"swap","image":"debian","digest":"sha256:…"}   {"ok":true,"swapped":{"directories":["/usr"],"rest":["/etc"],"took_us":900}}
//!                                       {"ok":false,"error":"…","help":"…"}
//! ```

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use rustix::net::sockopt::socket_peercred;
use serde::{Deserialize, Serialize};

use super::{
    socket,
    wire::{self, MAX_LINE, Tty},
};
use crate::{
    files::state::{ProcessRef, RunState},
    model::{ids::Digest, image::ImageName, park::WakeReason},
};

/// What can be asked of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How it is.
    Status {},
    /// End, as by SIGTERM to the supervisor. A frozen tenant is thawed first.
    Stop {
        /// Seconds until it is killed; the `stop_timeout_sec` of its file if absent. Where it has been asked to end
        /// before, a sooner end prevails over a later one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_sec: Option<u32>,
    },
    /// End now.
    Kill {},
    /// End and start again, with the same console.
    Reboot {},
    /// Stop all processes where they are.
    Freeze {},
    /// Let them go on.
    Thaw {},
    /// Stop all processes until it is needed. One that is parked stays so.
    Park {},
    /// Let it go on if it is parked; in any case it is not idle now.
    Wake {
        /// What for.
        why: WakeReason,
    },
    /// The last lines of a console, escaped.
    ConsoleTail {
        /// Which.
        tty: Tty,
        /// How many, at most 1000.
        lines: u16,
    },
    /// The plan that the tenant was started with.
    Plan {},
    /// Put another version of its image beneath what is running. Done again, it does nothing.
    Swap {
        /// The image.
        image: ImageName,
        /// The version.
        digest: Digest,
    },
}

/// How a tenant is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What `state.json` says.
    pub state: RunState,
    /// Whether its processes are frozen.
    pub frozen: bool,
    /// How many viewers its consoles have.
    pub viewers: usize,
}

/// What a supervisor answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Whether a restart would do what was not done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_restart: bool,
    /// Answer to a status request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
    /// Answer to a request for console lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Vec<String>>,
    /// Answer to a request for the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<StartedPlan>>,
    /// Answer to a swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swapped: Option<Box<Swapped>>,
}

/// What a swap has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// The directories that show the version now.
    pub directories: Vec<String>,
    /// What shows it only from the next start on, one directory or setting each.
    pub rest: Vec<String>,
    /// The work alone, microseconds.
    pub took_us: u64,
}

/// The plan that a tenant was started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedPlan {
    /// One step a line.
    pub text: String,
    /// The same as data.
    pub plan: serde_json::Value,
}

impl Reply {
    /// It was done.
    pub fn done() -> Self {
        Self { ok: true, ..Self::default() }
    }

    /// It was not done.
    pub fn refused(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self { error: Some(error.into()), help: Some(help.into()), ..Self::default() }
    }
}

/// Why a request got no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No process serves the socket.
    #[error("no supervisor is running")]
    NotRunning,
    /// The one that was to be asked has ended; another one may serve the socket now.
    #[error("its supervisor, process {0}, has ended")]
    Ended(i32),
    /// It does not answer.
    #[error("the supervisor does not answer")]
    Io(#[source] io::Error),
    /// It answers nonsense.
    #[error("the supervisor sent a malformed answer: {0}")]
    Malformed(String),
    /// It refused.
    #[error("{error}")]
    Refused {
        /// Why.
        error: String,
        /// The remedy.
        help: Option<String>,
        /// Whether a restart would do it.
        needs_restart: bool,
    },
}

/// The asking side: synchronous, with deadlines.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to a tenant's [`crate::Layout::control_socket`]. `timeout` bounds each step of the
    /// conversation; a freeze may take the supervisor 5 seconds.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`] when no process is there.
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self, ControlError> {
        let stream = socket::connect(socket).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning,
            _ => ControlError::Io(error),
        })?;
        let limit = |stream: &UnixStream| {
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))
        };
        limit(&stream).map_err(ControlError::Io)?;
        Ok(Self { stream })
    }

    /// [`Self::connect`] to this very supervisor: who serves the socket by now may be the next one of the same tenant,
    /// for which nothing was meant.
    ///
    /// # Errors
    /// [`ControlError::Ended`] when another process is there, [`ControlError::NotRunning`] when no process is.
    pub fn connect_to(
        socket: &Path,
        supervisor: ProcessRef,
        timeout: Duration,
    ) -> Result<Self, ControlError> {
        let client = Self::connect(socket, timeout)?;
        // Of the process that called listen(2), see unix(7). Its number alone could be another one's by now.
        let peer = socket_peercred(&client.stream).map_err(|error| ControlError::Io(error.into()))?;
        match ProcessRef::of(peer.pid.as_raw_nonzero().get()) {
            Ok(peer) if peer == supervisor => Ok(client),
            _ => Err(ControlError::Ended(supervisor.pid)),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn ask(mut self, request: Request) -> Result<Reply, ControlError> {
        self.stream.write_all(&wire::line(&request)).map_err(ControlError::Io)?;
        let mut line = Vec::new();
        let mut reader = BufReader::new(self.stream).take(4 * MAX_LINE as u64);
        reader.read_until(b'\n', &mut line).map_err(ControlError::Io)?;
        if line.is_empty() {
            return Err(ControlError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let reply: Reply = wire::parse(&line).map_err(ControlError::Malformed)?;
        match reply {
            Reply { ok: true, .. } => Ok(reply),
            Reply { error, help, needs_restart, .. } => {
                Err(ControlError::Refused { error: error.unwrap_or_default(), help, needs_restart })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_form_of_the_documentation() {
        for (text, request) in [
            ("{\"op\":\"status\"}", Request::Status {}),
            ("{\"op\":\"reboot\"}", Request::Reboot {}),
            ("{\"op\":\"park\"}", Request::Park {}),
            ("{\"op\":\"wake\",\"why\":\"exec\"}", Request::Wake { why: WakeReason::Exec }),
            ("{\"op\":\"stop\"}", Request::Stop { timeout_sec: None }),
            ("{\"op\":\"stop\",\"timeout_sec\":5}", Request::Stop { timeout_sec: Some(5) }),
            (
                "{\"op\":\"console_tail\",\"tty\":0,\"lines\":20}",
                Request::ConsoleTail { tty: Tty::CONSOLE, lines: 20 },
            ),
            ("{\"op\":\"plan\"}", Request::Plan {}),
            (
                &format!("{{\"op\":\"swap\",\"image\":\"debian\",\"digest\":\"sha256:{}\"}}", "0".repeat(64)),
                Request::Swap {
                    image: "debian".parse().unwrap(),
                    digest: crate::model::ids::Digest::from_bytes([0; 32]),
                },
            ),
        ] {
            assert_eq!(wire::parse::<Request>(text.as_bytes()), Ok(request.clone()));
            assert_eq!(wire::line(&request), format!("{text}\n").into_bytes());
        }
        assert!(wire::parse::<Request>(b"{\"op\":\"stop\",\"now\":true}").is_err());
        assert!(wire::parse::<Request>(b"{\"op\":\"explode\"}").is_err());
        assert_eq!(wire::line(&Reply::done()), b"{\"ok\":true}\n");
    }

    #[test]
    fn one_supervisor_is_not_taken_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let timeout = Duration::from_secs(10);
        let me = ProcessRef::of(std::process::id() as i32).unwrap();
        let nobody = Client::connect_to(&path, me, timeout).unwrap_err();
        assert!(matches!(nobody, ControlError::NotRunning), "{nobody}");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        Client::connect_to(&path, me, timeout).unwrap();
        drop(listener.accept().unwrap());
        // Of the same number, but an earlier one; and one that has another.
        let earlier = ProcessRef { start_ticks: me.start_ticks - 1, ..me };
        let other = ProcessRef { pid: 1, start_ticks: 0 };
        for other in [earlier, other] {
            let error = Client::connect_to(&path, other, timeout).unwrap_err();
            assert!(matches!(error, ControlError::Ended(pid) if pid == other.pid), "{error}");
            let mut heard = String::new();
            listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "", "it is asked for nothing");
        }
    }
}
