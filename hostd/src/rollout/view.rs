//! A rollout as it is told.

use wire::{MemberState, Rollout, RolloutMember, RolloutState, RolloutWave};

use super::record::{End, Record, Step, Wanted};

/// Where a rollout is.
pub fn state(record: &Record) -> RolloutState {
    match (record.step, record.wanted) {
        (Step::Done(End::Finished), _) => RolloutState::Finished,
        (Step::Done(End::Failed), _) => RolloutState::Failed,
        (Step::Done(End::Aborted), _) => RolloutState::Aborted,
        (Step::Undo, _) => RolloutState::Undoing,
        (_, Wanted::Pause) => RolloutState::Paused,
        (Step::Prepare, _) => RolloutState::Preparing,
        (Step::Move, _) => RolloutState::Moving,
        (Step::Gate | Step::Confirm, _) => RolloutState::Gating,
        (Step::Bake, _) => RolloutState::Baking,
    }
}

/// A rollout, with its tenants or without.
pub fn view(record: &Record, with_tenants: bool) -> Rollout {
    let mut waves: Vec<RolloutWave> = record
        .waves
        .iter()
        .map(|wave| RolloutWave {
            size: wave.size.clone(),
            done: wave.done.clone(),
            ..RolloutWave::default()
        })
        .collect();
    for member in &record.members {
        let wave = &mut waves[member.wave];
        wave.tenants += 1;
        wave.moved += usize::from(matches!(member.state, MemberState::Moved | MemberState::Passed));
        wave.passed += usize::from(member.state == MemberState::Passed);
        let has_failed = matches!(member.state, MemberState::Failed | MemberState::Stuck);
        wave.failed += usize::from(has_failed);
    }
    let member = |member: &super::record::Member| RolloutMember {
        name: member.name.clone(),
        wave: member.wave + 1,
        state: member.state,
        from: member.from.short(),
        to: member.to.short(),
        note: member.note.clone(),
    };
    let tenants = if with_tenants { record.members.iter().map(member).collect() } else { Vec::new() };
    Rollout {
        id: record.id,
        image: record.image.to_string(),
        to: record.to.map_or_else(|| "previous".to_owned(), |to| to.short()),
        state: Some(state(record)),
        back_of: record.back_of,
        channel: record.channel.as_ref().map(|channel| channel.name.to_string()),
        created: record.created.clone(),
        ended: record.ended.clone(),
        wave: record.wave + 1,
        waves,
        policy: record.policy.clone(),
        bake_left_ms: record.bake_left_ms,
        reason: record.reason.clone(),
        tenants,
    }
}

/// One whose record is damaged.
pub fn broken(id: u64, reason: &str) -> Rollout {
    Rollout {
        id,
        image: String::new(),
        to: String::new(),
        state: None,
        back_of: None,
        channel: None,
        created: String::new(),
        ended: None,
        wave: 0,
        waves: Vec::new(),
        policy: wire::RolloutRequest::default(),
        bake_left_ms: None,
        reason: Some(reason.to_owned()),
        tenants: Vec::new(),
    }
}
