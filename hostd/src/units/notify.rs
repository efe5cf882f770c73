//! The socket that a supervisor reports to while it starts, see sd_notify(3).

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::net::UnixDatagram;

/// A datagram socket of one start; its file goes with it.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

/// Removes what starts that were cut short left in the directory; nothing starts yet.
pub(super) fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // One that stays is replaced by the next start of that tenant.
        let _ = fs::remove_file(entry.path());
    }
}

impl NotifySocket {
    /// Binds a socket in a directory that only root can enter.
    pub(super) fn bind(dir: &Path, name: &str) -> io::Result<Self> {
        if !dir.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { socket, path })
    }

    /// Its file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// recvfrom(2)'s.
    pub(super) async fn receive(&self) -> io::Result<Report> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).await?;
        Ok(Report::parse(&message[..length]))
    }
}

/// What a message of a supervisor says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// `READY=1`.
    pub(super) ready: bool,
    /// `EXTEND_TIMEOUT_USEC=`: how much longer it may take from now on.
    pub(super) extension: Option<Duration>,
}

impl Report {
    fn parse(message: &[u8]) -> Self {
        let mut report = Self::default();
        for line in String::from_utf8_lossy(message).lines() {
            if line == "READY=1" {
                report.ready = true;
            } else if let Some(micros) = line.strip_prefix("EXTEND_TIMEOUT_USEC=") {
                report.extension = micros.parse().ok().map(Duration::from_micros);
            }
        }
        report
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        // A file that is left is replaced by the next start.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_says_ready_or_asks_for_time() {
        let dir = tempfile::tempdir().unwrap();
        let socket = NotifySocket::bind(&dir.path().join("notify"), "alice").unwrap();
        let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let none = Report::default();
        let (ready, time) = (Report { ready: true, ..none }, Duration::from_secs(60));
        for (message, report) in [
            ("STATUS=booting", none),
            ("XREADY=1", none),
            ("STATUS=waits\nEXTEND_TIMEOUT_USEC=60000000", Report { extension: Some(time), ..none }),
            ("STATUS=up\nREADY=1", ready),
        ] {
            sender.send_to(message.as_bytes(), socket.path()).unwrap();
            assert_eq!(socket.receive().await.unwrap(), report, "{message}");
        }
        let path = socket.path().to_owned();
        drop(socket);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        clear(path.parent().unwrap());
        assert!(!path.exists());
    }
}
