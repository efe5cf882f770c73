//! What comes next in a rollout. Pure: from its record and the tenants as they are.
//!
//! [`next`] says what is to be done; what came of it is noted by one of the functions below it. The record is written
//! before anything is done and after it. hostd may end at any moment in between: what the record does not say yet is
//! seen in the tenants, which have one version or the other.

use std::time::Duration;

use wire::{MemberState, RebaseMode, TenantState};

use super::{
    gates::{self, Look, Verdict},
    policy::Policy,
    record::{Before, End, Member, Record, Step, Wanted, WaveRecord},
    seen::{Marks, Seen, Tenants},
    waves,
};

/// How often it is tried to put a tenant back.
const TRIES: u8 = 3;

/// What is to be done; tenants by their places in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Note how these are.
    Prepare(Vec<usize>),
    /// Give these their version.
    Move(Vec<usize>),
    /// Ask the gates of these.
    Gate(Vec<usize>),
    /// Watch the wave for so long.
    Bake(Duration),
    /// Give these their previous version again.
    Back(Vec<usize>),
    /// Find out whether tenants that were not moved fail as this one does.
    Explain(usize),
    /// See whether tenants have come that are to be moved too, see [`last`].
    LookForMore,
    /// Point the channel at the version.
    PointChannel,
    /// Wait for an admin.
    Wait,
    /// Nothing.
    End,
}

/// What is to be told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The wave of this number, from 1, is done.
    WaveDone(usize),
    /// It has ended.
    Ended(End),
}

/// Decides what comes next, and takes the steps that need nothing done.
///
/// `tenants` are those of the record, as they are now.
pub fn next(record: &mut Record, tenants: &Tenants, policy: &Policy, now: &str) -> (Next, Vec<Told>) {
    let mut told = Vec::new();
    let next = loop {
        match record.step {
            Step::Done(_) => break Next::End,
            Step::Undo => match undo(record, tenants, policy.mode) {
                Some(next) => break next,
                None => end(record, End::Failed, now, &mut told),
            },
            _ => {
                reconcile(record, tenants);
                if let Some(failed) = enough_failed(record, policy) {
                    break Next::Explain(failed);
                }
                match record.wanted {
                    Wanted::Abort => end(record, End::Aborted, now, &mut told),
                    Wanted::Pause => break Next::Wait,
                    Wanted::Run => {
                        if let Some(next) = go_on(record, tenants, policy, now, &mut told) {
                            break next;
                        }
                    }
                }
            }
        }
    };
    (next, told)
}

fn end(record: &mut Record, end: End, now: &str, told: &mut Vec<Told>) {
    record.step = Step::Done(end);
    record.ended = Some(now.to_owned());
    record.bake_left_ms = None;
    told.push(Told::Ended(end));
}

/// A tenant for which the rollout stops.
fn enough_failed(record: &Record, policy: &Policy) -> Option<usize> {
    let is_failed = |place: &usize| record.members[*place].state == MemberState::Failed;
    let last = record.wave_members().filter(is_failed).last();
    last.filter(|_| record.failures >= policy.max_failures)
}

/// Tenants that are gone, have another name, or were given another version by someone else.
fn reconcile(record: &mut Record, tenants: &Tenants) {
    for member in &mut record.members {
        if matches!(member.state, MemberState::Gone | MemberState::Undone | MemberState::Stuck) {
            continue;
        }
        let gone = match tenants.get(&member.uuid).filter(|seen| seen.state != TenantState::Destroying) {
            None => Some("it was destroyed, or boots another image"),
            Some(seen) => {
                member.name.clone_from(&seen.name);
                let is_waiting = matches!(member.state, MemberState::Waiting | MemberState::Failed);
                let is_expected = seen.pinned == member.to || (is_waiting && seen.pinned == member.from);
                (!is_expected).then_some("it was given another version meanwhile")
            }
        };
        if let Some(gone) = gone {
            (member.state, member.note) = (MemberState::Gone, Some(gone.to_owned()));
        }
    }
}

