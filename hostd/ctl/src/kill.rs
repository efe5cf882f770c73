use std::ffi::OsString;

use clap::Args;
use wire::{Done, KillRequest};

use super::{Context, candidates, many, select::Selection};

/// Kill everything in tenants, or send a signal to their init
#[derive(Debug, Args)]
pub(super) struct Kill {
    #[command(flatten)]
    selection: Selection,
    /// Send only this signal, a name or number, and only to init; -9 and -HUP are also accepted
    #[arg(long, short, value_name = "SIGNAL", add = candidates::of(candidates::signals))]
    signal: Option<String>,
}

/// The command line with signals as kill(1) takes them, `-9` and `-HUP`, spelled as an option that has a name.
pub(super) fn spelled_out(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let is_kill = |word: &OsString| word == "kill";
    // Where another verb comes first it is the verb, and `kill` is a name.
    let verb = words.iter().skip(1).position(|word| !word.as_encoded_bytes().starts_with(b"-"));
    let verb = verb.map(|at| at + 1);
    let verb = verb.filter(|at| is_kill(&words[*at])).or_else(|| {
        // Behind `--root DIR`.
        let at = words.iter().position(|word| word == "--root")? + 2;
        (words.get(at).is_some_and(is_kill)).then_some(at)
    });
    let Some(verb) = verb else { return words };
    for word in &mut words[verb + 1..] {
        if word == "--" {
            break;
        }
        if let Some(signal) =
            word.to_str().and_then(|word| word.strip_prefix('-')).filter(|word| is_signal(word))
        {
            *word = format!("--signal={signal}").into();
        }
    }
    words
}

/// Whether this can be nothing but a signal behind a dash: no option is a number, or in capital letters.
fn is_signal(word: &str) -> bool {
    let is_number = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let is_name = word.len() > 1
        && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'+')
        && word.as_bytes()[0].is_ascii_uppercase();
    is_number || is_name
}

impl Kill {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let chosen = self.selection.resolve(&context.client).await?;
        let request = KillRequest { signal: self.signal.clone() };
        let verb = if self.signal.is_some() { "signalled" } else { "killed" };
        let kill = move |api: client::Client, name: String| {
            let request = request.clone();
            async move { api.post::<Done>(&client::tenant(&name, "/kill"), &request).await }
        };
        many::each(context, &chosen, (verb, None), kill, |done| many::sentence(done, verb)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_taken_as_kill_takes_them() {
        for (line, expected) in [
            ("kill -9 alice", "kill --signal=9 alice"),
            ("kill alice -HUP bob", "kill alice --signal=HUP bob"),
            ("--root /x kill -RTMIN+4 alice", "--root /x kill --signal=RTMIN+4 alice"),
            ("--json kill -SIGKILL alice", "--json kill --signal=SIGKILL alice"),
            ("kill -s KILL alice", "kill -s KILL alice"),
            ("kill --all -- -9", "kill --all -- -9"),
            ("logs kill -9", "logs kill -9"),
            ("exec alice -- kill -9 1", "exec alice -- kill -9 1"),
        ] {
            let words = |line: &str| {
                ["tenantctl"].into_iter().chain(line.split(' ')).map(OsString::from).collect::<Vec<_>>()
            };
            assert_eq!(spelled_out(words(line).into_iter()), words(expected), "{line}");
        }
    }
}
