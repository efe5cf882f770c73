//! Names, init, terminals, start and stop.

use tenant::model::limits::ByteSize;

use super::{
    draft::{Draft, Pair},
    report::Verdict,
};

pub(super) fn hostname(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    draft.hostname = Some(pair.value.to_owned());
    draft.fragment.hostname = Some(pair.value.to_owned());
    Verdict::done("hostname", format!("hostname = {:?}", pair.value))
}

pub(super) fn arch(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let same = match pair.value {
        "x86_64" | "amd64" | "linux64" => draft.host.arch == "x86_64",
        "aarch64" | "arm64" => draft.host.arch == "aarch64",
        other => other == draft.host.arch,
    };
    if same {
        return Verdict::note("it is the architecture of this machine");
    }
    Verdict::warning(format!(
        "this machine is {}; programs for {:?} run if the kernel supports them, but uname(2) reports this machine",
        draft.host.arch, pair.value
    ))
}

/// Reached only by an include without a value; those with one are settled while reading.
pub(super) fn include(_: &mut Draft<'_>, _: &Pair<'_>) -> Verdict {
    Verdict::note("it does not name a file")
}

/// Words of a command, parted by blanks; quotes keep blanks together, as in LXC.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

pub(super) fn init(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let argv = words(pair.value);
    let text = format!("init = {argv:?}");
    draft.fragment.init = Some(argv);
    Verdict::done("init", text)
}

pub(super) fn init_cwd(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "/" => Verdict::note("init starts in /"),
        _ => Verdict::warning(
            "init starts in /; use a shell that changes the directory: init = [\"/bin/sh\", \"-c\", …]",
        ),
    }
}

pub(super) fn init_id(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "0" => Verdict::note("init is root inside"),
        _ => Verdict::warning(
            "init is root inside; it can start the program as another user, e.g. with setpriv(1)",
        ),
    }
}

/// A signal as kill(1) takes it, by its name in the tenant's file.
pub(super) fn signal(text: &str) -> Option<String> {
    const RTMIN: i32 = 34;
    const RTMAX: i32 = 64;
    let of_number = |number: i32| match number {
        RTMIN..=RTMAX => Some(format!("SIGRTMIN+{}", number - RTMIN)),
        _ => nix::sys::signal::Signal::try_from(number).ok().map(|signal| signal.as_str().to_owned()),
    };
    if let Ok(number) = text.parse() {
        return of_number(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset =
            rest.strip_prefix('+').map_or(Some(0).filter(|_| rest.is_empty()), |n| n.parse().ok())?;
        return (0..=RTMAX - RTMIN).contains(&offset).then(|| of_number(RTMIN + offset)).flatten();
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let offset =
            rest.strip_prefix('-').map_or(Some(0).filter(|_| rest.is_empty()), |n| n.parse().ok())?;
        return (0..=RTMAX - RTMIN).contains(&offset).then(|| of_number(RTMAX - offset)).flatten();
    }
    let full = format!("SIG{name}");
    full.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal.as_str().to_owned())
}

pub(super) fn stop_signal(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let Some(name) = signal(pair.value) else {
        return Verdict::warning("it is not a signal; the image's applies");
    };
    draft.fragment.stop_signal = Some(name.clone());
    Verdict::done("stop_signal", format!("stop_signal = {name:?}"))
}

pub(super) fn autostart(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let on = match pair.value {
        "1" => true,
        "0" => false,
        _ => return Verdict::warning("LXC knows only 0 and 1"),
    };
    draft.fragment.autostart = Some(on);
    Verdict::done("autostart", format!("autostart = {on}"))
}

pub(super) fn start_order(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "0" => Verdict::note("tenants start in parallel"),
        _ => Verdict::warning(
            "tenants start in parallel: services have to wait for their dependencies themselves",
        ),
    }
}

pub(super) fn ephemeral(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "0" => Verdict::note("a tenant exists until it is destroyed"),
        _ => Verdict::warning(
            "a tenant exists until it is destroyed; only `lxc-start` and `lxc-execute` with a new name create a temporary one",
        ),
    }
}

pub(super) fn environment(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let Some((key, value)) = pair.value.split_once('=') else {
        return Verdict::warning("the host's environment is not inherited: write NAME=VALUE");
    };
    draft.fragment.env.insert(key.to_owned(), value.to_owned());
    Verdict::done(&format!("env.{key}"), format!("env.{key} = {value:?}"))
}

pub(super) fn pts_max(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let Ok(wanted) = pair.value.parse::<u32>() else { return Verdict::warning("it is not a number") };
    let most = wanted.clamp(16, 4096);
    draft.fragment.pts_max = Some(most);
    let why = if most == wanted { "" } else { " (the range is 16 to 4096)" };
    Verdict::done("pts_max", format!("pts_max = {most}{why}"))
}

pub(super) fn ttys(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let Ok(wanted) = pair.value.parse::<u32>() else { return Verdict::warning("it is not a number") };
    let ttys = u8::try_from(wanted.min(63)).unwrap_or(63);
    draft.fragment.ttys = Some(ttys);
    if wanted > 63 {
        return Verdict::warning("a tenant has at most 63 ttys: ttys = 63");
    }
    Verdict::done("ttys", format!("ttys = {ttys}"))
}

pub(super) fn console_path(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "none" | "auto" => Verdict::note("every tenant has a console, with or without clients"),
        _ => Verdict::warning(
            "the console cannot be a device or file: attach with tenantctl console, read it with tenantctl logs",
        ),
    }
}

pub(super) fn console_log(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let lower = pair.value.to_ascii_lowercase();
    let number = lower.trim_end_matches('b');
    let shift = |text: &str| -> Option<u64> {
        let (digits, shift) = match text.as_bytes().last()? {
            b'k' => (&text[..text.len() - 1], 10),
            b'm' => (&text[..text.len() - 1], 20),
            b'g' => (&text[..text.len() - 1], 30),
            _ => (text, 0),
        };
        digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
    };
    let Some(wanted) = (if lower == "auto" { Some(128 << 10) } else { shift(number) }) else {
        return Verdict::warning("it is not a size; the profile's value applies");
    };
    let size =
        ByteSize(wanted.clamp(4 << 10, 64 << 20)).max(draft.fragment.console_log.unwrap_or(ByteSize(0)));
    draft.fragment.console_log = Some(size);
    Verdict::done("console_log", format!("console_log = \"{size}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_written_in_many_ways() {
        for (text, name) in [
            ("SIGPWR", "SIGPWR"),
            ("PWR", "SIGPWR"),
            ("15", "SIGTERM"),
            ("37", "SIGRTMIN+3"),
            ("SIGRTMIN+3", "SIGRTMIN+3"),
            ("SIGRTMAX-10", "SIGRTMIN+20"),
            ("SIGRTMIN", "SIGRTMIN+0"),
        ] {
            let found = signal(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found, name, "{text}");
            assert!(found.parse::<tenant::config::Signal>().is_ok(), "{text}");
        }
        for text in ["", "SIG", "0", "-1", "32", "65", "SIGRTMIN+31", "SIGRTMAX-31", "SIGRTMIN-1", "word"] {
            assert_eq!(signal(text), None, "{text}");
        }
    }

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(words(" /bin/sh -c  'a b' \"\" x\"y z\""), ["/bin/sh", "-c", "a b", "", "xy z"]);
        assert!(words("  ").is_empty());
    }
}
