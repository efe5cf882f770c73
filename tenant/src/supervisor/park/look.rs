//! What a tenant does at a moment: its processes, its connections, what it has used.
//!
//! All of it is read from the host's side, by numbers that the kernel gives. See proc_pid_stat(5), proc_pid_net(5) and
//! `Documentation/admin-guide/cgroup-v2.rst`.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use super::idle::{Busy, Counters};

/// Most processes that are looked at.
const MOST: usize = 2048;
/// Most bytes of a table of sockets that are read.
const TABLE: u64 = 4 << 20;
/// How deep below a tenant's cgroup its processes are looked for.
const DEPTH: usize = 32;

/// What a cgroup has used.
///
/// # Errors
/// It is gone.
pub(in crate::supervisor) fn counters(payload: &Path) -> io::Result<Counters> {
    let cpu = fs::read_to_string(payload.join("cpu.stat"))?;
    // There where the controller is.
    let io = fs::read_to_string(payload.join("io.stat")).ok();
    Ok(Counters {
        cpu_us: cpu.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok()).unwrap_or(0),
        io: io.map(|text| transferred(&text)),
    })
}

/// `8:0 rbytes=1 wbytes=2 rios=…`, a line for each device.
fn transferred(text: &str) -> u64 {
    let bytes = |field: &str| {
        let (key, value) = field.split_once('=')?;
        matches!(key, "rbytes" | "wbytes").then(|| value.parse::<u64>().ok())?
    };
    text.split_ascii_whitespace().filter_map(bytes).fold(0, u64::saturating_add)
}

/// The processes of a cgroup and of those below.
///
/// # Errors
/// [`Busy::Crowded`] or [`Busy::Unknown`].
pub(in crate::supervisor) fn processes(payload: &Path) -> Result<BTreeSet<i32>, Busy> {
    let mut pids = BTreeSet::new();
    collect(payload, DEPTH, &mut pids)?;
    Ok(pids)
}

fn collect(dir: &Path, depth: usize, pids: &mut BTreeSet<i32>) -> Result<(), Busy> {
    // A cgroup may have gone meanwhile. One that is threaded says EOPNOTSUPP, and its processes are those of its domain.
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|pid| pid.parse::<i32>().ok()));
    if pids.len() > MOST {
        return Err(Busy::Crowded);
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let depth = depth.checked_sub(1).ok_or(Busy::Crowded)?;
            collect(&entry.path(), depth, pids)?;
        }
    }
    Ok(())
}

/// What of processes keeps their tenant from being idle: one that waits for a disk, or that came from outside. `init`
/// is their first.
pub(in crate::supervisor) fn busy_processes(pids: &BTreeSet<i32>, init: i32) -> Option<Busy> {
    pids.iter().find_map(|pid| {
        // It may have ended meanwhile.
        let (state, parent) = stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        match state {
            'D' => Some(Busy::Disk),
            // Its parent is not of the tenant: a command of `tenant exec`, or on its way in.
            _ if *pid != init && !pids.contains(&parent) => Some(Busy::Session),
            _ => None,
        }
    })
}

/// The state and the parent in a `/proc/PID/stat`.
fn stat(text: &str) -> Option<(char, i32)> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether one of the network namespaces of these processes has a connection with something outside.
///
/// # Errors
/// [`Busy::Connection`], or [`Busy::Unknown`].
pub(in crate::supervisor) fn connections(pids: &BTreeSet<i32>) -> Result<(), Busy> {
    let mut seen = BTreeSet::new();
    for pid in pids {
        let Ok(namespace) = fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        if !seen.insert(namespace.ino()) {
            continue;
        }
        for table in ["tcp", "tcp6"] {
            match has_connection(&format!("/proc/{pid}/net/{table}")) {
                Ok(false) => {}
                Ok(true) => return Err(Busy::Connection),
                // There is no IPv6 on this host, or the process has ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                Err(_) => return Err(Busy::Unknown),
            }
        }
    }
    Ok(())
}

fn has_connection(table: &str) -> io::Result<bool> {
    for line in BufReader::new(File::open(table)?.take(TABLE)).lines().skip(1) {
        if is_connection(&line?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a line of `/proc/net/tcp` or `tcp6` is a connection with something outside; see `TCP_ESTABLISHED` and its
/// neighbours in the kernel's `include/net/tcp_states.h`.
fn is_connection(line: &str) -> bool {
    const OVER: [&str; 3] = ["06", "07", "0A"];
    let mut fields = line.split_ascii_whitespace().skip(2);
    let (Some(remote), Some(state)) = (fields.next(), fields.next()) else { return false };
    !OVER.contains(&state) && !is_loopback(remote)
}

/// Whether `0100007F:1F90` is an address of the loopback: 127.0.0.0/8, ::1, or the first mapped into IPv6. Each word is
/// in the byte order of this machine.
fn is_loopback(address: &str) -> bool {
    let Some((hex, _)) = address.split_once(':') else { return false };
    let words: Option<Vec<u32>> = (0..hex.len() / 8)
        .map(|word| u32::from_str_radix(hex.get(word * 8..word * 8 + 8)?, 16).ok())
        .map(|word| word.map(|word| u32::from_be_bytes(word.to_ne_bytes())))
        .collect();
    match words.as_deref() {
        Some([four]) => four >> 24 == 127,
        Some([0, 0, 0, 1]) => true,
        Some([0, 0, 0xffff, four]) => four >> 24 == 127,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_told_from_listeners_and_from_the_loopback() {
        let line = |remote: &str, state: &str| {
            format!("   0: 0200000A:0016 {remote} {state} 00000000:00000000 00:00000000 00000000 0 0 7 1")
        };
        let remote = |hex: &str| hex.to_owned();
        let outside = remote("0200000A:C3A0");
        for (state, is) in
            [("01", true), ("03", true), ("08", true), ("06", false), ("0A", false), ("07", false)]
        {
            assert_eq!(is_connection(&line(&outside, state)), is, "{state}");
        }
        let inside = [
            "0100007F:1F90",
            "0502017F:1F90",
            "00000000000000000000000001000000:1F90",
            "0000000000000000FFFF00000100007F:1F90",
        ];
        for remote in inside {
            assert!(!is_connection(&line(remote, "01")), "{remote}");
        }
        assert!(is_connection(&line("000080FE00000000FF005450B6AD1DFE:0016", "01")));
        assert!(is_connection(&line("0000000000000000FFFF00000200000A:0016", "01")));
        assert!(!is_connection("nonsense") && !is_connection(""));
    }

    #[test]
    fn what_was_read_and_written_is_the_sum_of_all_devices() {
        let text = "8:0 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=99 dios=1\n254:16 rbytes=1 wbytes=2\n7:0\n";
        assert_eq!(transferred(text), 33);
        assert_eq!(transferred(""), 0);
    }

    #[test]
    fn a_process_is_told_by_its_state_and_its_parent() {
        assert_eq!(stat("42 (a) b) S 7 42 42 0"), Some(('S', 7)));
        assert_eq!(stat("42 (x"), None);
    }

    #[test]
    fn a_child_of_another_process_is_a_session() {
        let me = std::process::id() as i32;
        assert_eq!(busy_processes(&BTreeSet::from([me]), me), None);
        assert_eq!(busy_processes(&BTreeSet::from([me]), 1), Some(Busy::Session));
    }
}
