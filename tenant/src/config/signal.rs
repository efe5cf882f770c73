//! Signals as people write them.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// A signal number with its name, e.g. `SIGRTMIN+3`; see signal(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// glibc keeps the first two real-time signals of the kernel (32, 33) to itself.
    const RTMIN: i32 = 34;
    const RTMAX: i32 = 64;
    /// Asks a program to end.
    pub const SIGTERM: Self = Self(libc::SIGTERM);
    /// Asks busybox's init to power off.
    pub const SIGUSR2: Self = Self(libc::SIGUSR2);
    /// `SIGRTMIN+4`, which asks systemd to power off.
    pub const SIGRTMIN_4: Self = Self(Self::RTMIN + 4);

    /// The signal's number on this architecture.
    pub fn number(self) -> i32 {
        self.0
    }
}

/// A word that names no signal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a signal")]
pub struct InvalidSignal(String);

impl InvalidSignal {
    /// What a signal looks like.
    pub const HELP: &'static str = "e.g. SIGHUP, HUP, 1 or SIGRTMIN+4; see signal(7)";
}

impl FromStr for Signal {
    type Err = InvalidSignal;

    /// Takes what kill(1) takes: the name, with or without `SIG`, or the number.
    fn from_str(text: &str) -> Result<Self, InvalidSignal> {
        let refuse = || InvalidSignal(text.to_owned());
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let real_time = |number: i32| (Self::RTMIN..=Self::RTMAX).contains(&number).then_some(Self(number));
        if let Ok(number) = name.parse::<i32>() {
            let known = nix::sys::signal::Signal::try_from(number).ok().map(|signal| Self(signal as i32));
            return known.or_else(|| real_time(number)).ok_or_else(refuse);
        }
        if let Some(offset) = name.strip_prefix("RTMIN") {
            let offset = if offset.is_empty() { "+0" } else { offset };
            let offset = offset.strip_prefix('+').and_then(|offset| offset.parse::<u8>().ok());
            return offset.and_then(|offset| real_time(Self::RTMIN + i32::from(offset))).ok_or_else(refuse);
        }
        nix::sys::signal::Signal::from_str(&format!("SIG{name}"))
            .map(|signal| Self(signal as i32))
            .map_err(|_| refuse())
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::sys::signal::Signal::try_from(self.0) {
            Ok(signal) => f.write_str(signal.as_str()),
            Err(_) => write!(f, "SIGRTMIN+{}", self.0 - Self::RTMIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_spelled_as_for_kill() {
        for (text, number) in [
            ("SIGKILL", 9),
            ("KILL", 9),
            ("kill", 9),
            ("9", 9),
            ("SIGRTMIN", 34),
            ("RTMIN+4", 38),
            ("SIGRTMIN+30", 64),
            ("37", 37),
        ] {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for text in ["", "SIG", "SIGNOTHING", "0", "-9", "65", "32", "SIGRTMIN+31", "RTMIN-1", "RTMIN+-1"] {
            let error = text.parse::<Signal>().unwrap_err();
            assert_eq!(error.to_string(), format!("{text:?} is not a signal"));
        }
    }
}
