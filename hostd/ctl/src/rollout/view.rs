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
    let what = title(rollout);
    format!("rollout {}: {what}, {}{wave}: {moved} of {all} tenants have it\n", rollout.id, state.as_str())
}

/// What is said when it has begun.
pub(super) fn begun(rollout: &Rollout) -> String {
    let (_, all) = counts(rollout);
    let waves: Vec<String> = rollout.waves.iter().map(|wave| wave.tenants.to_string()).collect();
    let sizes = if waves.len() > 1 { format!(" in waves of {}", waves.join(", ")) } else { String::new() };
    let (id, plural) = (rollout.id, if all == 1 { "" } else { "s" });
    format!(
        "rollout {id} has begun: {all} tenant{plural}{sizes}\nsee it: tenantctl rollout status {id} --watch\n"
    )
}

/// Of which image to which version, without where it is.
fn title(rollout: &Rollout) -> String {
    let image = clean(&rollout.image);
    rollout.back_of.map_or_else(
        || format!("{image} to {}", clean(&rollout.to)),
        |of| format!("{image} back from rollout {of}"),
    )
}

/// Where it is, in words, and what an admin can do about that.
fn place(rollout: &Rollout, state: RolloutState) -> String {
    let wave = format!("wave {} of {}", rollout.wave, rollout.waves.len());
    let id = rollout.id;
    match state {
        RolloutState::Preparing => format!("{wave}: noting how its tenants are"),
        RolloutState::Moving => format!("{wave}: giving its tenants the version"),
        RolloutState::Gating => format!("{wave}: asking the gates of its tenants"),
        RolloutState::Baking => {
            let left = duration(rollout.bake_left_ms.unwrap_or_default().div_ceil(1000));
            format!("{wave}: watching its tenants, {left} left")
        }
        RolloutState::Paused => format!("paused in {wave}; to go on: tenantctl rollout resume {id}"),
        RolloutState::Undoing => format!("{wave}: giving its tenants back what they had"),
        RolloutState::Finished => "finished".to_owned(),
        RolloutState::Failed if rollout.waves.is_empty() => "failed".to_owned(),
        RolloutState::Failed => format!("failed in {wave}, which was undone"),
        RolloutState::Aborted => "aborted; tenants that had been moved keep the version".to_owned(),
    }
}

fn bar(rollout: &Rollout) -> String {
    let (moved, all) = counts(rollout);
    let filled = (BAR * moved).checked_div(all).unwrap_or(BAR);
    format!("[{}{}] {moved} of {all} have it\n", "#".repeat(filled), "-".repeat(BAR - filled))
}

fn wave_state(rollout: &Rollout, number: usize, wave: &RolloutWave) -> String {
    match rollout.state {
        _ if wave.done.is_some() => "done".to_owned(),
        Some(RolloutState::Failed) if number + 1 == rollout.wave => "undone".to_owned(),
        Some(state) if number + 1 == rollout.wave => state.as_str().to_owned(),
        _ => "not begun".to_owned(),
    }
}

/// A rollout with its waves.
pub(super) fn status(rollout: &Rollout) -> String {
    let mut text = progress(rollout, usize::MAX);
    let (moved, _) = counts(rollout);
    let id = rollout.id;
    if let Some(RolloutState::Failed | RolloutState::Aborted) = rollout.state {
        text.push_str(&format!("each tenant: tenantctl rollout show {id}\n"));
        if moved > 0 {
            let who = if moved == 1 { "one that has it".to_owned() } else { format!("{moved} that have it") };
            text.push_str(&format!("to take it back from the {who}: tenantctl rollout rollback {id}\n"));
        }
    }
    text
}

/// How far a rollout is, with at most so many of its waves: those about the present one.
pub(super) fn progress(rollout: &Rollout, most: usize) -> String {
    let Some(state) = rollout.state else { return line(rollout) };
    let place = place(rollout, state);
    let mut text = format!("rollout {}: {}\n{place}\n{}", rollout.id, title(rollout), bar(rollout));
    let row = |(number, wave): (usize, &RolloutWave)| {
        vec![
            (number + 1).to_string(),
            clean(&wave.size),
            wave.tenants.to_string(),
            wave.moved.to_string(),
            wave.passed.to_string(),
            wave.failed.to_string(),
            wave_state(rollout, number, wave),
        ]
    };
    let left_out = rollout.waves.len().saturating_sub(most);
    let first = rollout.wave.saturating_sub(most / 2 + 1).min(left_out);
    let rows = rollout.waves.iter().enumerate().skip(first).take(most).map(row).collect();
    let header = ["WAVE", "SIZE", "TENANTS", "MOVED", "PASSED", "FAILED", "STATE"];
    text.push_str(&table(&header, rows, &[2, 3, 4, 5]));
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
                {"size": "1", "tenants": 1, "moved": 1, "passed": 1, "failed": 0, "done": "2026-01-02T03:05:05Z"},
                {"size": "50%", "tenants": 4, "moved": 4, "passed": 3, "failed": 0},
                {"size": "100%", "tenants": 5, "moved": 0, "passed": 0, "failed": 0},
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
            "rollout 3: debian to 0123456789ab\n\
             wave 2 of 3: watching its tenants, 42s left\n\
             [####################--------------------] 5 of 10 have it\n\
             WAVE  SIZE  TENANTS  MOVED  PASSED  FAILED  STATE\n\
             1     1           1      1       1       0  done\n\
             2     50%         4      4       3       0  baking\n\
             3     100%        5      0       0       0  not begun\n"
        );
        assert_eq!(
            line(&rollout()),
            "rollout 3: debian to 0123456789ab, baking wave 2 of 3 (42s left): 5 of 10 tenants have it\n"
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
            text.contains("\nfailed in wave 2 of 3, which was undone\n") && text.contains("  undone\n"),
            "{text}"
        );
        assert!(
            text.ends_with(
                "reason: tenant \"a\": it rebooted\n\
                 each tenant: tenantctl rollout show 3\n\
                 to take it back from the 5 that have it: tenantctl rollout rollback 3\n"
            ),
            "{text}"
        );
        let paused = Rollout { state: Some(RolloutState::Paused), ..rollout() };
        assert!(status(&paused).contains("\npaused in wave 2 of 3; to go on: tenantctl rollout resume 3\n"));
        let damaged = Rollout { state: None, reason: Some("malformed".to_owned()), ..rollout() };
        assert_eq!(status(&damaged), "rollout 3: its record is damaged: malformed\n");
        assert!(history(&[damaged, rollout()]).contains("damaged"));
    }

    #[test]
    fn of_many_waves_those_about_the_present_one_are_shown_on_a_small_screen() {
        let wave = RolloutWave { size: "x".to_owned(), tenants: 1, ..RolloutWave::default() };
        let shown = |present: usize| -> Vec<String> {
            let many = Rollout { wave: present, waves: vec![wave.clone(); 60], ..rollout() };
            let text = progress(&many, 5);
            assert!(text.lines().all(|line| line.len() < 80), "{text}");
            text.lines().skip(4).map(|line| line[..2].trim().to_owned()).collect()
        };
        assert_eq!(shown(1), ["1", "2", "3", "4", "5"]);
        assert_eq!(shown(30), ["28", "29", "30", "31", "32"]);
        assert_eq!(shown(60), ["56", "57", "58", "59", "60"]);
    }

    #[test]
    fn what_begins_says_its_waves() {
        assert_eq!(
            begun(&rollout()),
            "rollout 3 has begun: 10 tenants in waves of 1, 4, 5\nsee it: tenantctl rollout status 3 --watch\n"
        );
    }
}
