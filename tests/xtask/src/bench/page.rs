//! The page of the figures, for people.

use std::fmt::Write as _;

use super::{
    machine::Machine,
    plots::Plot,
    report::{Figure, Results, Spread, Unit, number},
    targets,
};

const COLUMNS: [(&str, &str); 6] = [
    ("LXC", "stock"),
    ("systemd-nspawn", "stock"),
    ("Tenantry", "stock"),
    ("LXC", "tuned"),
    ("systemd-nspawn", "tuned"),
    ("Tenantry", "tuned"),
];

/// The report for people.
pub(super) fn markdown(results: &Results, plots: &[Plot]) -> String {
    let mut text = String::new();
    preface(&mut text, &results.machine);
    targets::verdicts(&mut text, results);
    for Plot { file, title, .. } in plots {
        write!(text, "\n![{title}]({file})\n").expect("a string can be written to");
    }
    figures(&mut text, results);
    network(&mut text, results);
    text.push_str(NOTES);
    text
}

fn preface(text: &mut String, machine: &Machine) {
    let Machine { cores, processor, memory_gib, kernel, system, lxc, nspawn, revision } = machine;
    writeln!(
        text,
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`; the same figures with their spread are in `docs/reference/benchmarks.json`.\n\n\
         {cores} cores ({processor}), {memory_gib} GiB of memory, Linux {kernel}, {system}; \
         LXC {lxc}, systemd-nspawn {nspawn}, Tenantry at {revision}.\n"
    )
    .expect("a string can be written to");
}

fn figures(text: &mut String, results: &Results) {
    text.push_str("\n## Figures\n\nMedians.\n\n| figure | unit |");
    for (who, image) in COLUMNS {
        write!(text, " {who}, {image} |").expect("a string can be written to");
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---:|".repeat(COLUMNS.len()));
    text.push('\n');
    let of_all = |what: &str| COLUMNS.iter().any(|(who, image)| results.median(what, who, image).is_some());
    for (what, unit) in results.rows.iter().filter(|(what, _)| of_all(what)) {
        write!(text, "| {what} | {} |", unit.symbol()).expect("a string can be written to");
        for (who, image) in COLUMNS {
            let value = results.median(what, who, image);
            let value = if *unit == Unit::Count { value.map(|count| count.to_string()) } else { None }
                .unwrap_or_else(|| number(value));
            write!(text, " {value} |").expect("a string can be written to");
        }
        text.push('\n');
    }
}

/// What was measured of the network, where the columns of the other figures make no sense.
fn network(text: &mut String, results: &Results) {
    let ours = |figure: &&Figure| !COLUMNS.contains(&(figure.who.as_str(), figure.image.as_str()));
    if !results.samples.keys().any(|figure| ours(&figure)) {
        return;
    }
    text.push_str(
        "\n## Network\n\n| figure | of | unit | median | least | most |\n|---|---|---|---:|---:|---:|\n",
    );
    for (row, unit) in &results.rows {
        for (figure, samples) in
            results.samples.iter().filter(|(figure, _)| figure.what == *row && ours(figure))
        {
            let Spread { median, least, most } = Spread::of(samples);
            let [median, least, most] = [median, least, most].map(|value| number(Some(value)));
            let (who, how, unit) = (&figure.who, &figure.image, unit.symbol());
            writeln!(text, "| {row} | {who}, {how} | {unit} | {median} | {least} | {most} |")
                .expect("a string can be written to");
        }
    }
}

const NOTES: &str = "
## How this is measured

- The contestants run over the very same image trees, take turns within each round, and see the same
  machine: a private mount and network namespace with a cgroup v2 hierarchy alone. The first round only
  fills the caches. No limits are set: on a machine whose controllers are bound to cgroup v1 that hierarchy
  has none. `/run` of each is a tmpfs, as a host has it. `fs.inotify.max_user_instances` is raised for the
  peers, whose systems all count as root.
- **LXC** has an overlay on disk, no user namespace and an empty network namespace. **systemd-nspawn** runs
  with `--volatile=overlay` (an overlay in memory), no user namespace and an empty network namespace.
  **Tenantry** has what its tenants always have: a user namespace, a routed network, seccomp, a console log.
- *to multi-user*: from the command (`lxc-start -d`, `systemd-nspawn --boot`, `tenantctl start`) until the
  system's own systemd sends `READY=1`, which it does when no job is left. A *first boot* is that of a
  system that has never run: it makes its machine-id, and where the image has none its ssh host keys.
- *start to exec*: `sh -c \"exec date +%s%N\"` in place of init, by `lxc-start -F`, `systemd-nspawn` and `tenantctl start`; from
  the command until the time that it printed inside.
- *start, exec /bin/true, end*: `lxc-start -F … /bin/true`, `systemd-nspawn … /bin/true` and `tenant run`
  with `init = [\"/bin/true\"]`, from the command until it returns, so taking everything down is in it.
- *memory*: growth of AnonPages + Shmem + SReclaimable + SUnreclaim + PageTables + KernelStack + Percpu of the whole machine,
  caches dropped and the sum standing still before and after, divided by the number of systems. The
  supervisors and monitors are in it; Tenantry's hostd is in it where it grows.
- *supervisor*: Private_Clean + Private_Dirty of `tenant run`, LXC's monitor, systemd-nspawn, among others
  like it.
- *TCP, one connection*: one thread sends to another in 128 KiB writes, over every path in turn for half a
  second a round, until everything has arrived. *plain veth pair*: between two network namespaces, nothing
  else. *LXC, bridge*: two containers with a veth each on one bridge, no filter. The CPU time is that of both
  threads; what the kernel does on the way is done in their name. The sender uses Reno, chosen before it connects.
- *start until the exec*: from the supervisor's first instruction until it has executed init, as it says
  itself, of a busybox tenant with a routed interface and a forwarded port, and of the same without. The
  difference is what the network takes. So many others run meanwhile, each with a port.
- *filter … loaded at once*: `nft -f` with all rules and elements, after a flush.
- *1000 tenants*: of the tuned image on a host of their own. *create*, *all multi-user* (`start --all`), *stop* and *destroy* are one command
  each. *memory*: as above, but of all, after the sum has stood still for ten seconds. *scrape of
  everything*: `tenantctl --json stat --all`. *hostd's CPU time*: during 30 seconds in which nothing happens. *hostd killed, answers again*: from its
  SIGKILL and its start until it has answered `list`; all tenants are running then. *left*: what there is of them
  when they are destroyed.
- *swap*: the supervisor's own work for `tenantctl rebase --to :candidate`, from the request until the tenant shows the
  other version, which differs in one library. *rebase*: the whole command for all of them, by one client, a few at a time.
- *stale*: `tenantctl stale --all`, when every process of each of them was started with the version before. *rollout*:
  `tenantctl rollout start … --watch` in the usual four waves, until it has ended, with `--gate exec:true`, a command in each,
  and with `--gate systemd`, which asks the systemd of each before and after.
- *memory per tenant on two versions*: as *memory*, by how much it grew when all were swapped for the first time, while
  everything that was running kept the version it had. *page cache of a second version*: of its programs and libraries,
  after a tenant and the host have read all of both versions.
- *stock* is the image as Debian's packages make it, *tuned* the one `rootfsctl build debian` makes by
  default from the same packages.
";
