//! How a system call waits, pure: which of its arguments says for how long, and what that means.
//!
//! A process that is frozen is in its system call still, see `proc_pid_syscall`(5). Where the kernel writes back how much
//! is left, as it does for nanosleep(2) and pselect(2), that is exact. See also [`super::timers`].

use std::time::Duration;

/// A system call that a task is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: i64,
    pub(super) arguments: [u64; 6],
}

impl Call {
    /// From `/proc/PID/task/TID/syscall`; none of a task that is in none, or that computes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace();
        let number = fields.next()?.parse().ok()?;
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
        }
        Some(Self { number, arguments })
    }

    /// Whether it goes on with another call, which a stop has interrupted.
    pub(super) fn is_restart(&self) -> bool {
        self.number == libc::SYS_restart_syscall
    }
}

/// Where the time limit of a wait is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// So long from the beginning of the wait.
    Whole(Duration),
    /// A `struct timespec` at this address: so long from the beginning.
    WholeAt(u64),
    /// A `struct timespec` there: so long from now. Of a wait for something else it counts only while the task is running.
    RestAt(u64),
    /// A `struct timeval` there: the same.
    MicrosAt(u64),
    /// A `struct timespec` there: a moment of this clock.
    MomentAt(u64, Clock),
}

/// A clock, see clock_gettime(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Realtime,
    Monotonic,
    Boottime,
}

impl Clock {
    fn of(id: u64) -> Option<Self> {
        match id as i32 {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_ALARM => Some(Self::Realtime),
            libc::CLOCK_MONOTONIC => Some(Self::Monotonic),
            libc::CLOCK_BOOTTIME | libc::CLOCK_BOOTTIME_ALARM => Some(Self::Boottime),
            _ => None,
        }
    }
}

/// How a task waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) limit: Limit,
    /// Whether it waits for something else, and the limit may be a habit of an event loop.
    pub(super) is_habit: bool,
}

/// How a system call waits; none where it does so without a limit, or does not wait at all.
pub(super) fn wait_of(call: &Call) -> Option<Wait> {
    let [a, b, c, d, e, _] = call.arguments;
    let sleep = |limit| Some(Wait { limit, is_habit: false });
    let habit = |limit| Some(Wait { limit, is_habit: true });
    let millis = |value: u64| {
        let millis = u64::try_from(value as i32).ok()?;
        habit(Limit::Whole(Duration::from_millis(millis)))
    };
    let given =
        |address: u64, limit: fn(u64) -> Limit| if address == 0 { None } else { habit(limit(address)) };
    match call.number {
        libc::SYS_nanosleep => sleep(rest_or_whole(a, b)),
        libc::SYS_clock_nanosleep if b & libc::TIMER_ABSTIME as u64 != 0 => {
            sleep(Limit::MomentAt(c, Clock::of(a)?))
        }
        libc::SYS_clock_nanosleep => sleep(rest_or_whole(c, d)),
        libc::SYS_ppoll => given(c, Limit::RestAt),
        libc::SYS_pselect6 => given(e, Limit::RestAt),
        libc::SYS_epoll_pwait => millis(d),
        libc::SYS_epoll_pwait2 => given(d, Limit::WholeAt),
        libc::SYS_rt_sigtimedwait => given(c, Limit::WholeAt),
        libc::SYS_futex => futex(b, d),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => millis(c),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => millis(d),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => given(e, Limit::MicrosAt),
        _ => None,
    }
}

/// Of nanosleep(2): where an interrupted one says how much is left, if it was given such a place.
fn rest_or_whole(asked: u64, rest: u64) -> Limit {
    if rest == 0 { Limit::WholeAt(asked) } else { Limit::RestAt(rest) }
}

