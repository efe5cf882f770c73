//! Journals: a tenant's own, and what the host's says about a tenant.
//!
//! The files of a tenant's journal are the tenant's. No program of the host opens them: the tenant's own
//! journalctl(1) does, inside, and what it prints is data.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitCode, Stdio},
    thread,
};

use tenant::{TenantName, files::state::RunState};
use wire::{Code, Failure};

use super::{context::Context, output, select::Chosen};

/// Longest line that is printed as one, bytes.
const LINE: u64 = 64 << 10;
/// Most that is printed of a journal that is not followed, bytes.
const MOST: usize = 64 << 20;
/// What a program that is not there ends with, as in a shell.
const NOT_FOUND: i32 = 127;

/// What of a journal is asked for.
pub(super) struct Ask<'a> {
    /// So many of the last lines.
    pub(super) lines: usize,
    /// Only entries newer than that.
    pub(super) since: Option<&'a str>,
    /// Whether to go on with what comes.
    pub(super) follow: bool,
    /// Only entries of this unit of the tenant.
    pub(super) unit: Option<&'a str>,
    /// More arguments for journalctl(1).
    pub(super) arguments: &'a [OsString],
}

/// What journalctl(1) is asked for in both cases.
fn arguments(ask: &Ask<'_>, json: bool) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--lines".into(), ask.lines.to_string().into()];
    arguments.extend(ask.since.map(|since| format!("--since={}", ago(since)).into()));
    arguments.extend(ask.follow.then(|| "--follow".into()));
    arguments.extend(json.then(|| "--output=json".into()));
    arguments.extend(ask.arguments.iter().cloned());
    arguments
}

/// `10min` is what journalctl(1) calls `-10min`; everything else is what it calls it, too.
fn ago(since: &str) -> String {
    let is_span = since.starts_with(|c: char| c.is_ascii_digit())
        && since.ends_with(|c: char| c.is_ascii_alphabetic())
        && !since.contains([':', '-']);
    if is_span && !since.ends_with("ago") { format!("-{since}") } else { since.to_owned() }
}

fn failed(operation: &str) -> impl FnOnce(io::Error) -> Failure + '_ {
    move |error| Failure::new(Code::Failed, format!("cannot {operation}: {error}"))
}

/// Prints what the host's journal says: becomes journalctl(1).
pub(super) fn of_host(ask: &Ask<'_>, names: &[String], context: &Context) -> super::context::Result {
    let names = names.iter().map(|name| parse(name)).collect::<Result<Vec<TenantName>, Failure>>()?;
    if !context.layout.is_default() {
        let text = format!("tenants below {} do not write to the journal", context.layout.root().display());
        return Err(Failure::new(Code::Failed, text).help("read their consoles: tenantctl logs NAME"));
    }
    let mut command = Command::new("journalctl");
    // Anybody may put a field TENANT into the journal; _UID is the journal's own.
    command.args(arguments(ask, context.output.json)).arg("_UID=0");
    command.args(names.iter().map(|name| format!("TENANT={name}")));
    Err(failed("execute journalctl")(command.exec()))
}

fn parse(name: &str) -> Result<TenantName, Failure> {
    name.parse().map_err(|error| Failure::new(Code::Invalid, format!("{error}")))
}

/// Prints the own journals of tenants: one after the other, or all at once where they are followed.
pub(super) fn inside(ask: &Ask<'_>, chosen: &Chosen, context: &Context) -> super::context::Result {
    if let (true, [name]) = (chosen.is_one, &chosen.names[..]) {
        return one(ask, name, context, "").map(ExitCode::from);
    }
    let read = |name: &String| one(ask, name, context, &format!("{name}: "));
    let ends: Vec<_> = if ask.follow {
        thread::scope(|scope| {
            let running: Vec<_> = chosen.names.iter().map(|name| scope.spawn(move || read(name))).collect();
            running.into_iter().filter_map(|reader| reader.join().ok()).collect()
        })
    } else {
        chosen.names.iter().map(read).collect()
    };
    let mut code = 0;
    for end in ends {
        code = match end {
            Ok(0) => code,
            Ok(other) => other,
            Err(failure) => {
                context.output.failure(&failure);
                failure.code.exit_code()
            }
        };
    }
    Ok(ExitCode::from(code))
}