/// The next thing to do for the present wave; none where a step was taken and it is to be looked again.
fn go_on(
    record: &mut Record,
    tenants: &Tenants,
    policy: &Policy,
    now: &str,
    told: &mut Vec<Told>,
) -> Option<Next> {
    if record.waves.get(record.wave).is_none_or(|wave| wave.done.is_some()) {
        return wave_after(record, now, told);
    }
    let of_state = |record: &Record, state| -> Vec<usize> {
        record.wave_members().filter(|place| record.members[*place].state == state).collect()
    };
    let gates = |record: &mut Record, then: Step| {
        let due = of_state(record, MemberState::Moved);
        if !due.is_empty() && policy.mode != RebaseMode::NextStart {
            return Some(Next::Gate(due));
        }
        // Those that failed and are too few to stop it go back alone.
        let failed = of_state(record, MemberState::Failed);
        let back: Vec<_> = failed
            .into_iter()
            .filter(|place| goes_back(&record.members[*place], tenants, policy.mode))
            .collect();
        if !back.is_empty() {
            return Some(Next::Back(back));
        }
        record.step = then;
        None
    };
    match record.step {
        Step::Prepare => {
            let is_unknown = |place: &usize| record.members[*place].before.is_none();
            let unknown: Vec<_> =
                of_state(record, MemberState::Waiting).into_iter().filter(is_unknown).collect();
            if !unknown.is_empty() {
                return Some(Next::Prepare(unknown));
            }
            record.step = Step::Move;
            None
        }
        Step::Move => {
            let mut due = Vec::new();
            for place in of_state(record, MemberState::Waiting) {
                let member = &mut record.members[place];
                // A restart that was cut in half leaves it down, with its version.
                match tenants.get(&member.uuid) {
                    Some(seen)
                        if seen.has(member.to, policy.mode) && !is_half_restarted(member, seen, policy) =>
                    {
                        note_moved(member, policy.mode);
                    }
                    _ => due.push(place),
                }
            }
            if !due.is_empty() {
                return Some(Next::Move(due));
            }
            record.step = Step::Gate;
            None
        }
        Step::Gate => {
            let next = gates(record, Step::Bake);
            if next.is_none() {
                record.bake_left_ms = Some(u64::try_from(policy.bake.as_millis()).unwrap_or(u64::MAX));
            }
            next
        }
        Step::Bake => {
            for place in of_state(record, MemberState::Passed) {
                watched(record, place, tenants);
            }
            if enough_failed(record, policy).is_some() {
                return None;
            }
            let left = Duration::from_millis(record.bake_left_ms.unwrap_or_default());
            if !left.is_zero() {
                return Some(Next::Bake(left));
            }
            record.bake_left_ms = None;
            if !policy.bake.is_zero() {
                for place in of_state(record, MemberState::Passed) {
                    record.members[place].state = MemberState::Moved;
                }
            }
            record.step = Step::Confirm;
            None
        }
        Step::Confirm => {
            if let Some(next) = gates(record, Step::Confirm) {
                return Some(next);
            }
            for place in of_state(record, MemberState::Moved) {
                record.members[place].state = MemberState::Passed;
            }
            record.waves[record.wave].done = Some(now.to_owned());
            told.push(Told::WaveDone(record.wave + 1));
            None
        }
        Step::Undo | Step::Done(_) => None,
    }
}

fn is_half_restarted(member: &Member, seen: &Seen, policy: &Policy) -> bool {
    let was_up = member.was_up();
    policy.mode == RebaseMode::Restart && was_up && !seen.state.is_up()
}

/// After a wave: the next one, or what comes after the last.
fn wave_after(record: &mut Record, now: &str, told: &mut Vec<Told>) -> Option<Next> {
    if record.wave + 1 < record.waves.len() {
        record.wave += 1;
        record.step = Step::Prepare;
        return None;
    }
    if record.takes_newcomers && record.channel.is_some() {
        return Some(Next::LookForMore);
    }
    channel_or_end(record, now, told)
}

fn channel_or_end(record: &mut Record, now: &str, told: &mut Vec<Told>) -> Option<Next> {
    if record.channel.as_ref().is_some_and(|channel| !channel.is_moved) {
        return Some(Next::PointChannel);
    }
    end(record, End::Finished, now, told);
    None
}

/// After the last wave, with all tenants of the image that are in no other rollout: who came meanwhile is a wave of its
/// own; where there is none, the channel is moved, and that is the end.
pub fn last(record: &mut Record, all: &Tenants, policy: &Policy, now: &str) -> (Next, Vec<Told>) {
    if record.wanted != Wanted::Run {
        return next(record, all, policy, now);
    }
    let newcomers = newcomers(record, all, policy);
    if newcomers.is_empty() {
        let mut told = Vec::new();
        let next = channel_or_end(record, now, &mut told);
        return (next.unwrap_or(Next::End), told);
    }
    record.waves.push(WaveRecord { size: "new".to_owned(), done: None });
    record.wave = record.waves.len() - 1;
    for member in newcomers {
        record.members.push(Member { wave: record.wave, ..member });
    }
    record.step = Step::Prepare;
    next(record, all, policy, now)
}

/// Tenants that follow the channel, have another version, and were not there when the waves were made.
fn newcomers(record: &Record, tenants: &Tenants, policy: &Policy) -> Vec<Member> {
    let (Some(channel), Some(to), true) = (&record.channel, record.to, record.takes_newcomers) else {
        return Vec::new();
    };
    let known = |uuid: &String| record.members.iter().any(|member| member.uuid == *uuid);
    let meant = waves::meant(policy, &channel.name, to, tenants).into_iter().filter(|uuid| !known(uuid));
    meant.map(|uuid| waves::member(&uuid, &tenants[&uuid], 0, tenants[&uuid].pinned, to)).collect()
}

