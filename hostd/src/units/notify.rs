//! The socket that a supervisor reports to while it starts, see sd_notify(3).

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
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

    /// Waits for `READY=1`.
    pub(super) async fn ready(&self) -> io::Result<()> {
        let mut message = [0; 4096];
        loop {
            let length = self.socket.recv(&mut message).await?;
            if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return Ok(());
            }
        }
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
    async fn only_ready_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let socket = NotifySocket::bind(&dir.path().join("notify"), "alice").unwrap();
        let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
        for message in ["STATUS=booting", "XREADY=1", "STATUS=up\nREADY=1"] {
            sender.send_to(message.as_bytes(), socket.path()).unwrap();
        }
        socket.ready().await.unwrap();
        let path = socket.path().to_owned();
        drop(socket);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        clear(path.parent().unwrap());
        assert!(!path.exists());
    }
}