/// See futex(2).
fn futex(operation: u64, timeout: u64) -> Option<Wait> {
    if timeout == 0 {
        return None;
    }
    let clock =
        if operation & libc::FUTEX_CLOCK_REALTIME as u64 != 0 { Clock::Realtime } else { Clock::Monotonic };
    let limit = match (operation & 0x7f) as i32 {
        libc::FUTEX_WAIT => Limit::WholeAt(timeout),
        libc::FUTEX_WAIT_BITSET => Limit::MomentAt(timeout, clock),
        _ => return None,
    };
    Some(Wait { limit, is_habit: true })
}

/// The timer of a timerfd_create(2), by `/proc/PID/fdinfo/FD`: how long until it is due, or that it was and that no
/// process has read of it; none where it is not set.
pub(super) fn timer_of(text: &str) -> Option<Duration> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    if value("ticks:")?.parse::<u64>().ok()? > 0 {
        return Some(Duration::ZERO);
    }
    let (seconds, nanos) = value("it_value:")?.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let left = Duration::new(seconds.trim().parse().ok()?, nanos.trim().parse().ok()?);
    (left != Duration::ZERO).then_some(left)
}

/// Whether such a timer goes by the calendar: `CLOCK_REALTIME` or `CLOCK_REALTIME_ALARM`.
pub(super) fn is_calendar(text: &str) -> bool {
    let clock = text.lines().find_map(|line| line.strip_prefix("clockid:"));
    clock.is_some_and(|clock| matches!(clock.trim(), "0" | "8"))
}

