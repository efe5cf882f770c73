//! What a rollout is to do, as it was asked for on a command line or in a policy file, checked. Pure.

use std::time::Duration;

use tenant::model::image::{ChannelName, ImageName, VersionRef};
use wire::{Code, Failure, LabelRule, Pattern, RebaseMode, RolloutRequest};

/// What each wave adds to, where a rollout does not say it.
const WAVES: [&str; 4] = ["1", "10%", "50%", "100%"];
/// How long a gate may take, where a rollout does not say it.
const GATE_TIMEOUT: Duration = Duration::from_secs(30);
/// Tenants that are moved at the same time: live or at their next start, which is mostly waiting for the disk, and by a
/// restart.
const AT_ONCE: [u32; 2] = [32, 4];
/// Most waves and most gates.
const MOST: usize = 64;
/// Longest command of a gate, bytes.
const LONGEST: usize = 4096;
/// Longest bake and longest gate.
const DAY: Duration = Duration::from_secs(86_400);

/// How far a wave goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wave {
    /// So many tenants have the version after it.
    Count(usize),
    /// So much of a hundred of them.
    Percent(u8),
    /// All tenants with this label, besides those before.
    Label(LabelRule),
}

/// What must hold of a tenant after its wave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// No unit of its systemd(1) has failed that had not failed before.
    Systemd,
    /// This command of sh(1) ends with 0 inside.
    Exec(String),
    /// This port takes connections.
    Tcp(u16),
    /// This port answers a request for the path with a status below 400.
    Http {
        /// The port.
        port: u16,
        /// The path, with its slash.
        path: String,
    },
}

/// A checked policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How far each wave goes, the last one to 100%.
    pub waves: Vec<Wave>,
    /// How a tenant gets the version.
    pub mode: RebaseMode,
    /// What must hold after each wave.
    pub gates: Vec<Gate>,
    /// How long a gate may take.
    pub gate_timeout: Duration,
    /// How long each wave is watched.
    pub bake: Duration,
    /// So many tenants must fail until it stops.
    pub max_failures: usize,
    /// So many tenants are moved at the same time.
    pub at_once: usize,
    /// Patterns of the names that are selected.
    pub names: Vec<Pattern>,
    /// Labels that must all be there.
    pub labels: Vec<LabelRule>,
}

fn refuse(field: &str, text: &str, reason: &str) -> Failure {
    let shown: String = text.chars().take(64).collect();
    Failure::new(Code::Invalid, format!("`{field}`: {shown:?} {reason}"))
        .help("see: tenantctl rollout start --help")
}

fn label(field: &str, text: &str) -> Result<LabelRule, Failure> {
    LabelRule::parse(text).map_err(|reason| refuse(field, text, &format!("is not a label: {reason}")))
}

impl Wave {
    fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |reason| refuse("waves", text, reason);
        if let Some(label) = text.strip_prefix("label:") {
            return self::label("waves", label).map(Self::Label);
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.parse().ok().filter(|percent| (1..=100).contains(percent));
            return percent.map(Self::Percent).ok_or_else(|| bad("is not 1% to 100%"));
        }
        let count = text.parse().ok().filter(|count| *count > 0);
        count.map(Self::Count).ok_or_else(|| bad("is not a number, a percentage or label:KEY=VALUE"))
    }
}

impl Gate {
    /// Reads one.
    ///
    /// # Errors
    /// What it is not.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |reason| refuse("gate", text, reason);
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
        let not_port = || bad("does not name a port, 1 to 65535");
        match text.split_once(':') {
            None if text == "systemd" => Ok(Self::Systemd),
            Some(("exec", command)) if command.trim().is_empty() => Err(bad("names no command")),
            Some(("exec", command)) if command.len() > LONGEST => Err(bad("is too long")),
            Some(("exec", command)) if command.contains('\0') => Err(bad("contains a NUL")),
            Some(("exec", command)) => Ok(Self::Exec(command.to_owned())),
            Some(("tcp", number)) => port(number).map(Self::Tcp).ok_or_else(not_port),
            Some(("http", rest)) => {
                let (number, path) = rest.split_once('/').unwrap_or((rest, ""));
                let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
                if !is_plain || path.len() > LONGEST {
                    return Err(bad("has a path with more than printable ASCII characters"));
                }
                let port = port(number).ok_or_else(not_port)?;
                Ok(Self::Http { port, path: format!("/{path}") })
            }
            _ => Err(bad("is none of systemd, exec:COMMAND, tcp:PORT, http:PORT/PATH")),
        }
    }
}

impl std::fmt::Display for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Systemd => f.write_str("systemd"),
            Self::Exec(command) => write!(f, "exec:{command}"),
            Self::Tcp(port) => write!(f, "tcp:{port}"),
            Self::Http { port, path } => write!(f, "http:{port}{path}"),
        }
    }
}

