//! The table: one function for each kind of resource.

use wire::doctor::{Health, Row, Setting, Unit, Verdict};

use super::{
    Demand, Limits,
    figures::{
        BRIDGE_PORTS, CGROUPS, DISK, FILES, FLOWS, HOSTD_DESCRIPTORS, HOSTD_FILES, INODES, LOGINS, MEMORY,
        MEMORY_CGROUPS, NEIGHBOURS_LAN, NEIGHBOURS_PERMANENT, NEIGHBOURS6, OWN, RUN, RUN_INODES, TASKS,
        UNIT_KEY_BYTES, UNIT_KEYS,
    },
    limits::Space,
};

/// Process ids below this are never given again, `RESERVED_PIDS` in `kernel/pid.c`.
const RESERVED_PIDS: u64 = 300;
/// The largest `kernel.pid_max` on 64 bit, `PID_MAX_LIMIT` in `include/linux/threads.h`.
const PID_MAX: u64 = 4 << 20;

/// What N tenants need and this host has, resource by resource. Pure.
pub fn table(demand: &Demand, limits: &Limits) -> Vec<Row> {
    let kinds: [fn(&Demand, &Limits) -> Vec<Row>; 10] =
        [terminals, tasks, files, own, keys, network, pools, room, cgroups, slice];
    kinds.iter().flat_map(|rows| rows(demand, limits)).collect()
}

/// A row and its verdict.
fn row(resource: impl Into<String>, each: u64, need: u64, have: Option<u64>) -> Row {
    let verdict = match have {
        None => Verdict::Unknown,
        Some(have) if have >= need => Verdict::Enough,
        Some(_) => Verdict::Short,
    };
    let health = if verdict == Verdict::Short { Health::Fault } else { Health::Ok };
    Row {
        resource: resource.into(),
        unit: Unit::Count,
        each,
        need,
        have,
        verdict,
        health,
        sysctl: None,
        remedy: None,
    }
}

/// What a row says where it is short, or where nothing is known.
trait Remedy: Sized {
    /// With what to do where it is short.
    fn or(self, remedy: impl Into<String>) -> Self;

    /// With what is to be said where nothing is known.
    fn if_unknown(self, why: &str) -> Self;

    /// Raised by sysctl(8), to the next power of two, so that a few tenants more need no change.
    fn by(self, key: &str, ceiling: u64) -> Self;

    /// Counted in bytes.
    fn bytes(self) -> Self;

    /// Short of it, tenants run all the same, only slower.
    fn mild(self) -> Self;

    /// [`Self::by`], but what is not known stays with its own reason.
    fn by_known(self, key: &str) -> Self;
}

impl Remedy for Row {
    fn or(self, remedy: impl Into<String>) -> Self {
        match self.verdict {
            Verdict::Short => Self { remedy: Some(remedy.into()), ..self },
            _ => self,
        }
    }

    fn if_unknown(self, why: &str) -> Self {
        match self.verdict {
            Verdict::Unknown => Self { remedy: Some(why.to_owned()), ..self },
            _ => self,
        }
    }

    fn by(self, key: &str, ceiling: u64) -> Self {
        if self.need > ceiling {
            return self
                .or(format!("the kernel's maximum of {key} is {ceiling}: use fewer tenants, or more hosts"));
        }
        match self.verdict {
            Verdict::Short => {
                let value = self.need.checked_next_power_of_two().unwrap_or(u64::MAX).min(ceiling);
                let setting = Setting { key: key.to_owned(), value };
                let remedy = format!("{key} = {value}");
                Self { sysctl: Some(setting), remedy: Some(remedy), ..self }
            }
            Verdict::Unknown => self.if_unknown(&format!("cannot read {key}")),
            Verdict::Enough => self,
        }
    }

    fn bytes(self) -> Self {
        Self { unit: Unit::Bytes, ..self }
    }

    fn mild(self) -> Self {
        match self.health {
            Health::Fault => Self { health: Health::Degraded, ..self },
            _ => self,
        }
    }

    fn by_known(self, key: &str) -> Self {
        if self.verdict == Verdict::Unknown { self } else { self.by(key, i32::MAX as u64) }
    }
}

