//! Looks into every process that appears, with all that root of a tenant may do to another process.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use nix::sys::{
    ptrace,
    wait::{WaitPidFlag, WaitStatus, waitpid},
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::json;

use super::words::say;

/// How often a process is looked into from its birth on. Its memory is searched at the looks whose number is a
/// power of two, for that takes its time.
const LOOKS: u32 = 200;
/// At which of them it is stopped first.
const STOP: u32 = 3;
/// How many of its descriptors are asked for.
const DESCRIPTORS: i32 = 24;
/// Most bytes of one mapping that are searched.
const MOST: u64 = 4 << 20;

/// What was found of the host, and how much there was to be searched.
#[derive(Default)]
struct Findings {
    looks: u64,
    processes: BTreeSet<u32>,
    /// How often something opened up that not everybody may see.
    memories: u64,
    descriptors: u64,
    traced: u64,
    found: BTreeMap<String, String>,
}

/// Watches until its standard input ends, then prints what it found. `marks` are words, separated by commas, that
/// only the host knows.
pub(super) fn watch(marks: &str) -> io::Result<()> {
    let marks: Vec<&str> = marks.split(',').collect();
    let own_devices: Vec<u64> =
        ["/dev", "/dev/pts"].map(|dir| fs::metadata(dir).map_or(0, |m| m.dev())).into();
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    thread::spawn(move || {
        let _until_the_end = io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::Relaxed);
    });
    let before: BTreeSet<u32> = processes().collect();
    let mut looked: BTreeMap<u32, u32> = BTreeMap::new();
    let mut findings = Findings::default();
    say("watching")?;
    while !ended.load(Ordering::Relaxed) {
        for pid in processes().filter(|pid| !before.contains(pid)) {
            let count = looked.entry(pid).or_default();
            if *count < LOOKS {
                let spy = Spy { pid, marks: &marks, own_devices: &own_devices, findings: &mut findings };
                spy.look(*count);
                *count += 1;
            }
        }
    }
    let Findings { looks, processes, memories, descriptors, traced, found } = findings;
    let report = json!({
        "looks": looks, "processes": processes.len(), "memories": memories, "descriptors": descriptors,
        "traced": traced, "found": found,
    });
    say(&report.to_string())
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

struct Spy<'a> {
    pid: u32,
    marks: &'a [&'a str],
    own_devices: &'a [u64],
    findings: &'a mut Findings,
}

impl Spy<'_> {
    fn look(mut self, number: u32) {
        self.findings.looks += 1;
        self.findings.processes.insert(self.pid);
        let held = number == STOP && self.seize();
        for file in ["cmdline", "comm", "environ", "maps", "cgroup", "status", "auxv"] {
            if let Ok(bytes) = fs::read(self.path(file)) {
                self.judge(file, &bytes);
            }
        }
        for name in ["exe", "cwd", "root"] {
            if let Ok(target) = fs::read_link(self.path(name)) {
                let target = target.to_string_lossy().into_owned();
                if target.ends_with("/tenant") || target.contains("(unreachable)") {
                    self.found(name, &target);
                }
                self.judge(name, target.as_bytes());
            }
        }
        if held || number.is_power_of_two() {
            self.search_memory();
        }
        self.take_descriptors();
        if held {
            // It goes on; one that was killed meanwhile does not mind.
            let _ = ptrace::detach(self.process(), None);
        }
    }

    fn path(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid)
    }

    fn process(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.pid).unwrap_or_default())
    }

    fn found(&mut self, what: &str, text: &str) {
        let text: String = text.chars().take(300).collect();
        self.findings.found.insert(what.to_owned(), text);
    }

    fn judge(&mut self, what: &str, bytes: &[u8]) {
        for mark in self.marks {
            if bytes.windows(mark.len()).any(|window| window == mark.as_bytes()) {
                let at = String::from_utf8_lossy(bytes).replace('\0', " ");
                self.found(what, &format!("{mark} in {at}"));
            }
        }
    }

    /// Stops it by ptrace(2); whether that could be done.
    fn seize(&mut self) -> bool {
        let process = self.process();
        if ptrace::seize(process, ptrace::Options::empty()).is_err() {
            return false;
        }
        self.findings.traced += 1;
        if ptrace::interrupt(process).is_err() {
            return false;
        }
        let stopped = waitpid(process, Some(WaitPidFlag::__WALL));
        matches!(stopped, Ok(WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)))
    }

    /// Everything it may write to: what is left of another program would lie there.
    fn search_memory(&mut self) {
        let Ok(memory) = File::open(self.path("mem")) else { return };
        let maps = fs::read_to_string(self.path("maps")).unwrap_or_default();
        let mut has_read = false;
        for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
            let Some((from, to)) = line.split(' ').next().and_then(|range| range.split_once('-')) else {
                continue;
            };
            let address = |text| u64::from_str_radix(text, 16).unwrap_or_default();
            let (from, to) = (address(from), address(to));
            let mut bytes = vec![0; usize::try_from((to - from).min(MOST)).unwrap_or_default()];
            if let Ok(length) = memory.read_at(&mut bytes, from) {
                has_read = true;
                self.judge("memory", &bytes[..length]);
            }
        }
        self.findings.memories += u64::from(has_read);
    }

    fn take_descriptors(&mut self) {
        for entry in fs::read_dir(self.path("fd")).into_iter().flatten().flatten() {
            if let Ok(target) = fs::read_link(entry.path()) {
                self.judge("descriptor", target.to_string_lossy().as_bytes());
            }
        }
        let process = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(Ok(pidfd)) = process.map(|process| pidfd_open(process, PidfdFlags::empty())) else { return };
        for number in 0..DESCRIPTORS {
            if let Ok(taken) = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()) {
                self.findings.descriptors += 1;
                self.judge_descriptor(taken);
            }
        }
    }

    fn judge_descriptor(&mut self, taken: OwnedFd) {
        let link = fs::read_link(format!("/proc/self/fd/{}", taken.as_raw_fd())).unwrap_or_default();
        let link = link.to_string_lossy().into_owned();
        self.judge("descriptor", link.as_bytes());
        let Ok(meta) = File::from(taken).metadata() else { return };
        if meta.file_type().is_char_device() && !self.own_devices.contains(&meta.dev()) {
            self.found("device of the host", &link);
        }
        // One of an id that is not mapped inside.
        if meta.file_type().is_fifo() && meta.uid() == 65_534 {
            self.found("pipe of the host", &link);
        }
    }
}
