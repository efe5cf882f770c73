//! Every call of the kernel that a verb makes fails once, and each process is killed before each of its calls.
//!
//! The programs under test run behind a filter that hands their calls to this one (`tests/src/handed.rs`), which counts them and
//! makes one fail (`inject.rs`). Whatever happens, the verb succeeds or says clearly why not, the next one works,
//! nothing is left behind, and the neighbour is not booted again (`trial.rs`).
//!
//! `points [--all] [FILTER]`: a sample of the points, or all of them; those whose name holds the filter. A point's name
//! is `VERB: PROGRAM CALL NUMBER FAULT`.

mod calls;
mod copies;
mod inject;
mod run;
mod site;
mod trial;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some(inject::LAUNCH) => inject::launch(words),
        first => run::run(&run::Wanted::of(first.map(str::to_owned).into_iter().chain(words))),
    }
}