/// What others than the tenants that run use of something.
fn others(used: Option<u64>, ours: u64) -> u64 {
    used.unwrap_or(0).saturating_sub(ours)
}

/// devpts: instances of other mount namespaces than the first get `max` less `reserve`, and the count must stay
/// below that (`devpts_new_index` in `fs/devpts/inode.c`).
fn terminals(demand: &Demand, limits: &Limits) -> Vec<Row> {
    let reserve = limits.key("kernel.pty.reserve").unwrap_or(1_024);
    let others = others(limits.key("kernel.pty.nr"), demand.terminals_now);
    let need = reserve + 1 + others + demand.terminals + demand.tenants * LOGINS;
    let each = demand.terminals.div_ceil(demand.tenants.max(1)) + LOGINS;
    vec![row("terminals", each, need, limits.key("kernel.pty.max")).by("kernel.pty.max", i32::MAX as u64)]
}

fn tasks(demand: &Demand, limits: &Limits) -> Vec<Row> {
    let need = others(limits.tasks, demand.running * TASKS) + demand.tenants * TASKS;
    let most = 0x3fff_ffff; // FUTEX_TID_MASK
    let pids = row("process ids", TASKS, need + RESERVED_PIDS, limits.key("kernel.pid_max"));
    let threads = row("processes and threads", TASKS, need, limits.key("kernel.threads-max"));
    vec![pids.by("kernel.pid_max", PID_MAX), threads.by("kernel.threads-max", most)]
}

fn files(demand: &Demand, limits: &Limits) -> Vec<Row> {
    let open = others(limits.files, demand.running * FILES) + demand.tenants * FILES;
    let hostd = HOSTD_FILES + demand.tenants * HOSTD_DESCRIPTORS;
    let most = i64::MAX as u64;
    vec![
        row("open files", FILES, open, limits.key("fs.file-max")).by("fs.file-max", most),
        row("open files of one process", HOSTD_DESCRIPTORS, hostd, limits.key("fs.nr_open"))
            .by("fs.nr_open", 1 << 30),
        row("open files of hostd", HOSTD_DESCRIPTORS, hostd, limits.descriptors)
            .or(format!("raise the limit of hostd: LimitNOFILE={hostd} in a drop-in of hostd.service")),
    ]
}

/// What every tenant has an amount of for itself.
fn own(_: &Demand, limits: &Limits) -> Vec<Row> {
    let of = |(key, what, each)| row(what, each, each, limits.key(key)).by(key, i32::MAX as u64);
    OWN.map(of).into()
}

/// Keys of root, where systemd starts the units.
fn keys(demand: &Demand, limits: &Limits) -> Vec<Row> {
    if limits.slice.is_none() {
        return Vec::new();
    }
    let of = |what, each: u64, key: &str| {
        row(what, each, demand.tenants * each, limits.key(key)).by(key, i32::MAX as u64)
    };
    vec![
        of("keys of root", UNIT_KEYS, "kernel.keys.root_maxkeys"),
        of("bytes of keys of root", UNIT_KEY_BYTES, "kernel.keys.root_maxbytes"),
    ]
}

fn network(demand: &Demand, limits: &Limits) -> Vec<Row> {
    let mut rows = Vec::new();
    let lan = demand.lan * NEIGHBOURS_LAN;
    let tables = [("IPv4", "ipv4", lan), ("IPv6", "ipv6", lan + demand.veths * NEIGHBOURS6)];
    for ((family, part, ours), used) in tables.into_iter().zip(limits.neighbours) {
        let each = ours.div_ceil(demand.tenants.max(1));
        let now = demand.running * (each + NEIGHBOURS_PERMANENT);
        let need = ours + others(used, now);
        // Above the one new entries are refused, above the other old ones are thrown away for them.
        for (threshold, what) in [("gc_thresh3", "neighbours"), ("gc_thresh2", "neighbours kept")] {
            let key = format!("net.{part}.neigh.default.{threshold}");
            let row = row(format!("{family} {what}"), each, need, limits.key(&key));
            rows.push(row.by(&key, i32::MAX as u64).mild());
        }
    }
    if demand.tracked {
        let key = "net.netfilter.nf_conntrack_max";
        let why = "connection tracking starts with the first routed tenant";
        // One that has all it may have leaves half of them.
        let table = row("tracked connections", FLOWS, 2 * FLOWS, limits.key(key));
        rows.push(table.if_unknown(why).by_known(key));
    }
    for (bridge, ports) in &demand.bridges {
        let need = ports + limits.bridges.get(bridge).copied().unwrap_or(0);
        let have = limits.bridges.contains_key(bridge).then_some(BRIDGE_PORTS);
        let each = ports.div_ceil(demand.tenants.max(1));
        rows.push(
            row(format!("ports of bridge {bridge}"), each, need, have)
                .or(format!("a bridge has {BRIDGE_PORTS} ports: use another bridge for some tenants"))
                .if_unknown("cannot inspect the bridge"),
        );
    }
    rows
}

