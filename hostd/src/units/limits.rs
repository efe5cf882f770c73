//! Limits to controllers: what each key writes into which file of a unit's cgroups.
//!
//! | key               | v1                              | v2                 |
//! |-------------------|---------------------------------|--------------------|
//! | `cpu_weight`      | `cpu.shares`                    | `cpu.weight`       |
//! | `cpu_quota`       | `cpu.cfs_quota_us`              | `cpu.max`          |
//! | `memory_max`      | `memory.limit_in_bytes`         | `memory.max`       |
//! | `memory_high`     | –                               | `memory.high`      |
//! | `memory_swap_max` | `memory.memsw.limit_in_bytes`   | `memory.swap.max`  |
//! | `tasks_max`       | `pids.max`                      | `pids.max`         |
//! | `io_weight`       | `blkio.bfq.weight`              | `io.weight`, `io.bfq.weight` |
//!
//! The files of `io_weight` exist on hosts where nothing reads them: the first two need a disk under the
//! bfq scheduler, `io.weight` needs one with a cost model (`io.cost.qos`).

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use tenant::model::limits::Limits;
use wire::UnitCgroups;

/// Length of the period that a CPU quota is given in, microseconds.
const PERIOD_US: u64 = 100_000;
/// What the kernel gives every v1 cgroup; a weight of 100.
const DEFAULT_SHARES: u64 = 1024;

/// A limit that this host cannot enforce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("cannot enforce {key} on this host: {reason}")]
pub struct Unenforceable {
    /// The key.
    pub key: &'static str,
    /// The controller or file that is missing.
    pub reason: String,
    /// Whether it was not requested: it is a default limit of this host.
    pub by_default: bool,
}

/// Handling of limits that this host cannot enforce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforce {
    /// None is passed over.
    All,
    /// Those that a client asked for are not; of the host's defaults it is only said.
    #[default]
    Asked,
    /// They are passed over.
    Possible,
}

impl Enforce {
    /// What a request stands for that does not speak of the host's defaults.
    pub fn asked_unless(allow_unenforced: bool) -> Self {
        if allow_unenforced { Self::Possible } else { Self::Asked }
    }

    /// Refuses what is not to be passed over.
    pub(super) fn judge(self, mut missing: Vec<Unenforceable>) -> Result<(), LimitError> {
        match self {
            Self::All => {}
            Self::Asked => missing.retain(|limit| !limit.by_default),
            Self::Possible => return Ok(()),
        }
        if missing.is_empty() { Ok(()) } else { Err(LimitError::Unenforceable(missing)) }
    }
}

/// The controller of cgroup v2 that a limit needs.
fn controller(key: &str) -> &'static str {
    match key {
        "cpu_weight" | "cpu_quota" => "cpu",
        "tasks_max" => "pids",
        "io_weight" => "io",
        _ => "memory",
    }
}

/// Which of the host's default limits no unit can have that has these controllers.
pub(super) fn lacking(defaults: &Limits, controllers: &BTreeSet<&str>) -> Vec<Unenforceable> {
    let lack = |&key: &&'static str| {
        let reason = lack(key, controllers.iter().copied())?;
        Some(Unenforceable { key, reason, by_default: true })
    };
    defaults.by_default.iter().filter_map(lack).collect()
}

/// Why a limit cannot be enforced where these are all controllers, if it cannot.
pub(super) fn lack<'a>(key: &str, mut controllers: impl Iterator<Item = &'a str>) -> Option<String> {
    let needed = controller(key);
    (!controllers.any(|name| name == needed)).then(|| format!("there is no {needed} controller"))
}

/// Why limits were not applied.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Something is missing on this host.
    #[error("{}", list(.0))]
    Unenforceable(Vec<Unenforceable>),
    /// The kernel refused a value.
    #[error("cannot set {key} through {file:?}")]
    Refused {
        /// The key.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn list(missing: &[Unenforceable]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// One value for one file of a controller; `None` is "no limit".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knob {
    /// The key it comes from.
    pub key: &'static str,
    /// The file it goes to.
    pub file: PathBuf,
    /// What is written.
    pub value: Value,
    v2: bool,
}

