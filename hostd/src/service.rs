//! hostd as a service of systemd: the socket it is given, its status line, its watchdog. See sd_listen_fds(3)
//! and sd_notify(3).

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use sd_notify::NotifyState;

use crate::host::Host;

/// Interval of updates of the status line.
const STATUS: Duration = Duration::from_secs(10);

/// The listening socket that systemd made for `path`; none where it made none. One whose file is not there any
/// more is of no use: no process can connect to it.
///
/// # Errors
/// What systemd passed is not a socket at that path.
pub fn listener(path: &Path) -> io::Result<Option<UnixListener>> {
    let Some(number) = sd_notify::listen_fds()?.next() else { return Ok(None) };
    // Through a descriptor of this process, because a bare number is not in use.
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let descriptor: OwnedFd = pidfd_getfd(own, number, PidfdGetfdFlags::empty())?;
    let listener = UnixListener::from(descriptor);
    let bound = listener.local_addr()?;
    if bound.as_pathname() != Some(path) {
        let bound = bound
            .as_pathname()
            .map_or("a socket without a path".to_owned(), |bound| bound.display().to_string());
        let text = format!("hostd.socket listens at {bound}, expected {}", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if !path.exists() {
        log::warn!("{} was removed; creating it again in addition to that of hostd.socket", path.display());
        return Ok(None);
    }
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

/// Tells systemd; without it no process listens.
pub fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("cannot report to the service manager: {error}");
    }
}

/// `20 tenants, 18 run`.
fn status(host: &Host) -> String {
    let records = host.store().records();
    let running = records.keys().filter(|name| host.units().is_running(name)).count();
    let plural = if records.len() == 1 { "" } else { "s" };
    format!("{} tenant{plural}, {running} running", records.len())
}

/// Keeps the status line and the watchdog of the service: for ever.
///
/// A sign of life is given only after the records could be had, by a thread of those that all requests wait
/// for.
pub async fn keep_alive(host: Arc<Host>) {
    let watchdog = sd_notify::watchdog_enabled();
    let interval = watchdog.map_or(STATUS, |limit| (limit / 2).min(STATUS));
    let mut last = String::new();
    loop {
        let of = host.clone();
        let Ok(line) = tokio::task::spawn_blocking(move || status(&of)).await else { return };
        if watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        if line != last {
            tell(&[NotifyState::Status(&line)]);
            last = line;
        }
        tokio::time::sleep(interval).await;
    }
}
