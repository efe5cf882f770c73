//! Work on many things of a kind, on all processors.

use std::{num::NonZero, panic, thread};

/// Fewer are done sooner than another thread begins.
const LEAST: usize = 64;

/// Works on parts of something that lie one after the other, one for each processor; the results, in order. It blocks.
pub(crate) fn in_parts<I: Sync, T: Send>(all: &[I], work: impl Fn(&[I]) -> T + Sync) -> Vec<T> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let size = all.len().div_ceil(processors).max(LEAST);
    let work = &work;
    thread::scope(|scope| {
        let mut parts = all.chunks(size);
        let own = parts.next();
        // Where there can be no thread, it is done here.
        let others: Vec<_> = parts
            .map(|part| (part, thread::Builder::new().spawn_scoped(scope, move || work(part)).ok()))
            .collect();
        let mut done: Vec<T> = own.map(work).into_iter().collect();
        done.extend(others.into_iter().map(|(part, other)| match other {
            Some(other) => other.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
            None => work(part),
        }));
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_worked_on_once_and_the_results_are_in_order() {
        for count in [0, 1, LEAST, 10 * LEAST + 1] {
            let all: Vec<usize> = (0..count).collect();
            let doubled = in_parts(&all, |part| part.iter().map(|number| 2 * number).collect::<Vec<_>>());
            assert_eq!(doubled.concat(), all.iter().map(|number| 2 * number).collect::<Vec<_>>());
        }
    }
}