/// What a knob is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Bytes of memory.
    Memory(Option<u64>),
    /// Bytes of memory before throttling.
    MemoryHigh(Option<u64>),
    /// Bytes of swap (v2), or of memory and swap together (v1).
    Swap(Option<u64>),
    /// Processes and threads.
    Tasks(Option<u32>),
    /// Shares (v1) or weight (v2).
    CpuWeight(u64),
    /// Microseconds in each period of 100,000.
    CpuQuota(Option<u64>),
    /// Share of block I/O.
    IoWeight(u64),
}

/// What shares out block I/O on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoSchedulers {
    /// A disk is under the bfq scheduler.
    pub bfq: bool,
    /// A disk has a cost model, see `io.cost.qos` in the kernel's cgroup-v2 document.
    pub cost: bool,
}

impl IoSchedulers {
    /// Looks at the disks of this host, and at the root of the cgroup v2 hierarchy above `cgroup`.
    pub fn of_host(cgroup: &Path) -> Self {
        let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let bfq = |disk: fs::DirEntry| {
            fs::read_to_string(disk.path().join("queue/scheduler")).is_ok_and(|text| text.contains("[bfq]"))
        };
        let models = cgroup.ancestors().find_map(|dir| fs::read_to_string(dir.join("io.cost.qos")).ok());
        Self { bfq: disks.into_iter().any(bfq), cost: models.is_some_and(|text| text.contains("enable=1")) }
    }
}

/// Where a controller of a unit is.
struct Place {
    dir: PathBuf,
    v2: bool,
}

fn place(cgroups: &UnitCgroups, v1: &str, v2: &str) -> Option<Place> {
    if cgroups.v2_controllers.contains(v2) {
        return Some(Place { dir: cgroups.v2.clone(), v2: true });
    }
    cgroups.v1.get(v1).map(|dir| Place { dir: dir.clone(), v2: false })
}

/// The knobs that stand for these limits in these cgroups, and the limits that nothing stands for.
/// A limit that is not set gives the knob that lifts it.
pub fn knobs(
    limits: &Limits,
    cgroups: &UnitCgroups,
    schedulers: IoSchedulers,
) -> (Vec<Knob>, Vec<Unenforceable>) {
    let mut table = Table { knobs: Vec::new(), missing: Vec::new(), cgroups, by_default: &limits.by_default };
    let cpu = Controller { key: "", v1: "cpu", v2: "cpu" };
    let memory = Controller { key: "", v1: "memory", v2: "memory" };

    let weight = limits.cpu_weight.map(|weight| u64::from(weight.get()));
    table.add(cpu.of("cpu_weight"), weight.is_some(), ["cpu.shares"], ["cpu.weight"], |v2| {
        let weight = weight.unwrap_or(100);
        Value::CpuWeight(if v2 { weight } else { (weight * DEFAULT_SHARES / 100).max(2) })
    });
    let quota = limits.cpu_quota.map(|quota| u64::from(quota.percent()) * PERIOD_US / 100);
    table.add(cpu.of("cpu_quota"), quota.is_some(), ["cpu.cfs_quota_us"], ["cpu.max"], |_| {
        Value::CpuQuota(quota)
    });
    let max = limits.memory_max.map(|size| size.0);
    let set_max = memory.of("memory_max");
    table.add(set_max, max.is_some(), ["memory.limit_in_bytes"], ["memory.max"], |_| Value::Memory(max));
    let high = limits.memory_high.map(|size| size.0);
    table.add(memory.of("memory_high"), high.is_some(), [], ["memory.high"], |_| Value::MemoryHigh(high));
    table.swap(max, limits.memory_swap_max.map(|size| size.0));
    let tasks = Controller { key: "tasks_max", v1: "pids", v2: "pids" };
    table.add(tasks, limits.tasks_max.is_some(), ["pids.max"], ["pids.max"], |_| {
        Value::Tasks(limits.tasks_max)
    });
    table.io(limits.io_weight.map(|weight| u64::from(weight.get())), schedulers);
    (table.knobs, table.missing)
}

