//! Locks whose holders leave nothing half done.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves a whole value behind at each of its steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
