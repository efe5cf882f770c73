//! The record of a rollout: `rollouts/ID.json`. What it says is done or is to be done; whether a tenant has its version
//! is asked of the tenant, so that a record that is a moment old does no harm.

use serde::{Deserialize, Serialize};
use tenant::model::{
    ids::Digest,
    image::{ChannelName, ImageName},
};
use wire::{MemberState, RolloutRequest};

use super::seen::Marks;

/// What an admin wants of a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// It goes on.
    #[default]
    Run,
    /// It stands still.
    Pause,
    /// It ends where it is.
    Abort,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All tenants have the version.
    Finished,
    /// A wave was put back.
    Failed,
    /// An admin ended it.
    Aborted,
}

/// What is done with the present wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// It is noted how its tenants are.
    Prepare,
    /// They are moved.
    Move,
    /// The gates are asked.
    Gate,
    /// The wave is watched.
    Bake,
    /// The gates are asked once more.
    Confirm,
    /// The wave is put back.
    Undo,
    /// Nothing.
    Done(End),
}

/// How a tenant was before its wave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Whether it was up.
    pub was_up: bool,
    /// Units that had failed; none where no systemd(1) was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_units: Option<Vec<String>>,
    /// Its boots and what was killed in it; taken again after a restart of the tenant or the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Marks>,
}

/// A tenant of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// What it is known by, whatever its name.
    pub uuid: String,
    /// Its name when it was last seen.
    pub name: String,
    /// Its wave, from 0.
    pub wave: usize,
    /// What it had.
    pub from: Digest,
    /// What it gets.
    pub to: Digest,
    /// What became of it.
    pub state: MemberState,
    /// How often it was tried to put it back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u8,
    /// What is to be known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How it was before its wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

impl Member {
    /// Whether its tenant was up before it was moved.
    pub fn was_up(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.was_up)
    }
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// A wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaveRecord {
    /// As the policy says it.
    pub size: String,
    /// When it was done, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
}

/// The channel that points at the version in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// Where it pointed at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// Where it points in the end.
    pub to: Digest,
    /// Whether it is moved only where it still points at `before`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_from_before: bool,
    /// Whether that is done.
    #[serde(default)]
    pub is_moved: bool,
}

