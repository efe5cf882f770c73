//! Asking hostd to carry a file that was edited by hand to the tenant's unit and directories, before the
//! tenant boots with it: `POST /v1/tenants/NAME/prepare`, see [`crate::files::applied`].
//!
//! A host whose hostd does not answer starts its tenants all the same.

use std::{
    io::{self, Read as _, Write as _},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    files::applied::AppliedConfig,
    model::name::TenantName,
    protocol::{escape::one_line, socket},
    supervisor::{error::RunError, process::Supervisor, run::events::Woken},
};

/// How long hostd may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer, bytes.
const MAX_ANSWER: usize = 64 << 10;
/// Longest message of hostd that is passed on, bytes.
const MAX_MESSAGE: usize = 1024;

/// What hostd said.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It is done.
    Done,
    /// It cannot be done.
    Refused { message: String, help: Option<String> },
    /// Nothing that can be understood, or not by this hostd.
    Other(String),
}

#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
    #[serde(default)]
    help: Option<String>,
}

fn request(name: &TenantName) -> String {
    format!(
        "POST /v1/tenants/{name}/prepare HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    )
}

/// Reads a whole answer of HTTP/1.1, see RFC 9112.
fn parse(answer: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let first = head.lines().next().unwrap_or_default();
    let status: u16 = first.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    if (200..300).contains(&status) {
        return Answer::Done;
    }
    let bounded = |text: &str| one_line(text, MAX_MESSAGE);
    // A hostd that does not know this tenant, or this request, has nothing to carry.
    match serde_json::from_str::<Refusal>(body) {
        Ok(refusal) if status != 404 && status != 405 => {
            Answer::Refused { message: bounded(&refusal.message), help: refusal.help.as_deref().map(bounded) }
        }
        Ok(refusal) => Answer::Other(bounded(&refusal.message)),
        Err(_) => Answer::Other(bounded(first)),
    }
}

impl Supervisor {
    /// Has hostd carry the tenant's file if that is another one than was carried last. Returns early when the
    /// tenant is to be stopped.
    ///
    /// # Errors
    /// [`RunError::Unprepared`]: hostd answers that it cannot be done.
    pub(in crate::supervisor) fn prepare(&mut self) -> Result<(), RunError> {
        // A file that cannot be read is told of when it is planned.
        let Some(sources) = &self.sources else { return Ok(()) };
        let applied = AppliedConfig::read(&self.layout.applied_config(&self.name)).ok().flatten();
        if applied.is_some_and(|applied| applied.is_of(sources.text())) {
            return Ok(());
        }
        self.manager.tell("STATUS=Waiting for hostd: the tenant's file was edited");
        match self.ask_hostd() {
            Ok(Some(Answer::Refused { message, help })) => Err(RunError::Unprepared { message, help }),
            Ok(Some(Answer::Done) | None) => Ok(()),
            Ok(Some(Answer::Other(said))) => {
                log::warn!("tenant {:?}: hostd did not apply the edited file: {said}", self.name.as_str());
                Ok(())
            }
            Err(error) => {
                log::warn!("tenant {:?}: hostd did not apply the edited file: {error}", self.name.as_str());
                Ok(())
            }
        }
    }

    /// None when the tenant is to be stopped.
    fn ask_hostd(&mut self) -> io::Result<Option<Answer>> {
        let deadline = Instant::now() + PATIENCE;
        let mut stream = socket::connect(&self.layout.hostd_socket())?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(request(&self.name).as_bytes())?;
        stream.set_nonblocking(true)?;
        let (mut answer, mut part) = (Vec::new(), [0; 4096]);
        loop {
            match stream.read(&mut part) {
                Ok(0) => return Ok(Some(parse(&answer))),
                Ok(length) if answer.len() + length > MAX_ANSWER => {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                Ok(length) => answer.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.pause(Some(stream.as_fd()), deadline).map_err(io::Error::other)? {
                        Woken::Stop => return Ok(None),
                        Woken::Ready => {}
                        Woken::Due => return Err(io::ErrorKind::TimedOut.into()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_done_refused_or_no_answer() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), Answer::Done);
        assert_eq!(
            parse(
                b"HTTP/1.1 422 X\r\n\r\n{\"code\":\"limit\",\"message\":\"no io\\u001b[m\",\"help\":\"h\"}"
            ),
            Answer::Refused { message: "no io[m".to_owned(), help: Some("h".to_owned()) }
        );
        for other in [
            "HTTP/1.1 404 Not Found\r\n\r\n{\"code\":\"not-found\",\"message\":\"no such tenant\"}",
            "HTTP/1.1 405 Method Not Allowed\r\n\r\n",
            "HTTP/1.1 500 X\r\n\r\n<html>",
            "",
        ] {
            assert!(matches!(parse(other.as_bytes()), Answer::Other(_)), "{other}");
        }
    }
}