/// Whether a tenant is to be put back, or started again with what it had.
fn goes_back(member: &Member, tenants: &Tenants, mode: RebaseMode) -> bool {
    let Some(seen) = tenants.get(&member.uuid).filter(|seen| seen.state != TenantState::Destroying) else {
        return false;
    };
    let is_touched =
        seen.pinned == member.to || (mode != RebaseMode::NextStart && seen.running == Some(member.to));
    let was_up = member.was_up();
    let is_down = mode != RebaseMode::NextStart && was_up && seen.state == TenantState::Failed;
    is_touched || (is_down && seen.pinned == member.from)
}

/// The tenants of the wave that go back; none when all have.
fn undo(record: &mut Record, tenants: &Tenants, mode: RebaseMode) -> Option<Next> {
    let mut back = Vec::new();
    for place in record.wave_members().collect::<Vec<_>>() {
        let member = &mut record.members[place];
        if matches!(member.state, MemberState::Undone | MemberState::Stuck | MemberState::Gone) {
            continue;
        }
        match goes_back(member, tenants, mode) {
            true => back.push(place),
            false if matches!(member.state, MemberState::Moved | MemberState::Passed) || member.tries > 0 => {
                let is_there = tenants.get(&member.uuid).is_some_and(|seen| seen.pinned == member.from);
                member.state = if is_there { MemberState::Undone } else { MemberState::Gone };
            }
            false => {}
        }
    }
    (!back.is_empty()).then_some(Next::Back(back))
}

/// How a tenant was before its wave.
pub fn prepared(record: &mut Record, place: usize, before: Before) {
    record.members[place].before = Some(before);
}

fn note_moved(member: &mut Member, mode: RebaseMode) {
    member.state = MemberState::Moved;
    if mode == RebaseMode::Restart
        && let Some(before) = &mut member.before
    {
        before.marks = None;
    }
}

fn note_failed(record: &mut Record, place: usize, reason: String) {
    record.failures += 1;
    let member = &mut record.members[place];
    (member.state, member.note) = (MemberState::Failed, Some(reason));
}

/// A tenant was moved, or could not be. What it cannot be told yet may be said with it.
pub fn moved(record: &mut Record, place: usize, outcome: Result<Option<String>, String>, mode: RebaseMode) {
    match outcome {
        Ok(note) => {
            note_moved(&mut record.members[place], mode);
            record.members[place].note = note;
        }
        Err(reason) => note_failed(record, place, reason),
    }
}

/// What the gates of a tenant said, and what it was when they were asked.
pub fn gated(record: &mut Record, place: usize, verdict: Verdict, marks: Option<Marks>) {
    let member = &mut record.members[place];
    match verdict {
        Verdict::Passed => member.state = MemberState::Passed,
        Verdict::Waived(why) => {
            member.state = MemberState::Passed;
            match &mut member.note {
                Some(note) if note.contains(&why) => {}
                Some(note) => note.push_str(&format!("; {why}")),
                none => *none = Some(why),
            }
        }
        Verdict::Failed(reason) => return note_failed(record, place, reason),
    }
    if let Some(before) = &mut member.before {
        before.marks = before.marks.or(marks);
    }
}

/// So much of the bake is left.
pub fn baked(record: &mut Record, left: Duration) {
    // Never less than is left.
    record.bake_left_ms = Some(u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
}

/// A tenant of a wave that is watched, as it is seen.
fn watched(record: &mut Record, place: usize, tenants: &Tenants) {
    let member = &record.members[place];
    let before = member.before.clone().unwrap_or_default();
    if let Look::Known(Verdict::Failed(reason)) = gates::look(&before, tenants.get(&member.uuid)) {
        note_failed(record, place, reason);
    }
}

/// A tenant was put back, or could not be.
pub fn put_back(record: &mut Record, place: usize, outcome: Result<(), String>) {
    let member = &mut record.members[place];
    match outcome {
        Ok(()) => member.state = MemberState::Undone,
        Err(reason) => {
            member.tries += 1;
            member.note = Some(format!("cannot put it back: {reason}"));
            if member.tries >= TRIES {
                member.state = MemberState::Stuck;
            }
        }
    }
}

/// The rollout stops for this reason, and its wave is put back.
pub fn stop(record: &mut Record, reason: String) {
    record.reason = Some(reason);
    record.step = Step::Undo;
    record.bake_left_ms = None;
}

/// The channel points at the version, or could not be pointed there, which ends the rollout.
pub fn pointed(record: &mut Record, outcome: Result<(), String>, now: &str) -> Vec<Told> {
    let mut told = Vec::new();
    match (outcome, &mut record.channel) {
        (Ok(()), Some(channel)) => channel.is_moved = true,
        (Ok(()), None) => {}
        (Err(reason), _) => {
            record.reason = Some(reason);
            end(record, End::Failed, now, &mut told);
        }
    }
    told
}

/// The machine was booted since: boots and kills are counted from here.
pub fn rebooted(record: &mut Record, boot: &str) {
    if record.boot == boot {
        return;
    }
    boot.clone_into(&mut record.boot);
    for before in record.members.iter_mut().filter_map(|member| member.before.as_mut()) {
        before.marks = None;
    }
}
