use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use wire::{Code, Event, EventKind, Failure};

use super::{Context, candidates, output};

/// How often it is tried to find hostd again, where it has ended.
const RETRY: Duration = Duration::from_millis(250);
/// How long a hostd that has ended is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// Print what happens to tenants, while it happens
///
/// Also what systemctl, or a tenant itself, did. Continues when hostd is started again. With --json each event is a line
/// of JSON.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Only these tenants; patterns like 'web*' are possible
    #[arg(value_name = "NAME", add = candidates::of(candidates::tenants))]
    names: Vec<String>,
    /// First what happened since then: a duration like 90s, 10m, 2h or 1d, or the number of an event
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// End with what has happened
    #[arg(long)]
    no_follow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Event(u64),
    Ago(Duration),
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is neither a duration like 10m nor the number of an event");
        if let Ok(seq) = text.parse() {
            return Ok(Self::Event(seq));
        }
        let unit = text.chars().next_back().ok_or_else(refuse)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(refuse()),
        };
        let number: u32 = text[..text.len() - 1].parse().map_err(|_| refuse())?;
        Ok(Self::Ago(Duration::from_secs(u64::from(number) * seconds)))
    }
}

impl Events {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let mut since = match self.since {
            Some(Since::Event(seq)) => Some(format!("since={seq}")),
            Some(Since::Ago(ago)) => {
                let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                Some(format!("since_ms={}", output::now_ms().saturating_sub(ago)))
            }
            None => None,
        };
        let mut gone: Option<Instant> = None;
        loop {
            let path = self.path(since.as_deref());
            match context.client.lines(&path).await {
                Ok(mut lines) => {
                    if gone.take().is_some() {
                        output::warnings(&["hostd is there again".to_owned()]);
                    }
                    while let Some(line) = lines.next().await? {
                        since = Some(format!("since={}", show(context, &line)?));
                    }
                }
                // The first time there is nothing to go on with.
                Err(failure) if failure.code != Code::NoHostd || gone.is_none() => return Err(failure),
                Err(failure) if gone.is_some_and(|gone| gone.elapsed() > PATIENCE) => return Err(failure),
                Err(_) => {}
            }
            if self.no_follow {
                return Ok(ExitCode::SUCCESS);
            }
            // All that the next one knows.
            since.get_or_insert_with(|| "since=0".to_owned());
            if gone.is_none() {
                output::warnings(&["hostd has ended; waiting for it to be started again".to_owned()]);
                gone = Some(Instant::now());
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn path(&self, since: Option<&str>) -> String {
        let mut query: Vec<_> =
            self.names.iter().map(|name| format!("name={}", client::segment(name))).collect();
        query.extend(since.map(str::to_owned));
        query.extend(self.no_follow.then(|| "follow=false".to_owned()));
        format!("/v1/events?{}", query.join("&"))
    }
}

/// Prints an event and says its number.
fn show(context: &Context, line: &str) -> Result<u64, Failure> {
    let event: Event = serde_json::from_str(line).map_err(|error| Failure::of(Code::Failed, &error))?;
    if context.output.json {
        client::output::write(&format!("{line}\n"));
    } else {
        client::output::write(&text(&event));
    }
    Ok(event.seq)
}

/// `2026-01-02T03:04:05.678Z alice stopped: powered off`
fn text(event: &Event) -> String {
    let count = event.count.unwrap_or_default();
    let from_to = || {
        let [from, to] = [&event.from, &event.to].map(|text| text.as_deref().unwrap_or_default());
        format!("{from} -> {to}")
    };
    let rollout = format!("rollout {}", event.rollout.unwrap_or_default());
    let what = match event.event {
        EventKind::HostdStarted => "hostd started: what happened before is not known".to_owned(),
        EventKind::Lost => format!("{count} events were missed: this command is too slow for them"),
        EventKind::Created => "created".to_owned(),
        EventKind::Started => "started".to_owned(),
        EventKind::Ready => "ready".to_owned(),
        EventKind::Reboot => format!("rebooted from inside: boot {count}"),
        EventKind::Stopping => "stopping".to_owned(),
        EventKind::Stopped => "stopped".to_owned(),
        EventKind::Failed => "failed".to_owned(),
        EventKind::Killed => "killed".to_owned(),
        EventKind::OomKill => format!("out of memory: {count} processes killed in this boot"),
        EventKind::Frozen => "frozen".to_owned(),
        EventKind::Thawed => "thawed".to_owned(),
        EventKind::Parked => "parked".to_owned(),
        EventKind::Woken => "woken".to_owned(),
        EventKind::Set => format!("set {}", event.keys.join(", ")),
        EventKind::ImageChanged => format!("boots another version next: {}", from_to()),
        EventKind::Renamed => format!("renamed {}", from_to()),
        EventKind::Destroyed => "destroyed".to_owned(),
        EventKind::RolloutStarted => {
            format!("{rollout} started: {count} tenants to {}", event.to.as_deref().unwrap_or_default())
        }
        EventKind::WaveDone => format!("{rollout}: wave {count} is done"),
        EventKind::GateFailed => format!("failed in {rollout}"),
        EventKind::RolloutFinished => format!("{rollout} finished"),
        EventKind::RolloutUndone => format!("{rollout} failed and was undone"),
        EventKind::RolloutAborted => format!("{rollout} was aborted"),
    };
    let reason = event.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let line = format!("{} {} {what}{reason}", event.time, event.tenant.as_deref().unwrap_or("-"));
    format!("{}\n", output::clean(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_duration_or_a_number() {
        assert_eq!("42".parse(), Ok(Since::Event(42)));
        assert_eq!("10m".parse(), Ok(Since::Ago(Duration::from_secs(600))));
        assert_eq!("1d".parse(), Ok(Since::Ago(Duration::from_secs(86_400))));
        for bad in ["", "m", "10", "10x", "-1s", "1ä"].into_iter().filter(|bad| *bad != "10") {
            assert!(bad.parse::<Since>().is_err(), "{bad:?}");
        }
    }
}