fn pools(demand: &Demand, _: &Limits) -> Vec<Row> {
    let of = |wanted: &super::demand::Wanted| {
        let each = wanted.need.div_ceil(demand.tenants.max(1));
        row(wanted.what.clone(), each, wanted.need, Some(wanted.have)).or(wanted.remedy.clone())
    };
    demand.pools.iter().map(of).collect()
}

/// Room that those take which do not exist, or do not run, yet.
fn room(demand: &Demand, limits: &Limits) -> Vec<Row> {
    let new = demand.tenants.saturating_sub(demand.existing);
    let down = demand.tenants.saturating_sub(demand.running);
    let mut rows = vec![
        row("memory", MEMORY, down * MEMORY, limits.memory)
            .bytes()
            .or("add memory; the benchmarks list the memory per tenant")
            .if_unknown("cannot read MemAvailable"),
    ];
    let places = [
        ("disk", "/var/lib/tenantry", new, DISK, INODES, limits.disk, "use a larger filesystem"),
        ("/run", "/run/tenantry", down, RUN, RUN_INODES, limits.run, "mount -o remount,size=… /run"),
    ];
    for (what, dir, count, bytes, inodes, space, remedy) in places {
        let remedy = format!("{remedy}: {dir}");
        let unseen = format!("cannot inspect {dir}");
        rows.push(
            row(what, bytes, count * bytes, space.map(|space| space.bytes))
                .bytes()
                .or(remedy.clone())
                .if_unknown(&unseen),
        );
        // A filesystem that makes inodes as it needs them has no number of them.
        if !matches!(space, Some(Space { inodes: None, .. })) {
            let have = space.and_then(|space| space.inodes);
            let name = format!("{what}, inodes");
            rows.push(row(name, inodes, count * inodes, have).or(remedy).if_unknown(&unseen));
        }
    }
    rows
}

fn cgroups(demand: &Demand, limits: &Limits) -> Vec<Row> {
    let used = limits.memory_cgroups;
    let need = others(used, demand.running * CGROUPS) + demand.tenants * CGROUPS;
    let remedy = format!(
        "the kernel's maximum is {MEMORY_CGROUPS}: use fewer tenants, or disable memory limits \
         (cgroup_disable=memory on the kernel command line)"
    );
    vec![
        row("memory cgroups", CGROUPS, need, used.map(|_| MEMORY_CGROUPS))
            .or(remedy)
            .if_unknown("the memory controller is not in cgroup v2, so there is no such limit"),
    ]
}

/// The unit that all tenants are in, where systemd starts them; what has no limit is no row.
fn slice(demand: &Demand, limits: &Limits) -> Vec<Row> {
    let Some(slice) = &limits.slice else { return Vec::new() };
    let mut rows = Vec::new();
    if let Some(most) = slice.tasks_max {
        let need = demand.tenants * TASKS;
        let remedy = format!("systemctl set-property tenants.slice TasksMax={}", need.next_power_of_two());
        rows.push(row("tasks of tenants.slice", TASKS, need, Some(most)).or(remedy));
    }
    if let Some(most) = slice.memory_max {
        let need = demand.tenants * MEMORY;
        let remedy = format!("systemctl set-property tenants.slice MemoryMax={}M", need.div_ceil(1 << 20));
        rows.push(row("memory of tenants.slice", MEMORY, need, Some(most)).bytes().or(remedy));
    }
    rows
}
