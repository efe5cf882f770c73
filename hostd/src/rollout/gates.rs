//! Gates, as far as they are pure: what is seen of a tenant without asking it, what systemctl(1) and a web server say.

use wire::TenantState;

use super::{record::Before, seen::Seen};

/// What the gates said of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They hold.
    Passed,
    /// They were not asked, for this reason.
    Waived(String),
    /// One does not hold.
    Failed(String),
}

/// What is seen of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It can be asked.
    Ask,
    /// It is on its way up.
    Later,
    /// It is known without asking.
    Known(Verdict),
}

/// Looks at a tenant after its wave.
pub fn look(before: &Before, seen: Option<&Seen>) -> Look {
    let waived = |why: &str| Look::Known(Verdict::Waived(why.to_owned()));
    let failed = |why: String| Look::Known(Verdict::Failed(why));
    let Some(seen) = seen else { return waived("it was destroyed") };
    match seen.state {
        TenantState::Running | TenantState::Parked => {}
        TenantState::Queued | TenantState::Starting | TenantState::Booting => return Look::Later,
        TenantState::Failed if before.was_up => {
            let why = seen.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            return failed(format!("it has failed{why}"));
        }
        TenantState::Frozen => return waived("it is frozen: its gates were not asked"),
        TenantState::Stopped | TenantState::Stopping | TenantState::Failed => {
            return waived("it is not running: its gates were not asked");
        }
        TenantState::Destroying | TenantState::Broken => return waived("it is being destroyed"),
    }
    if let (Some(then), Some(now)) = (&before.marks, &seen.marks)
        && then.supervisor == now.supervisor
    {
        if now.boots > then.boots {
            return failed("it rebooted".to_owned());
        }
        if now.oom_kills > then.oom_kills {
            let count = now.oom_kills - then.oom_kills;
            return failed(format!(
                "the kernel killed {count} of its processes because its memory was used up"
            ));
        }
    }
    Look::Ask
}

/// Longest name of a unit, bytes.
const LONGEST_UNIT: usize = 255;
/// Most bytes of names of failed units that are noted of a tenant before its wave.
const NOTED_UNITS: usize = 2048;

/// The failed units of a tenant, as far as they can be noted in the record, whose size no tenant decides.
pub fn noted(units: Option<Vec<String>>) -> Option<Vec<String>> {
    units.filter(|units| units.iter().map(String::len).sum::<usize>() <= NOTED_UNITS)
}

/// The units in what `systemctl list-units --failed --plain --no-legend` prints, sorted.
pub fn failed_units(text: &str) -> Vec<String> {
    let first =
        |line: &str| line.trim_start_matches(['●', ' ']).split_ascii_whitespace().next().map(str::to_owned);
    let is_unit = |word: &String| word.contains('.') && !word.chars().any(char::is_control);
    let is_name = |word: &String| is_unit(word) && word.len() <= LONGEST_UNIT;
    let mut units: Vec<String> = text.lines().filter_map(first).filter(is_name).collect();
    units.sort();
    units
}

/// Whether units have failed that had not failed before.
pub fn newly_failed(before: Option<&[String]>, now: Option<&[String]>) -> Result<(), String> {
    match (before, now) {
        (Some(before), Some(now)) => {
            let new: Vec<_> = now.iter().filter(|unit| !before.contains(unit)).map(String::as_str).collect();
            let more = if new.len() > 5 { format!(" and {} more", new.len() - 5) } else { String::new() };
            match new.len() {
                0 => Ok(()),
                1 => Err(format!("{} has failed", new[0])),
                _ => Err(format!("{}{more} have failed", new[..new.len().min(5)].join(", "))),
            }
        }
        (Some(_), None) => Err("systemctl does not answer any more".to_owned()),
        // It has no systemd: that it is running is all there is to see.
        (None, _) => Ok(()),
    }
}

/// Whether the first line of an answer over HTTP is one of a final status below 400.
pub fn http_status(answer: &[u8]) -> Result<(), String> {
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let status = words.next().filter(|word| word.starts_with("HTTP/")).and(words.next());
    match status.and_then(|status| status.parse::<u16>().ok()) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("it answers with status {status}")),
        None => Err("it does not answer in HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::seen::Marks;

    fn seen(state: TenantState, marks: Marks) -> Seen {
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        Seen {
            name: "alice".to_owned(),
            pinned: digest,
            running: Some(digest),
            state,
            why: None,
            follow: None,
            labels: Default::default(),
            marks: Some(marks),
        }
    }

    #[test]
    fn reboots_and_kills_fail_and_what_an_admin_did_does_not() {
        let marks = |supervisor, boots, oom_kills| Marks { supervisor, boots, oom_kills };
        let before = Before { was_up: true, failed_units: None, marks: Some(marks(7, 1, 2)) };
        let looks = |state, now| look(&before, Some(&seen(state, now)));
        assert_eq!(looks(TenantState::Running, marks(7, 1, 2)), Look::Ask);
        assert!(
            matches!(looks(TenantState::Running, marks(7, 2, 0)), Look::Known(Verdict::Failed(why)) if why == "it rebooted")
        );
        assert!(
            matches!(looks(TenantState::Running, marks(7, 1, 3)), Look::Known(Verdict::Failed(why)) if why.contains("killed 1 "))
        );
        assert_eq!(looks(TenantState::Running, marks(8, 5, 9)), Look::Ask, "an admin restarted it");
        assert_eq!(looks(TenantState::Booting, marks(7, 2, 0)), Look::Later);
        for state in [TenantState::Stopped, TenantState::Frozen, TenantState::Destroying] {
            assert!(matches!(looks(state, marks(7, 1, 2)), Look::Known(Verdict::Waived(_))), "{state:?}");
        }
        assert!(matches!(looks(TenantState::Failed, marks(7, 1, 2)), Look::Known(Verdict::Failed(_))));
        assert!(matches!(look(&before, None), Look::Known(Verdict::Waived(_))));
        let down = Before { was_up: false, ..before.clone() };
        let failed = seen(TenantState::Failed, marks(7, 1, 2));
        assert!(
            matches!(look(&down, Some(&failed)), Look::Known(Verdict::Waived(_))),
            "it had failed before"
        );
    }

    #[test]
    fn only_newly_failed_units_count() {
        let text = "● smartd.service loaded failed failed Self Monitoring\napache2.service loaded failed failed x\n\n";
        let units = failed_units(text);
        assert_eq!(units, ["apache2.service", "smartd.service"]);
        let old = ["smartd.service".to_owned()];
        assert_eq!(newly_failed(Some(&old), Some(&old)), Ok(()));
        assert_eq!(newly_failed(Some(&old), Some(&units)).unwrap_err(), "apache2.service has failed");
        assert!(newly_failed(Some(&old), None).is_err(), "a systemctl that is broken now");
        assert_eq!(newly_failed(None, None), Ok(()));
        let many: Vec<String> = (0..9).map(|number| format!("u{number}.service")).collect();
        assert!(
            newly_failed(Some(&[]), Some(&many)).unwrap_err().ends_with("u4.service and 4 more have failed")
        );
    }

    #[test]
    fn a_web_server_answers_with_a_status_below_400() {
        assert_eq!(http_status(b"HTTP/1.0 200 OK\r\n\r\n"), Ok(()));
        assert_eq!(http_status(b"HTTP/1.1 301\r\n"), Ok(()));
        for bad in [&b"HTTP/1.1 500 Oh\r\n"[..], b"SSH-2.0-OpenSSH\r\n", b"", b"HTTP/1.1 \xff"] {
            assert!(http_status(bad).is_err(), "{bad:?}");
        }
    }
}
