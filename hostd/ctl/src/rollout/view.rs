//! Rollouts as text. What hostd says may come from tenants: all of it is cleaned.

use wire::{Rollout, RolloutState, RolloutWave};

use crate::output::{clean, duration, table};

/// Width of the bar, characters.
const BAR: usize = 40;

fn counts(rollout: &Rollout) -> (usize, usize) {
    rollout.waves.iter().fold((0, 0), |(moved, all), wave| (moved + wave.moved, all + wave.tenants))
}

/// `rollout 3: debian to 0123456789ab, baking wave 2 of 4 (42s left): 3 of 30 tenants have it`
pub(super) fn line(rollout: &Rollout) -> String {
    let Some(state) = rollout.state else {
        let reason = rollout.reason.as_deref().unwrap_or_default();
        return format!("rollout {}: its record is damaged: {}\n", rollout.id, clean(reason));
    };
    let left = rollout.bake_left_ms.map(|left| format!(" ({} left)", duration(left.div_ceil(1000))));
    let wave = match state.is_final() || rollout.waves.is_empty() {
        true => String::new(),
        false => format!(" wave {} of {}{}", rollout.wave, rollout.waves.len(), left.unwrap_or_default()),
    };
    let (moved, all) = counts(rollout);
    let (image, to) = (clean(&rollout.image), clean(&rollout.to));
    let what = rollout
        .back_of
        .map_or_else(|| format!("{image} to {to}"), |of| format!("{image} back from rollout {of}"));
    format!("rollout {}: {what}, {}{wave}: {moved} of {all} tenants have it\n", rollout.id, state.as_str())
}

/// What is said when it has begun.
pub(super) fn begun(rollout: &Rollout) -> String {
    let (_, all) = counts(rollout);
    let waves: Vec<String> = rollout.waves.iter().map(|wave| wave.tenants.to_string()).collect();
    let sizes = if waves.is_empty() { String::new() } else { format!(" in waves of {}", waves.join(", ")) };
    let id = rollout.id;
    format!("rollout {id} has begun: {all} tenants{sizes}\nsee it: tenantctl rollout status {id} --watch\n")
}

fn bar(rollout: &Rollout) -> String {
    let (moved, all) = counts(rollout);
    let filled = (BAR * moved).checked_div(all).unwrap_or(BAR);
    format!("[{}{}] {moved} of {all}\n", "#".repeat(filled), "-".repeat(BAR - filled))
}

fn wave_state(rollout: &Rollout, number: usize, wave: &RolloutWave) -> String {
    match rollout.state {
        _ if wave.done.is_some() => "done".to_owned(),
        Some(RolloutState::Failed) if number + 1 == rollout.wave => "undone".to_owned(),
        Some(state) if number + 1 == rollout.wave && !state.is_final() => state.as_str().to_owned(),
        _ => "-".to_owned(),
    }
}

/// A rollout with its waves.
pub(super) fn status(rollout: &Rollout) -> String {
    let mut text = line(rollout);
    if rollout.state.is_none() {
        return text;
    }
    text.push_str(&bar(rollout));
    let row = |(number, wave): (usize, &RolloutWave)| {
        vec![
            (number + 1).to_string(),
            clean(&wave.size),
            wave.tenants.to_string(),
            wave.moved.to_string(),
            wave.failed.to_string(),
            wave_state(rollout, number, wave),
        ]
    };
    let rows = rollout.waves.iter().enumerate().map(row).collect();
    text.push_str(&table(&["WAVE", "SIZE", "TENANTS", "MOVED", "FAILED", "STATE"], rows, &[2, 3, 4]));
    if let Some(reason) = &rollout.reason {
        text.push_str(&format!("reason: {}\n", clean(reason)));
    }
    text
}