#[derive(Clone, Copy)]
struct Controller {
    key: &'static str,
    v1: &'static str,
    v2: &'static str,
}

impl Controller {
    fn of(self, key: &'static str) -> Self {
        Self { key, ..self }
    }
}

struct Table<'a> {
    knobs: Vec<Knob>,
    missing: Vec<Unenforceable>,
    cgroups: &'a UnitCgroups,
    by_default: &'a [&'static str],
}

impl Table<'_> {
    fn lacks(&mut self, key: &'static str, reason: String) {
        self.missing.push(Unenforceable { key, reason, by_default: self.by_default.contains(&key) });
    }

    /// Adds the first of the files that exists; one that must be set and has none is missing.
    fn add<const A: usize, const B: usize>(
        &mut self,
        controller: Controller,
        is_set: bool,
        v1: [&str; A],
        v2: [&str; B],
        value: impl Fn(bool) -> Value,
    ) {
        let Controller { key, .. } = controller;
        let Some(place) = place(self.cgroups, controller.v1, controller.v2) else {
            if is_set {
                let name = controller.v2;
                self.lacks(key, format!("there is no {name} controller"));
            }
            return;
        };
        let names: &[&str] = if place.v2 { &v2 } else { &v1 };
        match names.iter().map(|name| place.dir.join(name)).find(|file| file.exists()) {
            Some(file) => self.knobs.push(Knob { key, file, value: value(place.v2), v2: place.v2 }),
            None if is_set => {
                let name = if place.v2 { controller.v2 } else { controller.v1 };
                let version = if place.v2 { "v2" } else { "v1" };
                let needs = names.first().or(v2.first()).copied().unwrap_or_default();
                let reason = format!("the {name} controller (cgroup {version}) has no {needs}");
                self.lacks(key, reason);
            }
            None => {}
        }
    }

    /// A weight counts only where a scheduler reads it.
    fn io(&mut self, weight: Option<u64>, schedulers: IoSchedulers) {
        let io = Controller { key: "io_weight", v1: "blkio", v2: "io" };
        let value = |v2: bool| {
            // The files of bfq end at 1000.
            let most = if v2 && !schedulers.bfq { 10_000 } else { 1000 };
            Value::IoWeight(weight.unwrap_or(100).min(most))
        };
        match (schedulers, place(self.cgroups, io.v1, io.v2)) {
            (IoSchedulers { bfq: true, .. }, Some(_)) => {
                self.add(
                    io,
                    weight.is_some(),
                    ["blkio.bfq.weight", "blkio.weight"],
                    ["io.bfq.weight"],
                    value,
                );
            }
            (IoSchedulers { cost: true, .. }, Some(Place { v2: true, .. })) => {
                self.add(io, weight.is_some(), [], ["io.weight"], value);
            }
            (_, Some(place)) if weight.is_some() => {
                let name =
                    if place.v2 { "io controller (cgroup v2)" } else { "blkio controller (cgroup v1)" };
                let reason = format!("the {name} needs a disk with the bfq scheduler");
                self.lacks(io.key, reason);
            }
            (_, None) => self.add(io, weight.is_some(), [], [], value),
            (_, Some(_)) => {}
        }
    }

    /// v1 limits memory and swap together, so there a swap limit needs a memory limit.
    fn swap(&mut self, max: Option<u64>, swap: Option<u64>) {
        let key = "memory_swap_max";
        let is_v1 = place(self.cgroups, "memory", "memory").is_some_and(|place| !place.v2);
        if is_v1 && swap.is_some() && max.is_none() {
            let reason = "with the memory controller of cgroup v1 it also needs memory_max".to_owned();
            return self.lacks(key, reason);
        }
        let memory = Controller { key, v1: "memory", v2: "memory" };
        self.add(memory, swap.is_some(), ["memory.memsw.limit_in_bytes"], ["memory.swap.max"], |v2| {
            Value::Swap(match (v2, max, swap) {
                (false, Some(max), Some(swap)) => Some(max.saturating_add(swap)),
                (_, _, swap) => swap,
            })
        });
    }
}

