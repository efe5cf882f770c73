//! A rollout that goes on: its record, which its loop and the requests of admins both change.

use std::sync::Arc;

use tokio::sync::{Mutex, Notify, watch};

use super::{
    record::{Record, Wanted},
    world::World,
};

/// A rollout that goes on.
#[derive(Debug)]
pub struct Active {
    /// Held while the record is changed and written.
    changing: Mutex<()>,
    shown: watch::Sender<Arc<Record>>,
    /// An admin wants something else.
    poke: Notify,
}

impl Active {
    /// One whose record is written already.
    pub fn new(record: Record) -> Arc<Self> {
        Arc::new(Self {
            changing: Mutex::default(),
            shown: watch::Sender::new(Arc::new(record)),
            poke: Notify::new(),
        })
    }

    /// The record as it was last written.
    pub fn record(&self) -> Arc<Record> {
        self.shown.borrow().clone()
    }

    /// Changes the record and writes it; one that comes out the same is not written.
    ///
    /// # Errors
    /// It cannot be written, and is what it was.
    pub async fn change<W: World, T>(
        &self,
        world: &W,
        change: impl FnOnce(&mut Record) -> T,
    ) -> Result<T, String> {
        let _changing = self.changing.lock().await;
        let before = self.record();
        let mut record = Record::clone(&before);
        let answer = change(&mut record);
        if record != *before {
            world.write(&record).await?;
            self.shown.send_replace(Arc::new(record));
        }
        Ok(answer)
    }

    /// Says what an admin wants.
    ///
    /// # Errors
    /// The record cannot be written.
    pub async fn want<W: World>(&self, world: &W, wanted: Wanted) -> Result<(), String> {
        self.change(world, |record| record.wanted = wanted).await?;
        self.poke.notify_one();
        Ok(())
    }

    /// Waits until an admin wants something else than before.
    pub async fn poked(&self) {
        self.poke.notified().await;
    }
}