/// A rollout with its policy and its tenants.
pub(super) fn show(rollout: &Rollout) -> String {
    let mut text = status(rollout);
    let policy = &rollout.policy;
    let mut say = |key: &str, value: Option<String>| {
        text.push_str(&value.map(|value| format!("{key}: {}\n", clean(&value))).unwrap_or_default());
    };
    say("started", Some(rollout.created.clone()));
    say("ended", rollout.ended.clone());
    say("channel", rollout.channel.clone());
    say("mode", policy.mode.and_then(|mode| serde_json::to_value(mode).ok()?.as_str().map(str::to_owned)));
    say("gates", (!policy.gate.is_empty()).then(|| policy.gate.join(", ")));
    say("bake", policy.bake.clone());
    let note = |note: &Option<String>| note.as_deref().map_or("-".to_owned(), clean);
    let rows = rollout
        .tenants
        .iter()
        .map(|one| {
            let state = one.state.as_str().to_owned();
            vec![
                clean(&one.name),
                one.wave.to_string(),
                state,
                clean(&one.from),
                clean(&one.to),
                note(&one.note),
            ]
        })
        .collect();
    text.push_str(&table(&["NAME", "WAVE", "STATE", "FROM", "TO", "NOTE"], rows, &[1]));
    text
}

/// All rollouts.
pub(super) fn history(all: &[Rollout]) -> String {
    let row = |one: &Rollout| {
        let (moved, count) = counts(one);
        vec![
            one.id.to_string(),
            clean(&one.image),
            clean(&one.to),
            one.state.map_or("damaged", RolloutState::as_str).to_owned(),
            clean(&one.created),
            format!("{moved}/{count}"),
            one.reason.as_deref().map_or("-".to_owned(), clean),
        ]
    };
    let header = ["ID", "IMAGE", "TO", "STATE", "STARTED", "TENANTS", "REASON"];
    table(&header, all.iter().map(row).collect(), &[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout() -> Rollout {
        serde_json::from_value(serde_json::json!({
            "id": 3, "image": "debian", "to": "0123456789ab", "state": "baking", "created": "2026-01-02T03:04:05Z",
            "wave": 2, "bake_left_ms": 41_200, "policy": {"gate": ["tcp:22"], "mode": "live"},
            "waves": [
                {"size": "1", "tenants": 1, "moved": 1, "failed": 0, "done": "2026-01-02T03:05:05Z"},
                {"size": "50%", "tenants": 4, "moved": 4, "failed": 0},
                {"size": "100%", "tenants": 5, "moved": 0, "failed": 0},
            ],
            "tenants": [
                {"name": "a", "wave": 1, "state": "passed", "from": "aa", "to": "bb", "note": "bad\u{1b}[31m"},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_rollout_is_shown_with_its_waves() {
        assert_eq!(
            status(&rollout()),
            "rollout 3: debian to 0123456789ab, baking wave 2 of 3 (42s left): 5 of 10 tenants have it\n\
             [####################--------------------] 5 of 10\n\
             WAVE  SIZE  TENANTS  MOVED  FAILED  STATE\n\
             1     1           1      1       0  done\n\
             2     50%         4      4       0  baking\n\
             3     100%        5      0       0  -\n"
        );
        assert!(!show(&rollout()).contains('\u{1b}'), "what a tenant says is no command of a terminal");
        let undone = Rollout {
            state: Some(RolloutState::Failed),
            bake_left_ms: None,
            reason: Some("tenant \"a\": it rebooted".to_owned()),
            ..rollout()
        };
        let text = status(&undone);
        assert!(
            text.contains("failed: 5 of 10")
                && text.contains("  undone\n")
                && text.ends_with("it rebooted\n")
        );
        let damaged = Rollout { state: None, reason: Some("malformed".to_owned()), ..rollout() };
        assert_eq!(status(&damaged), "rollout 3: its record is damaged: malformed\n");
        assert!(history(&[damaged, rollout()]).contains("damaged"));
    }

    #[test]
    fn what_begins_says_its_waves() {
        assert_eq!(
            begun(&rollout()),
            "rollout 3 has begun: 10 tenants in waves of 1, 4, 5\nsee it: tenantctl rollout status 3 --watch\n"
        );
    }
}