/// Sets the limits, and lifts those that are not set. What was before is the answer.
///
/// # Errors
/// With [`Enforce::Possible`] only what the kernel refuses; those that were set before that are as they were.
pub fn apply(
    limits: &Limits,
    cgroups: &UnitCgroups,
    schedulers: IoSchedulers,
    enforce: Enforce,
) -> Result<Applied, LimitError> {
    let (knobs, missing) = knobs(limits, cgroups, schedulers);
    enforce.judge(missing)?;
    let mut applied = Applied { before: Vec::new() };
    match applied.set_all(knobs) {
        Ok(()) => Ok(applied),
        Err(error) => {
            if let Err(left) = applied.undo() {
                log::error!("{}", wire::chain(&left));
            }
            Err(error)
        }
    }
}

/// Limits that were set, and what their files said before.
#[derive(Debug)]
pub struct Applied {
    before: Vec<(Knob, String)>,
}

impl Applied {
    fn set_all(&mut self, knobs: Vec<Knob>) -> Result<(), LimitError> {
        for knob in &knobs {
            // A weight of bfq has lines for single disks, too; those are not ours.
            let text = fs::read_to_string(&knob.file).unwrap_or_default();
            let line = text.lines().next().unwrap_or_default().to_owned();
            self.before.push((knob.clone(), line));
        }
        self.lift()?;
        knobs.iter().try_for_each(set)
    }

    /// On v1, memory must stay below memory and swap together at every moment: the sum is lifted before either is set.
    fn lift(&self) -> Result<(), LimitError> {
        let sums = self.before.iter().filter(|(knob, _)| matches!(knob.value, Value::Swap(_)) && !knob.v2);
        sums.map(|(knob, _)| Knob { value: Value::Swap(None), ..knob.clone() })
            .try_for_each(|knob| set(&knob))
    }

    /// Makes the files say what they said before.
    ///
    /// # Errors
    /// The first that the kernel refuses; the others are set all the same.
    pub fn undo(self) -> Result<(), LimitError> {
        let mut first = self.lift().err();
        for (knob, text) in self.before.iter().filter(|(_, text)| !text.is_empty()) {
            if let Err(error) = write(knob, text) {
                first.get_or_insert(LimitError::Refused {
                    key: knob.key,
                    file: knob.file.clone(),
                    source: error,
                });
            }
        }
        first.map_or(Ok(()), Err)
    }
}

impl Knob {
    /// What its file takes, see cgroups(7) and the kernel's cgroup-v1 and cgroup-v2 documents.
    fn text(&self) -> String {
        let unlimited = if self.v2 { "max" } else { "-1" };
        let number =
            |limit: Option<u64>, none: &str| limit.map_or(none.to_owned(), |limit| limit.to_string());
        match self.value {
            Value::Memory(limit) | Value::MemoryHigh(limit) | Value::Swap(limit) => number(limit, unlimited),
            Value::Tasks(limit) => number(limit.map(u64::from), "max"),
            Value::CpuWeight(weight) | Value::IoWeight(weight) => weight.to_string(),
            Value::CpuQuota(quota) if self.v2 => format!("{} {PERIOD_US}", number(quota, unlimited)),
            Value::CpuQuota(quota) => number(quota, unlimited),
        }
    }
}

fn set(knob: &Knob) -> Result<(), LimitError> {
    let written = match knob.value {
        // On v1 the period has a file of its own.
        Value::CpuQuota(_) if !knob.v2 => {
            let period = knob.file.with_file_name("cpu.cfs_period_us");
            fs::write(period, PERIOD_US.to_string()).and_then(|()| write(knob, &knob.text()))
        }
        _ => write(knob, &knob.text()),
    };
    written.map_err(|source| LimitError::Refused { key: knob.key, file: knob.file.clone(), source })
}

fn write(knob: &Knob, value: &str) -> io::Result<()> {
    // Not made where it is missing: a cgroup has the files that it has.
    fs::File::options().write(true).truncate(true).open(&knob.file)?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests;