/// `500ms`, `30s`, `5m`, `2h`, at most a day.
fn duration(field: &str, text: &str) -> Result<Duration, Failure> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(refuse(field, text, "is not a time like 500ms, 30s, 5m or 2h")),
    };
    let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let time = millis.map(Duration::from_millis).filter(|time| *time <= DAY);
    time.ok_or_else(|| refuse(field, text, "is longer than a day"))
}

fn at_most<T>(field: &str, list: &[T]) -> Result<(), Failure> {
    match list.len() > MOST {
        true => Err(Failure::new(Code::Invalid, format!("`{field}`: there are more than {MOST}"))),
        false => Ok(()),
    }
}

impl Policy {
    /// Checks what is asked for.
    ///
    /// # Errors
    /// [`Code::Invalid`] with the name of the field.
    pub fn parse(request: &RolloutRequest) -> Result<Self, Failure> {
        let mode = request.mode.unwrap_or_default();
        for (field, list) in [
            ("waves", &request.waves),
            ("gate", &request.gate),
            ("names", &request.names),
            ("label", &request.label),
        ] {
            at_most(field, list)?;
        }
        let waves: Vec<Wave> = match request.waves.is_empty() {
            true => WAVES.into_iter().map(Wave::parse).collect::<Result<_, _>>()?,
            false => request.waves.iter().map(|wave| Wave::parse(wave)).collect::<Result<_, _>>()?,
        };
        check_order(&request.waves, &waves)?;
        let gates: Vec<Gate> = request.gate.iter().map(|gate| Gate::parse(gate)).collect::<Result<_, _>>()?;
        let bake =
            request.bake.as_deref().map(|text| duration("bake", text)).transpose()?.unwrap_or_default();
        if mode == RebaseMode::NextStart && !(gates.is_empty() && bake.is_zero()) {
            let text = "`gate`, `bake`: nothing inside changes before the next start, so there is nothing to look at";
            return Err(
                Failure::new(Code::Invalid, text).help("leave them out, or choose --live or --restart")
            );
        }
        let timeout =
            request.gate_timeout.as_deref().map(|text| duration("gate_timeout", text)).transpose()?;
        let gate_timeout = timeout.unwrap_or(GATE_TIMEOUT);
        if gate_timeout.is_zero() {
            return Err(refuse("gate_timeout", "0", "gives no gate time to answer"));
        }
        let positive = |field: &str, number: u32| match number {
            0 => Err(Failure::new(Code::Invalid, format!("`{field}`: it must be at least 1"))),
            number => Ok(usize::try_from(number).unwrap_or(usize::MAX)),
        };
        let usual = AT_ONCE[usize::from(mode == RebaseMode::Restart)];
        let pattern = |text: &String| {
            Pattern::parse(text).map_err(|why| refuse("names", text, &format!("is not a pattern: {why}")))
        };
        Ok(Self {
            waves,
            mode,
            gates,
            gate_timeout,
            bake,
            max_failures: positive("max_failures", request.max_failures.unwrap_or(1))?,
            at_once: positive("max_unavailable", request.max_unavailable.unwrap_or(usual))?.min(256),
            names: request.names.iter().map(pattern).collect::<Result<_, _>>()?,
            labels: request.label.iter().map(|text| label("label", text)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether it says which tenants, so that those are not moved that follow a channel.
    pub fn selects(&self) -> bool {
        !(self.names.is_empty() && self.labels.is_empty())
    }
}

/// Numbers and percentages grow, and the last one is everything.
fn check_order(texts: &[String], waves: &[Wave]) -> Result<(), Failure> {
    if waves.last() != Some(&Wave::Percent(100)) {
        let last = texts.last().map_or("", String::as_str);
        return Err(refuse("waves", last, "is the last one, which must be 100%"));
    }
    let (mut count, mut percent) = (0, 0);
    for (wave, text) in waves.iter().zip(texts) {
        let grows = match wave {
            Wave::Count(number) => *number > std::mem::replace(&mut count, *number),
            Wave::Percent(number) => *number > std::mem::replace(&mut percent, *number),
            Wave::Label(_) => true,
        };
        if !grows {
            return Err(refuse("waves", text, "is not more than what comes before it"));
        }
    }
    Ok(())
}

/// The image that is named.
///
/// # Errors
/// There is none, or it is no name.
pub fn image(request: &RolloutRequest) -> Result<ImageName, Failure> {
    let text = request.image.as_deref().ok_or_else(|| {
        Failure::new(Code::Invalid, "`image`: the rollout names no image")
            .help("name it: tenantctl rollout start IMAGE, or image = \"IMAGE\" in the policy file")
    })?;
    text.parse().map_err(|_| refuse("image", text, "is not the name of an image"))
}

/// The version that is named.
///
/// # Errors
/// It is neither a channel nor digits.
pub fn target(request: &RolloutRequest) -> Result<VersionRef, Failure> {
    let text = request.to.as_deref().unwrap_or(":candidate");
    text.parse().map_err(|_| match text.starts_with(':') {
        true => refuse("to", text, "is not ':' and the name of a channel"),
        false => refuse("to", text, "is neither :CHANNEL nor 6 to 64 hex digits of a version"),
    })
}

/// The channel that is named, if one is.
///
/// # Errors
/// It is no name.
pub fn channel(request: &RolloutRequest) -> Result<Option<ChannelName>, Failure> {
    let Some(text) = request.channel.as_deref() else { return Ok(None) };
    let parsed = text.strip_prefix(':').unwrap_or(text).parse();
    parsed.map(Some).map_err(|_| refuse("channel", text, "is not the name of a channel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> RolloutRequest {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_policy_has_defaults() {
        let policy = Policy::parse(&RolloutRequest::default()).unwrap();
        assert_eq!(policy.waves, [Wave::Count(1), Wave::Percent(10), Wave::Percent(50), Wave::Percent(100)]);
        assert_eq!((policy.max_failures, policy.at_once, policy.bake), (1, 32, Duration::ZERO));
        assert!(policy.gates.is_empty() && !policy.selects() && policy.gate_timeout == GATE_TIMEOUT);
        assert_eq!(Policy::parse(&request("mode = \"restart\"")).unwrap().at_once, 4);
    }

    #[test]
    fn a_policy_is_read_with_all_its_words() {
        let policy = Policy::parse(&request(
            "waves = [\"label:tier=canary\", \"2\", \"100%\"]\nmode = \"live\"\nbake = \"90s\"\nlabel = [\"zone\"]\n\
             gate = [\"systemd\", \"exec:test -e /x; :\", \"tcp:22\", \"http:80/a/b\", \"http:81\"]\n\
             gate_timeout = \"500ms\"\nmax_failures = 3\nmax_unavailable = 2\n",
        ))
        .unwrap();
        let gates: Vec<_> = policy.gates.iter().map(ToString::to_string).collect();
        assert_eq!(gates, ["systemd", "exec:test -e /x; :", "tcp:22", "http:80/a/b", "http:81/"]);
        assert_eq!((policy.bake.as_secs(), policy.gate_timeout.as_millis()), (90, 500));
        assert_eq!((policy.max_failures, policy.at_once), (3, 2));
        assert!(matches!(&policy.waves[0], Wave::Label(_)) && policy.selects());
        let canary = [("tier".to_owned(), "canary".to_owned())].into();
        let Wave::Label(label) = &policy.waves[0] else { panic!("it is a label") };
        assert!(label.is_of(&canary) && !policy.labels[0].is_of(&canary));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_the_name_of_its_field() {
        for (text, field) in [
            ("waves = [\"0\", \"100%\"]", "waves"),
            ("waves = [\"101%\", \"100%\"]", "waves"),
            ("waves = [\"50%\"]", "waves"),
            ("waves = [\"50%\", \"10%\", \"100%\"]", "waves"),
            ("waves = [\"5\", \"5\", \"100%\"]", "waves"),
            ("waves = [\"label:\", \"100%\"]", "waves"),
            ("waves = [\"label:a=[\", \"100%\"]", "waves"),
            ("gate = [\"systemed\"]", "gate"),
            ("gate = [\"exec: \"]", "gate"),
            ("gate = [\"tcp:0\"]", "gate"),
            ("gate = [\"tcp:70000\"]", "gate"),
            ("gate = [\"http:80/a b\"]", "gate"),
            ("bake = \"60\"", "bake"),
            ("bake = \"25h\"", "bake"),
            ("bake = \"99999999999999999999s\"", "bake"),
            ("gate_timeout = \"0s\"", "gate_timeout"),
            ("max_failures = 0", "max_failures"),
            ("max_unavailable = 0", "max_unavailable"),
            ("names = [\"web[\"]", "names"),
            ("label = [\"=x\"]", "label"),
            ("label = [\"a!=[\"]", "label"),
            ("mode = \"next-start\"\ngate = [\"systemd\"]", "gate"),
        ] {
            let failure = Policy::parse(&request(text)).unwrap_err();
            assert!(failure.message.starts_with(&format!("`{field}`")), "{text}: {failure}");
            assert_eq!(failure.code, Code::Invalid);
        }
        for (text, field) in [("to = \"candidate\"", "to"), ("to = \":A\"", "to"), ("to = \"12\"", "to")] {
            let failure = target(&request(text)).unwrap_err();
            assert!(failure.message.starts_with(&format!("`{field}`")), "{text}: {failure}");
        }
        assert!(image(&request("")).is_err() && image(&request("image = \"A b\"")).is_err());
        assert!(channel(&request("channel = \"A\"")).is_err());
        toml::from_str::<RolloutRequest>("waevs = []").unwrap_err();
    }

    #[test]
    fn a_version_is_a_channel_or_digits() {
        assert_eq!(target(&request("")).unwrap(), VersionRef::Channel("candidate".parse().unwrap()));
        assert_eq!(
            target(&request("to = \"sha256:012345\"")).unwrap(),
            VersionRef::Prefix("012345".to_owned())
        );
    }
}