/// Prints a tenant's own journal, each line behind `prefix`; the code that it ends with.
fn one(ask: &Ask<'_>, name: &str, context: &Context, prefix: &str) -> Result<u8, Failure> {
    let name = parse(name)?;
    let state = RunState::read(&context.layout.run_state(&name)).ok().flatten();
    let runs = state.and_then(|state| state.init).is_some_and(|init| init.is_alive());
    if context.layout.tenant_config(&name).exists() && !runs {
        let text = format!("cannot read the journal of tenant {:?}: it is not running", name.as_str());
        let help = format!(
            "its own journalctl reads its journal: tenantctl start {name}; its console: tenantctl logs {name}"
        );
        return Err(Failure::new(Code::NotRunning, text).help(help));
    }
    let mut command = wire::programs::inside(&context.layout, name.as_str())?;
    command.args(["journalctl", "--no-pager", "--quiet"]);
    if let Some(unit) = ask.unit {
        command.arg(format!("--unit={unit}"));
    }
    command.args(arguments(ask, context.output.json));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed("run journalctl inside"))?;
    let errors = child.stderr.take().map(|stderr| {
        // Its messages are the tenant's bytes like everything else.
        thread::spawn(move || {
            pass_on(BufReader::new(stderr), MOST, |line| {
                let _ = io::stderr().write_all(line.as_bytes());
            })
        })
    });
    let most = if ask.follow { usize::MAX } else { MOST };
    let whole = match child.stdout.take() {
        Some(stdout) => {
            pass_on(BufReader::new(stdout), most, |line| output::write(&format!("{prefix}{line}")))
        }
        None => Ok(true),
    };
    let is_cut = !whole.map_err(failed("read what journalctl prints"))?;
    let status = end(child, is_cut)?;
    let _ = errors.map(thread::JoinHandle::join);
    if is_cut {
        let text = format!("the journal is longer than {} MiB; the rest is not printed", MOST >> 20);
        output::warnings(&[format!("{text}: ask for fewer lines with -n")]);
    }
    if status == NOT_FOUND {
        // What is missing has been said.
        let help = "a tenant without journalctl has no journal; read its console";
        let _ = writeln!(io::stderr(), "help: {help}: tenantctl logs {name}");
        return Ok(Code::NotFound.exit_code());
    }
    Ok(u8::try_from(status).unwrap_or(1))
}

/// Waits for journalctl, which is killed first if no process reads on.
fn end(mut child: Child, kill: bool) -> Result<i32, Failure> {
    if kill {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed("wait for journalctl"))?;
    Ok(if kill { 0 } else { status.code().unwrap_or(1) })
}

/// Prints lines so that no byte of them acts on a terminal; false when there were more bytes than `most`.
fn pass_on(mut lines: impl BufRead, most: usize, mut print: impl FnMut(&str)) -> io::Result<bool> {
    let (mut printed, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let length = lines.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(true);
        }
        printed += length;
        if printed > most {
            return Ok(false);
        }
        let text = String::from_utf8_lossy(&line);
        print(&format!("{}\n", output::clean(text.trim_end_matches('\n'))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(bytes: &[u8], most: usize) -> (bool, String) {
        let mut text = String::new();
        let whole = pass_on(bytes, most, |line| text.push_str(line)).unwrap();
        (whole, text)
    }

    #[test]
    fn a_span_of_time_is_a_time_ago() {
        for (since, expected) in [
            ("10min", "-10min"),
            ("2h", "-2h"),
            ("today", "today"),
            ("2026-01-31", "2026-01-31"),
            ("1h ago", "1h ago"),
        ] {
            assert_eq!(ago(since), expected);
        }
    }

    #[test]
    fn lines_of_a_hostile_journal_act_on_nothing() {
        let (whole, text) = passed(b"one\x1b[2J\x07\r\ntwo\xff\n\xc2\x9b31mthree", 1000);
        assert!(whole);
        assert_eq!(text, "one[2J\ntwo\u{fffd}\n31mthree\n");
    }

    #[test]
    fn a_journal_without_an_end_is_cut_off() {
        let endless = io::repeat(b'x');
        let mut printed = 0;
        let whole = pass_on(BufReader::new(endless), 1 << 20, |line| printed += line.len()).unwrap();
        assert!(!whole && printed <= (1 << 20) + 1024, "{printed}");
    }
}