/// A `struct timespec`, or a `struct timeval` with `unit` nanoseconds a microsecond, as a tenant's memory has it; none
/// where it is no time.
pub(super) fn time_of(bytes: [u8; 16], unit: u32) -> Option<Duration> {
    let (seconds, parts) = bytes.split_at(8);
    let word = |bytes: &[u8]| Some(i64::from_ne_bytes(bytes.try_into().ok()?));
    let seconds = u64::try_from(word(seconds)?).ok()?;
    let nanos = u32::try_from(word(parts)?).ok()?.checked_mul(unit)?;
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

/// The same the other way.
pub(super) fn bytes_of(time: Duration, unit: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    bytes[..8].copy_from_slice(&seconds.to_ne_bytes());
    bytes[8..].copy_from_slice(&i64::from(time.subsec_nanos() / unit).to_ne_bytes());
    bytes
}

/// What `/proc/PID/timens_offsets` adds to a clock of the host, nanoseconds, see time_namespaces(7).
pub(super) fn offset_of(text: &str, clock: Clock) -> i128 {
    let name = match clock {
        Clock::Realtime => return 0,
        Clock::Monotonic => "monotonic",
        Clock::Boottime => "boottime",
    };
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let mut fields = line.unwrap_or_default().split_ascii_whitespace().map(|field| field.parse::<i128>());
    match (fields.next(), fields.next()) {
        (Some(Ok(seconds)), Some(Ok(nanos))) => seconds * 1_000_000_000 + nanos,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn call(number: i64, arguments: [u64; 6]) -> Option<Wait> {
        wait_of(&Call { number, arguments })
    }

    #[test]
    fn a_call_is_read_as_proc_shows_it() {
        let text = "230 0x0 0x0 0x7ffe 0xff 0x0 0x1 0x7ffd 0x7f00\n";
        assert_eq!(Call::parse(text), Some(Call { number: 230, arguments: [0, 0, 0x7ffe, 0xff, 0, 1] }));
        for other in ["running\n", "-1 0x7ffe 0x7f00\n", ""] {
            assert_eq!(Call::parse(other), None, "{other}");
        }
    }

    #[test]
    fn sleeps_count_and_waits_for_ever_do_not() {
        let sleep = |limit| Some(Wait { limit, is_habit: false });
        let habit = |limit| Some(Wait { limit, is_habit: true });
        let (absolute, forever) = (1, (-1_i32) as u32 as u64);
        for (number, arguments, wait) in [
            (libc::SYS_nanosleep, [7, 8, 0, 0, 0, 0], sleep(Limit::RestAt(8))),
            (libc::SYS_nanosleep, [7, 0, 0, 0, 0, 0], sleep(Limit::WholeAt(7))),
            (libc::SYS_clock_nanosleep, [0, 0, 7, 8, 0, 0], sleep(Limit::RestAt(8))),
            (
                libc::SYS_clock_nanosleep,
                [1, absolute, 7, 8, 0, 0],
                sleep(Limit::MomentAt(7, Clock::Monotonic)),
            ),
            (libc::SYS_clock_nanosleep, [99, absolute, 7, 8, 0, 0], None),
            (libc::SYS_ppoll, [1, 1, 0, 0, 0, 0], None),
            (libc::SYS_ppoll, [1, 1, 9, 0, 0, 0], habit(Limit::RestAt(9))),
            (libc::SYS_epoll_pwait, [4, 5, 6, forever, 0, 0], None),
            (libc::SYS_epoll_pwait, [4, 5, 6, 3000, 0, 0], habit(Limit::Whole(3 * SECOND))),
            (libc::SYS_futex, [1, 128, 0, 0, 0, 0], None),
            (libc::SYS_futex, [1, 128, 0, 9, 0, 0], habit(Limit::WholeAt(9))),
            (libc::SYS_futex, [1, 137, 0, 9, 0, 0], habit(Limit::MomentAt(9, Clock::Monotonic))),
            (libc::SYS_futex, [1, 265, 0, 9, 0, 0], habit(Limit::MomentAt(9, Clock::Realtime))),
            (libc::SYS_read, [3, 1, 1, 0, 0, 0], None),
        ] {
            assert_eq!(call(number, arguments), wait, "{number} {arguments:?}");
        }
    }

    #[test]
    fn a_timer_is_read_as_proc_shows_it() {
        let text = |ticks, left| {
            format!(
                "pos:\t0\nclockid: 1\nticks: {ticks}\nsettime flags: 01\nit_value: {left}\nit_interval: (0, 0)\n"
            )
        };
        assert_eq!(timer_of(&text(0, "(59, 500000000)")), Some(Duration::from_millis(59_500)));
        assert_eq!(timer_of(&text(0, "(0, 0)")), None, "it is not set");
        assert_eq!(timer_of(&text(1, "(0, 0)")), Some(Duration::ZERO), "it is due");
        assert_eq!(timer_of("pos:\t0\n"), None);
    }

    #[test]
    fn what_is_no_time_in_a_tenants_memory_is_none() {
        let bytes = |seconds: i64, parts: i64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&seconds.to_ne_bytes());
            bytes[8..].copy_from_slice(&parts.to_ne_bytes());
            bytes
        };
        assert_eq!(time_of(bytes(3, 5), 1), Some(Duration::new(3, 5)));
        assert_eq!(time_of(bytes(3, 5), 1000), Some(Duration::new(3, 5000)));
        for (seconds, parts) in [(-1, 0), (0, -1), (0, 1_000_000_000), (0, i64::MAX), (i64::MIN, i64::MIN)] {
            assert_eq!(time_of(bytes(seconds, parts), 1), None, "{seconds} {parts}");
        }
        assert!(time_of(bytes(i64::MAX, 999_999_999), 1).is_some());
        assert_eq!(time_of(bytes(0, 5_000_000), 1000), None);
        let time = Duration::new(3, 5000);
        assert_eq!((bytes_of(time, 1), bytes_of(time, 1000)), (bytes(3, 5000), bytes(3, 5)));
    }

    #[test]
    fn the_offsets_of_a_time_namespace_are_added() {
        let text = "monotonic        -12         0\nboottime          -13        5\n";
        assert_eq!(offset_of(text, Clock::Monotonic), -12_000_000_000);
        assert_eq!(offset_of(text, Clock::Boottime), -12_999_999_995);
        assert_eq!(offset_of(text, Clock::Realtime), 0);
        assert_eq!(offset_of("", Clock::Monotonic), 0);
    }
}
