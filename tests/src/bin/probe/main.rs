//! Looks around inside a tenant and prints what it sees as one JSON object.
//!
//! `probe TOPIC…` reports the topics of [`see::TOPICS`]; `probe all` reports all of them. The verbs of
//! [`VERBS`] do something until they are ended. Built without any shared library, so that it runs in
//! every image.

mod act;
mod attack;
mod call;
mod frames;
mod mounts;
mod pulse;
mod see;
mod spy;
mod sysctl;
mod traffic;
mod walk;
mod words;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde_json::Value;
use words::number;

/// What can be done: the name, its arguments, how it is done.
const VERBS: &[(&str, &[&str], Act)] = &[
    ("lock", &["FILE"], |args| act::lock(&args[0])),
    ("try-lock", &["FILE"], |args| act::try_lock(&args[0])),
    ("watch", &["FILE"], |args| act::watch(&args[0])),
    ("eat", &["MIB"], |args| act::eat(number(&args[0])?)),
    ("fork", &["N"], |args| act::fork(number(&args[0])?)),
    ("breed", &[], |_| act::breed()),
    ("spawns", &["N"], |args| act::spawns(number(&args[0])?)),
    ("unlock", &[], |_| mounts::unlock()),
    ("tune", &[], |_| sysctl::tune()),
    ("keep", &["FILE"], |args| sysctl::keep(&args[0])),
    ("ptys", &["N"], |args| act::ptys(number(&args[0])?)),
    ("tick", &["MILLISECONDS"], |args| act::tick(number(&args[0])?)),
    ("notify", &["MESSAGE"], |args| act::notify(&args[0]).and_then(|()| act::pause())),
    ("notify-once", &["MESSAGE"], |args| act::notify(&args[0])),
    ("relay", &["PORT"], |args| traffic::relay(number(&args[0])?)),
    ("talk", &["ADDRESS", "PORT"], |args| traffic::talk(&args[0], number(&args[1])?)),
    ("sink", &["PORT"], |args| traffic::sink(number(&args[0])?)),
    ("pump", &["ADDRESS", "PORT", "MILLISECONDS"], |args| {
        traffic::pump(&args[0], number(&args[1])?, number(&args[2])?)
    }),
    ("call", &["ARCH:NUMBER:ARGUMENT,…"], |args| call::one(&args[0])),
    ("calls", &["CALL CALL…"], |args| call::each(&args[0])),
    ("page-out", &["FILE"], |args| call::page_out(&args[0])),
    ("walk", &["DIR"], |args| walk::walk(&args[0])),
    ("spy", &["MARKS"], |args| spy::watch(&args[0])),
    ("spread", &["N"], |args| attack::spread(number(&args[0])?)),
    ("lease", &["FILE"], |args| attack::lease(&args[0])),
    ("watchers", &["KIND", "N"], |args| attack::watchers(&args[0], number(&args[1])?)),
    ("watch-all", &["KIND"], |args| attack::watch_all(&args[0])),
    ("mount-many", &["TIMES"], |args| attack::mounts(number(&args[0])?)),
    ("overwrite", &[], |_| attack::overwrite()),
    ("hoard", &["MIB"], |args| attack::hoard(number(&args[0])?)),
    ("taint", &["FILE"], |args| attack::taint(&args[0])),
    ("pulse", &["DIR", "SECONDS"], |args| pulse::pulse(&args[0], number(&args[1])?)),
    ("inject", &["INTERFACE", "COUNT"], |args| frames::inject(&args[0], number(&args[1])?)),
];

type Act = fn(&[String]) -> io::Result<()>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let verb = args.first().and_then(|word| VERBS.iter().find(|(name, ..)| name == word));
    let done = match verb {
        Some((_, takes, act)) if args.len() == takes.len() + 1 => act(&args[1..]),
        None if !args.is_empty() => report(&args),
        _ => Err(io::Error::other(usage())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let verbs = VERBS.iter().map(|(name, takes, _)| format!(" | {name} {}", takes.join(" ")));
    format!("usage: probe all | TOPIC…{}", verbs.collect::<String>())
}

fn report(wanted: &[String]) -> io::Result<()> {
    let mut seen = serde_json::Map::new();
    for topic in wanted {
        let known = see::TOPICS.iter().filter(|(name, _)| name == topic || topic == "all");
        let before = seen.len();
        seen.extend(known.map(|(name, look)| ((*name).to_owned(), look())));
        if seen.len() == before {
            return Err(io::Error::other(format!("no topic {topic:?}")));
        }
    }
    writeln!(io::stdout(), "{}", Value::Object(seen))
}
