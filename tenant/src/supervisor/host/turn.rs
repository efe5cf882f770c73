//! A tenant that waits for its turn to boot.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    notify::extension,
    queue::{Decision, Pressure, QueueState, STALE, Turn, decide, look},
};
use crate::{
    config,
    supervisor::{error::RunError, process::Supervisor, run::events::Woken},
};

/// How often the unit manager hears of a wait, and how long it may then take until it hears again.
const TELL: Duration = Duration::from_secs(5);
const EXTENSION: Duration = Duration::from_secs(60);
/// hostd waits no longer than this for one that it started itself.
const LONGEST_WAIT_STANDALONE: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Waits until it is this tenant's turn to boot. False when it is to be stopped instead. What goes wrong
    /// with the queue keeps no tenant from booting.
    pub(in crate::supervisor) fn take_turn(&mut self) -> Result<bool, RunError> {
        let dir = self.layout.turns();
        // A file that makes no sense is told of when it is planned.
        let priority = match &self.sources {
            Some(sources) => sources.start_priority(),
            None => config::defaults().start_priority.unwrap_or_default(),
        };
        let turn = match Turn::queue(&dir, &self.name, priority) {
            Ok(turn) => turn,
            Err(error) => return Ok(self.boot_out_of_turn(&error)),
        };
        self.wait_for_turn(&dir, turn)
    }

    fn boot_out_of_turn(&self, error: &io::Error) -> bool {
        log::warn!("cannot use the boot queue, so tenant {:?} boots at once: {error}", self.name.as_str());
        true
    }

    fn wait_for_turn(&mut self, dir: &Path, mut turn: Turn) -> Result<bool, RunError> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let (began, mut told, mut last) = (Instant::now(), None::<Instant>, None::<Pressure>);
        loop {
            let now = Instant::now();
            let (booting, before) = match look(dir, &turn.path) {
                Ok(found) => found,
                Err(error) => return Ok(self.boot_out_of_turn(&error)),
            };
            // The pressure matters to the first one only.
            let measured = (before == 0 && booting >= cpus).then(Pressure::now).flatten();
            let known = last.filter(|last| now - last.at < STALE);
            let pressure = measured.map(|now| known.map_or(1.0, |last| now.since(&last)));
            last = measured;
            let patience_is_over = self.is_standalone && now - began > LONGEST_WAIT_STANDALONE;
            match decide(QueueState { cpus, booting, before, pressure }) {
                Decision::Wait(again) if !patience_is_over => {
                    if told.is_none_or(|told| now - told >= TELL) {
                        told = Some(now);
                        let ahead = booting + before;
                        self.manager.tell(&format!(
                            "STATUS=Waiting to boot: {ahead} tenants ahead\n{}",
                            extension(EXTENSION)
                        ));
                        let reason =
                            format!("tenant {} is waiting to boot: {ahead} tenants ahead", self.name);
                        self.consoles.wait_for_turn(reason);
                    }
                    if self.pause(None, now + again)? == Woken::Stop {
                        return Ok(false);
                    }
                }
                Decision::Go | Decision::Wait(_) => {
                    match turn.begin() {
                        Ok(()) => self.turn = Some(turn),
                        Err(error) => {
                            log::warn!("cannot mark this tenant as booting in the boot queue: {error}")
                        }
                    }
                    return Ok(true);
                }
            }
        }
    }
}
