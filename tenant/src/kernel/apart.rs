//! Work in other namespaces, from which none has to come back.

use std::{io, thread};

/// Does something on a thread that ends with it. Whatever namespace it has entered it takes along, and nothing else of
/// this process is ever done in there.
///
/// # Errors
/// There can be no thread more, or it was cut short.
pub(super) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let done = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, work)?;
        Ok::<_, io::Error>(thread.join())
    })?;
    done.map_err(|_| io::Error::other("its thread panicked"))
}
