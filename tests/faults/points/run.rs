//! Which points are tried, by several workers at once, and what is said of them.

use std::{
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::{Instant, SystemTime},
};

use tenantry_tests::host;

use crate::{
    calls, copies,
    inject::{Counts, Fault, Point},
    trial::{Outcome, Trial},
    verbs::{self, Verb},
};

/// Points of all verbs together in a sample.
const SAMPLE: usize = 150;
/// Hosts on which points are tried at the same time.
const WORKERS: usize = 2;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    is_all: bool,
    only_counts: bool,
    seed: u64,
    sample: usize,
    filter: Option<String>,
}

impl Wanted {
    pub(crate) fn of(words: impl Iterator<Item = String>) -> Self {
        let today = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() / 86_400;
        let mut wanted = Self {
            is_all: std::env::var_os(host::ALL).is_some(),
            only_counts: false,
            seed: today,
            sample: SAMPLE,
            filter: None,
        };
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--all" => wanted.is_all = true,
                "--counts" => wanted.only_counts = true,
                "--seed" => wanted.seed = words.next().and_then(|word| word.parse().ok()).expect("a number"),
                "--sample" => {
                    wanted.sample = words.next().and_then(|word| word.parse().ok()).expect("a number");
                }
                // One of libtest.
                word if word.starts_with("--") => {}
                _ => wanted.filter = Some(word),
            }
        }
        wanted
    }
}

/// What came of the points of a verb.
#[derive(Debug, Default)]
struct Tally {
    points: usize,
    succeeded: usize,
    missed: usize,
    repaired: Vec<String>,
    failed: Vec<String>,
}

/// Tries the points that are wanted; fails where one does.
pub(crate) fn run(wanted: &Wanted) -> ExitCode {
    let begin = Instant::now();
    let mut points: Vec<(&Verb, Point)> = Vec::new();
    let counts = rehearse(wanted);
    for (verb, counts) in &counts {
        let of_verb = points_of(counts);
        println!("{}: {} calls, {} points", verb.name, counts.values().sum::<u32>(), of_verb.len());
        if wanted.only_counts {
            for ((role, call), count) in counts {
                println!("    {role:?} {call} {count}");
            }
        }
        points.extend(of_verb.into_iter().map(|point| (*verb, point)));
    }
    if wanted.only_counts {
        return ExitCode::SUCCESS;
    }
    if let Some(filter) = &wanted.filter {
        points.retain(|(verb, point)| format!("{}: {point}", verb.name).contains(filter.as_str()));
    }
    if !wanted.is_all && points.len() > wanted.sample {
        println!("a sample of {} of {} points, --seed {}", wanted.sample, points.len(), wanted.seed);
        points = sample(points, wanted.sample, wanted.seed);
    }
    let tallies = try_all(points);
    let mut failed = 0;
    for (name, tally) in &tallies {
        let is_well = tally.failed.is_empty();
        println!(
            "test {name} ... {}: {} points, {} of them not reached, {} verbs succeeded all the same, {} repaired",
            if is_well { "ok" } else { "FAILED" },
            tally.points,
            tally.missed,
            tally.succeeded,
            tally.repaired.len(),
        );
        for line in tally.repaired.iter().chain(&tally.failed) {
            println!("    {line}");
        }
        failed += usize::from(!is_well);
    }
    println!(
        "test result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.0}s",
        if failed == 0 { "ok" } else { "FAILED" },
        tallies.len() - failed,
        begin.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(failed > 0))
}

/// What each verb calls.
fn rehearse(wanted: &Wanted) -> Vec<(&'static Verb, Counts)> {
    let mut trial = Trial::new();
    let is_wanted = |verb: &&Verb| match wanted.filter.as_deref().and_then(|filter| filter.split_once(':')) {
        Some((name, _)) => name == verb.name,
        None => true,
    };
    verbs::TABLE
        .iter()
        .chain(copies::TABLE)
        .filter(is_wanted)
        .map(|verb| (verb, trial.rehearse(verb)))
        .collect()
}

fn points_of(counts: &Counts) -> Vec<Point> {
    let errors: BTreeMap<_, _> = calls::all().collect();
    let mut points = Vec::new();
    for ((role, call), count) in counts {
        let errors = errors.get(call).copied().unwrap_or_default();
        for number in 1..=*count {
            let faults = errors.iter().map(|errno| Fault::Error(*errno)).chain([Fault::Kill]);
            points.extend(faults.map(|fault| Point { role: role.clone(), call: *call, number, fault }));
        }
    }
    points
}

/// Some of them, spread over all, by xorshift.
fn sample<T>(points: Vec<T>, count: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut keyed: Vec<(u64, T)> = points
        .into_iter()
        .map(|point| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state, point)
        })
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().take(count).map(|(_, point)| point).collect()
}

/// Tries points on several hosts; a host on which one failed is given up.
fn try_all(points: Vec<(&'static Verb, Point)>) -> BTreeMap<&'static str, Tally> {
    let tallies = Mutex::new(BTreeMap::<&'static str, Tally>::new());
    let all = points.len();
    let waiting = Mutex::new(points.into_iter().enumerate());
    let begin = Instant::now();
    // A failure is told with its point, once.
    panic::set_hook(Box::new(|_| ()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut stage: Option<(Trial, &str)> = None;
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((number, (verb, point))) = next else { break };
                    if number % 500 == 499 {
                        println!(
                            "{} of {all} points after {:.0} s",
                            number + 1,
                            begin.elapsed().as_secs_f64()
                        );
                    }
                    let tried = panic::catch_unwind(AssertUnwindSafe(|| {
                        let (trial, last) = stage.get_or_insert_with(|| (Trial::new(), ""));
                        if *last != verb.name {
                            trial.rehearse(verb);
                            *last = verb.name;
                        }
                        trial.try_point(verb, &point)
                    }));
                    let tried = tried.unwrap_or_else(|panic| Err(message(&*panic)));
                    if tried.is_err() {
                        let failed = stage.take();
                        let _also_failed = panic::catch_unwind(AssertUnwindSafe(|| {
                            failed.into_iter().for_each(|(trial, _)| trial.give_up());
                        }));
                    }
                    let mut tallies = tallies.lock().unwrap_or_else(PoisonError::into_inner);
                    tallies.entry(verb.name).or_default().note(&format!("{}: {point}", verb.name), tried);
                }
            });
        }
    });
    drop(panic::take_hook());
    tallies.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    fn note(&mut self, name: &str, tried: Result<Outcome, String>) {
        self.points += 1;
        match tried {
            Ok(outcome) => {
                self.missed += usize::from(outcome.was_missed);
                self.succeeded += usize::from(outcome.succeeded && !outcome.was_missed);
                if !outcome.repaired.is_empty() {
                    self.repaired.push(format!("{name}: doctor repaired {}", outcome.repaired.join("; ")));
                }
            }
            Err(fault) => {
                println!("FAILED {name}: {fault}");
                self.failed.push(format!("{name}: {fault}"));
            }
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