/// `rollouts/ID.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this format, now 1.
    pub format_version: u32,
    /// Its number.
    pub id: u64,
    /// The image.
    pub image: ImageName,
    /// The version; none of one that gives each tenant its previous one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Digest>,
    /// What it was asked for.
    pub policy: RolloutRequest,
    /// The rollout that this one takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_of: Option<u64>,
    /// Whether tenants that come to follow the channel meanwhile are moved too.
    #[serde(default)]
    pub takes_newcomers: bool,
    /// The channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// When it was started, RFC 3339.
    pub created: String,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// What an admin wants of it.
    #[serde(default)]
    pub wanted: Wanted,
    /// What is done with the present wave.
    pub step: Step,
    /// The present wave, from 0.
    pub wave: usize,
    /// How many tenants have failed.
    #[serde(default)]
    pub failures: usize,
    /// What is left of the bake, milliseconds of a clock that nothing sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake_left_ms: Option<u64>,
    /// The boot of the machine in which marks were taken.
    pub boot: String,
    /// Why it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its waves.
    pub waves: Vec<WaveRecord>,
    /// Its tenants, those of the first wave first.
    pub members: Vec<Member>,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not a record.
    #[error("the record is malformed")]
    Malformed(#[from] serde_json::Error),
    /// Written by a newer release.
    #[error("the record has format_version {0}, but this release supports only 1")]
    Version(u64),
    /// It says things that cannot be together.
    #[error("the record is inconsistent: {0}")]
    Inconsistent(&'static str),
}

impl Record {
    /// The format this release reads and writes.
    pub const FORMAT_VERSION: u32 = 1;

    /// Parses `ID.json`.
    ///
    /// # Errors
    /// Text that is not JSON, has unknown keys, another `format_version`, or cannot be.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            format_version: u64,
        }
        let Versioned { format_version } = serde_json::from_str(text)?;
        if format_version != u64::from(Self::FORMAT_VERSION) {
            return Err(RecordError::Version(format_version));
        }
        let record: Self = serde_json::from_str(text)?;
        if super::Policy::parse(&record.policy).is_err() {
            return Err(RecordError::Inconsistent("its policy is not valid"));
        }
        let is_over = matches!(record.step, Step::Done(_));
        if record.wave >= record.waves.len() && !is_over && !record.waves.is_empty() {
            return Err(RecordError::Inconsistent("its present wave is not one of its waves"));
        }
        if record.members.iter().any(|member| member.wave >= record.waves.len()) {
            return Err(RecordError::Inconsistent("a tenant is in a wave that does not exist"));
        }
        Ok(record)
    }

    /// The text of `ID.json`: a line for each tenant, so that a person can read it.
    pub fn render(&self) -> String {
        let head = Self { members: Vec::new(), ..self.clone() };
        let text = serde_json::to_string_pretty(&head).expect("a record has only types that JSON can hold");
        let member =
            |member| serde_json::to_string(member).expect("a member has only types that JSON can hold");
        let members: Vec<_> = self.members.iter().map(|one| format!("    {}", member(one))).collect();
        let head = text.strip_suffix("\"members\": []\n}").expect("members come last");
        match members.is_empty() {
            true => format!("{text}\n"),
            false => format!("{head}\"members\": [\n{}\n  ]\n}}\n", members.join(",\n")),
        }
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.step, Step::Done(_))
    }

    /// The tenants of the present wave, by their places in `members`.
    pub fn wave_members(&self) -> impl Iterator<Item = usize> + '_ {
        let of_wave = |(place, member): (usize, &Member)| (member.wave == self.wave).then_some(place);
        self.members.iter().enumerate().filter_map(of_wave)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record with two tenants.
    pub(in crate::rollout) fn sample() -> Record {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64)).parse::<Digest>().unwrap();
        let member = |name: &str, wave| Member {
            uuid: format!("{name}-uuid"),
            name: name.to_owned(),
            wave,
            from: digest("a"),
            to: digest("b"),
            state: MemberState::Waiting,
            tries: 0,
            note: None,
            before: None,
        };
        let mut first = member("alice", 0);
        first.state = MemberState::Failed;
        first.note = Some("gate tcp:22: connection refused".to_owned());
        first.before = Some(Before {
            was_up: true,
            failed_units: Some(vec!["smartd.service".to_owned()]),
            marks: Some(Marks { supervisor: 7, boots: 1, oom_kills: 0 }),
        });
        Record {
            format_version: 1,
            id: 3,
            image: "debian".parse().unwrap(),
            to: Some(digest("b")),
            policy: RolloutRequest {
                image: Some("debian".to_owned()),
                waves: vec!["1".to_owned(), "100%".to_owned()],
                gate: vec!["tcp:22".to_owned()],
                ..RolloutRequest::default()
            },
            back_of: None,
            takes_newcomers: true,
            channel: Some(Channel {
                name: ChannelName::stable(),
                before: Some(digest("a")),
                to: digest("b"),
                only_from_before: false,
                is_moved: false,
            }),
            created: "2026-01-02T03:04:05Z".to_owned(),
            ended: None,
            wanted: Wanted::Run,
            step: Step::Undo,
            wave: 0,
            failures: 1,
            bake_left_ms: None,
            boot: "b00t".to_owned(),
            reason: Some("tenant \"alice\": gate tcp:22: connection refused".to_owned()),
            waves: vec![
                WaveRecord { size: "1".to_owned(), done: None },
                WaveRecord { size: "100%".to_owned(), done: None },
            ],
            members: vec![first, member("bob", 1)],
        }
    }

    #[test]
    fn the_first_format_is_written_and_read() {
        let golden = include_str!("record-1.json");
        assert_eq!(sample().render(), golden);
        assert_eq!(Record::parse(golden).unwrap(), sample());
        let empty = Record { members: Vec::new(), ..sample() };
        assert_eq!(Record::parse(&empty.render()).unwrap(), empty);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let good = sample().render();
        for bad in [
            "",
            "{}",
            &good.replace("\"format_version\": 1", "\"format_version\": 2"),
            &good.replace("\"wave\":1", "\"wave\":2"),
            &good.replace("\"wave\": 0", "\"wave\": 2"),
            &good.replace("\"tcp:22\"\n", "\"tcp\"\n"),
            &good.replace("\"boot\"", "\"boots\""),
            &good[..good.len() / 2],
        ] {
            assert_ne!(bad, good);
            assert!(Record::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(Record::parse("{\"format_version\": 2, \"new\": 1}"), Err(RecordError::Version(2))));
    }
}
