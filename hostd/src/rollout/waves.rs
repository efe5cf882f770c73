//! Which tenants are in which wave. Pure: the same tenants and the same policy make the same waves.

use tenant::model::{ids::Digest, image::ChannelName};
use wire::MemberState;

use super::{
    policy::{Policy, Wave},
    record::{Member, WaveRecord},
    seen::{Seen, Tenants},
};

/// Whose tenants are meant: those that are selected, else the followers of a channel.
fn is_meant(policy: &Policy, channel: &ChannelName, seen: &Seen) -> bool {
    if !policy.selects() {
        return seen.follow.as_ref() == Some(channel);
    }
    let by_name = policy.names.is_empty() || policy.names.iter().any(|name| name.matches(&seen.name));
    by_name && policy.labels.iter().all(|label| label.is_of(&seen.labels))
}

/// The tenants that are to be moved and have another version, in the order in which they are: those that are up first,
/// because one that is down shows nothing of a version, and each by its name.
pub fn meant(policy: &Policy, channel: &ChannelName, to: Digest, tenants: &Tenants) -> Vec<String> {
    let wanted =
        tenants.iter().filter(|(_, seen)| is_meant(policy, channel, seen) && !seen.has(to, policy.mode));
    let mut all: Vec<_> = wanted.collect();
    all.sort_by_key(|(_, seen)| (!seen.state.is_up(), &seen.name));
    all.into_iter().map(|(uuid, _)| uuid.clone()).collect()
}

/// How far a wave goes of so many.
fn reach(wave: &Wave, total: usize) -> usize {
    match wave {
        Wave::Count(count) => *count,
        Wave::Percent(percent) => (total * usize::from(*percent)).div_ceil(100),
        Wave::Label(_) => 0,
    }
}

/// The waves and their members; `versions` are what each tenant has and gets. Waves without a tenant are left out.
pub fn build(
    policy: &Policy,
    words: &[String],
    tenants: &Tenants,
    order: &[String],
    versions: impl Fn(&str, &Seen) -> (Digest, Digest),
) -> (Vec<WaveRecord>, Vec<Member>) {
    let mut left: Vec<&String> = order.iter().filter(|uuid| tenants.contains_key(*uuid)).collect();
    let total = left.len();
    let (mut waves, mut members) = (Vec::new(), Vec::new());
    for (number, wave) in policy.waves.iter().enumerate() {
        let taken: Vec<&String> = match wave {
            Wave::Label(label) => {
                let (taken, rest) = left.into_iter().partition(|uuid| label.is_of(&tenants[*uuid].labels));
                left = rest;
                taken
            }
            _ => {
                let most = reach(wave, total).saturating_sub(members.len()).min(left.len());
                left.drain(..most).collect()
            }
        };
        if taken.is_empty() {
            continue;
        }
        let size = words.get(number).cloned().unwrap_or_else(|| default_word(wave));
        members.extend(taken.into_iter().map(|uuid| {
            let seen = &tenants[uuid];
            let (from, to) = versions(uuid, seen);
            member(uuid, seen, waves.len(), from, to)
        }));
        waves.push(WaveRecord { size, done: None });
    }
    (waves, members)
}

fn default_word(wave: &Wave) -> String {
    match wave {
        Wave::Count(count) => count.to_string(),
        Wave::Percent(percent) => format!("{percent}%"),
        Wave::Label(_) => "label".to_owned(),
    }
}

/// A tenant that is to be moved.
pub fn member(uuid: &str, seen: &Seen, wave: usize, from: Digest, to: Digest) -> Member {
    Member {
        uuid: uuid.to_owned(),
        name: seen.name.clone(),
        wave,
        from,
        to,
        state: MemberState::Waiting,
        tries: 0,
        note: None,
        before: None,
    }
}

#[cfg(test)]
mod tests {
    use wire::{RolloutRequest, TenantState};

    use super::*;

    fn digest(digit: &str) -> Digest {
        format!("sha256:{}", digit.repeat(64)).parse().unwrap()
    }

    fn tenants(count: usize) -> Tenants {
        let one = |number: usize| Seen {
            name: format!("t{number:02}"),
            pinned: digest("a"),
            running: Some(digest("a")),
            state: TenantState::Running,
            why: None,
            follow: Some(ChannelName::stable()),
            labels: [("tier".to_owned(), if number >= 8 { "canary" } else { "rest" }.to_owned())].into(),
            marks: None,
        };
        // What they are known by has another order than their names.
        (0..count).map(|number| (format!("u{:02}", 99 - number), one(number))).collect()
    }

    fn waves(tenants: &Tenants, words: &[&str], more: RolloutRequest) -> Vec<Vec<String>> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let policy = Policy::parse(&RolloutRequest { waves: words.clone(), ..more }).unwrap();
        let order = meant(&policy, &ChannelName::stable(), digest("b"), tenants);
        let (waves, members) = build(&policy, &words, tenants, &order, |_, seen| (seen.pinned, digest("b")));
        let of = |wave| members.iter().filter(move |one| one.wave == wave).map(|one| one.name.clone());
        (0..waves.len()).map(|wave| of(wave).collect()).collect()
    }

    #[test]
    fn each_wave_adds_to_those_before_and_the_last_takes_all() {
        let sizes = |count, words: &[&str]| -> Vec<usize> {
            waves(&tenants(count), words, RolloutRequest::default()).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(30, &["1", "10%", "50%", "100%"]), [1, 2, 12, 15]);
        assert_eq!(sizes(3, &["1", "10%", "50%", "100%"]), [1, 1, 1]);
        assert_eq!(sizes(1, &["1", "10%", "50%", "100%"]), [1]);
        assert_eq!(sizes(10, &["100", "100%"]), [10]);
        assert_eq!(sizes(0, &["1", "100%"]), [0; 0]);
        assert_eq!(sizes(10, &["100%"]), [10]);
    }

    #[test]
    fn waves_go_by_label_and_by_name_and_those_that_are_down_come_last() {
        let mut all = tenants(10);
        all.get_mut("u99").unwrap().state = TenantState::Stopped;
        let made = waves(&all, &["label:tier=canary", "3", "100%"], RolloutRequest::default());
        assert_eq!(made[0], ["t08", "t09"]);
        assert_eq!(made[1], ["t01"]);
        assert_eq!(made[2], ["t02", "t03", "t04", "t05", "t06", "t07", "t00"]);
    }

    #[test]
    fn without_a_selection_followers_are_moved_and_with_one_those_that_are_selected() {
        let mut all = tenants(4);
        all.get_mut("u99").unwrap().follow = None;
        all.get_mut("u98").unwrap().follow = Some("edge".parse().unwrap());
        let updated = all.get_mut("u97").unwrap();
        (updated.pinned, updated.running) = (digest("b"), Some(digest("b")));
        assert_eq!(waves(&all, &["100%"], RolloutRequest::default()), [["t03"]]);
        let named = RolloutRequest { names: vec!["t0[0-2]".to_owned()], ..RolloutRequest::default() };
        assert_eq!(waves(&all, &["100%"], named), [["t00", "t01"]]);
        let labelled = RolloutRequest { label: vec!["tier=c*".to_owned()], ..RolloutRequest::default() };
        assert!(waves(&all, &["100%"], labelled).is_empty());
    }
}
