//! A process that waits until a tenant is up, or down.

use std::time::Duration;

use tenant::TenantName;
use wire::{Code, Failure, TenantState};

use super::{Host, Result};

/// How often `wait` looks at a tenant that nothing is told of.
const LOOK: Duration = Duration::from_secs(1);
/// How often where its files cannot be watched.
const LOOK_UNWATCHED: Duration = Duration::from_millis(100);

impl Host {
    /// Waits until a tenant is up, or until it is down.
    ///
    /// # Errors
    /// [`Code::Timeout`]; [`Code::NotRunning`] when it went down while it was waited for to be up.
    pub async fn wait(&self, name: &TenantName, up: bool, patience: Duration) -> Result<TenantState> {
        let deadline = tokio::time::Instant::now() + patience;
        // Before the first look: whatever happens after that is told.
        let mut changes = self.changes.subscribe(name);
        let look = if changes.is_watched { LOOK } else { LOOK_UNWATCHED };
        let mut was_up = false;
        loop {
            #[cfg(test)]
            self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let record = self.store.record(name)?.state;
            let (state, _) = self.state(name, record);
            match (up, state) {
                (true, TenantState::Running | TenantState::Parked | TenantState::Frozen) => return Ok(state),
                (false, state) if !state.is_up() => return Ok(state),
                (true, state) if was_up && !state.is_up() => {
                    let text = format!("tenant {:?} stopped unexpectedly", name.as_str());
                    return Err(Failure {
                        console: crate::units::last_console_lines(self.layout(), name, 20),
                        ..Failure::new(Code::NotRunning, text)
                    });
                }
                _ => was_up = was_up || state.is_up(),
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => {
                    let wanted = if up { "up" } else { "down" };
                    let text =
                        format!("tenant {:?} is still not {wanted} after {} s", name.as_str(), patience.as_secs());
                    return Err(Failure::new(Code::Timeout, text));
                }
                () = changes.changed() => {}
                () = self.units.ended(name) => {}
                // An event may be lost; the wait must not.
                () = tokio::time::sleep(look) => {}
            }
        }
    }
}
