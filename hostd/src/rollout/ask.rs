//! Gates that are asked, with their deadlines, and what tenants that were not moved say of a failure.

use std::time::Duration;

use wire::MemberState;

use super::{
    gates::{self, Look, Verdict},
    policy::{Gate, Policy},
    record::{Before, Member, Record},
    seen::{Marks, Tenants},
    world::World,
};

/// How long it is waited before a gate is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a tenant may take to come up before its gates are asked.
const COMING: Duration = Duration::from_secs(600);
/// Tenants that are asked whether they fail too.
const CONTROLS: usize = 3;

/// Whose gates are asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    uuid: String,
    before: Before,
}

impl Question {
    /// Of a tenant.
    pub(super) fn of(member: &Member) -> Self {
        Self { uuid: member.uuid.clone(), before: member.before.clone().unwrap_or_default() }
    }
}

/// An answer within a time; none where there is none until then.
pub(super) async fn within<W: World, T>(
    world: &W,
    time: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        // What is there counts, also at the last moment.
        biased;
        answer = work => Some(answer),
        () = world.sleep(time) => None,
    }
}

/// Asks all gates of a tenant.
pub(super) async fn all<W: World>(world: &W, policy: &Policy, of: &Question) -> (Verdict, Option<Marks>) {
    let end = world.clock() + COMING;
    loop {
        let seen = world.seen(&of.uuid).await;
        let marks = seen.as_ref().and_then(|seen| seen.marks);
        match gates::look(&of.before, seen.as_ref()) {
            Look::Known(verdict) => return (verdict, marks),
            Look::Later if world.clock() >= end => {
                let why = format!("it was not up after {} s", COMING.as_secs());
                return (Verdict::Failed(why), marks);
            }
            Look::Later => world.sleep(AGAIN).await,
            Look::Ask => {
                for gate in &policy.gates {
                    if let Some(verdict) = one(world, policy, of, gate).await {
                        return (verdict, marks);
                    }
                }
                return (passed(policy, &of.before), marks);
            }
        }
    }
}

/// What is said where all gates hold that were asked.
fn passed(policy: &Policy, before: &Before) -> Verdict {
    match policy.gates.contains(&Gate::Systemd) && before.failed_units.is_none() {
        true => {
            Verdict::Waived("its failed units were not known before: gate systemd was not asked".to_owned())
        }
        false => Verdict::Passed,
    }
}

/// Asks a gate until it holds; none if it does. A tenant that is frozen, stopped or destroyed meanwhile is not waited
/// for.
async fn one<W: World>(world: &W, policy: &Policy, of: &Question, gate: &Gate) -> Option<Verdict> {
    let end = world.clock() + policy.gate_timeout;
    let mut last = None;
    let asking = async {
        loop {
            let seen = world.seen(&of.uuid).await;
            if let (Look::Ask, Some(seen)) = (gates::look(&of.before, seen.as_ref()), seen) {
                match once(world, &seen.name, gate, &of.before).await {
                    Ok(()) => return None,
                    Err((reason, true)) => return Some(failed(gate, &reason)),
                    Err((reason, false)) => last = Some(reason),
                }
            }
            world.sleep(AGAIN).await;
        }
    };
    let looking = async {
        loop {
            world.sleep(AGAIN.min(end.saturating_sub(world.clock()))).await;
            let seen = world.seen(&of.uuid).await;
            if let Look::Known(verdict) = gates::look(&of.before, seen.as_ref()) {
                return Some(verdict);
            }
            if world.clock() >= end {
                return None;
            }
        }
    };
    tokio::select! {
        // An answer counts, also at the last moment.
        biased;
        answer = asking => answer,
        known = looking => known.or_else(|| {
            let silent = || format!("no answer within {} s", policy.gate_timeout.as_secs_f32());
            Some(failed(gate, &last.unwrap_or_else(silent)))
        }),
    }
}

fn failed(gate: &Gate, reason: &str) -> Verdict {
    Verdict::Failed(format!("{}{reason}", prefix(gate)))
}

/// By what it is told in a note which gate failed.
fn prefix(gate: &Gate) -> String {
    format!("gate {gate}: ")
}

/// Asks a gate once; why it does not hold, and whether it never will.
async fn once<W: World>(world: &W, name: &str, gate: &Gate, before: &Before) -> Result<(), (String, bool)> {
    if *gate != Gate::Systemd {
        return world.ask(name, gate).await.map_err(|reason| (reason, false));
    }
    if before.failed_units.is_none() {
        return Ok(());
    }
    let units = world.failed_units(name).await;
    gates::newly_failed(before.failed_units.as_deref(), units.as_deref())
        .map_err(|reason| (reason, units.is_some()))
}

/// Why a rollout stops: the tenant that failed, and whether those that were not moved fail too.
pub(super) async fn explain<W: World>(
    world: &W,
    policy: &Policy,
    record: &Record,
    place: usize,
    tenants: &Tenants,
) -> String {
    let member = &record.members[place];
    let note = member.note.as_deref().unwrap_or("it failed");
    let reason = format!("tenant {:?}: {note}", member.name);
    let Some(gate) = policy.gates.iter().find(|gate| note.starts_with(&prefix(gate))) else { return reason };
    let is_control = |other: &&Member| {
        let answers =
            tenants.get(&other.uuid).is_some_and(|seen| seen.answers() && seen.pinned == other.from);
        other.state == MemberState::Waiting && other.wave > record.wave && answers
    };
    let (mut fail, mut hold) = (Vec::new(), Vec::new());
    for control in record.members.iter().filter(is_control).take(CONTROLS) {
        let name = control.name.as_str();
        let does_fail = if *gate == Gate::Systemd {
            let units = within(world, policy.gate_timeout, world.failed_units(name)).await.flatten();
            units.is_some_and(|units| units.iter().any(|unit| note.contains(unit.as_str())))
        } else {
            !matches!(within(world, policy.gate_timeout, world.ask(name, gate)).await, Some(Ok(())))
        };
        if does_fail { fail.push(name) } else { hold.push(name) }
    }
    match (fail.is_empty(), hold.is_empty()) {
        (true, true) => reason,
        (true, false) => format!("{reason}; it holds in {}, not moved yet", hold.join(", ")),
        (false, _) => format!(
            "{reason}; the same fails in {}, not moved yet: the version need not be the cause",
            fail.join(", ")
        ),
    }
}
