//! `tenantctl doctor --tenants N`: what it says a tenant takes is what tenants take, and `--fix`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tenantry_tests::{Host, Tenant, poll};

/// How many tenants are measured at once.
const COUNT: u64 = 5;

/// The row of a resource.
fn row(diagnosis: &Value, resource: &str) -> Value {
    let rows = diagnosis.pointer("/capacity/rows").and_then(Value::as_array).expect("a table");
    let found = rows.iter().find(|row| row["resource"] == resource);
    found.unwrap_or_else(|| panic!("no row {resource:?} in {diagnosis:#}")).clone()
}

/// Process ids of everything in the tenant's pid namespace, and of its supervisor.
fn processes(tenant: &Tenant<'_>) -> (Vec<i32>, i32) {
    let (init, supervisor) = tenant.pids();
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(init);
    let all = fs::read_dir("/proc").expect("/proc is there").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    (pids.filter(|pid| namespace(*pid) == wanted && wanted.is_some()).collect(), supervisor)
}

fn count(dir: impl AsRef<Path>) -> u64 {
    fs::read_dir(dir).map_or(0, |entries| entries.count() as u64)
}

/// Directories below one, itself included.
fn directories(dir: &Path) -> u64 {
    let below = fs::read_dir(dir).into_iter().flatten().flatten();
    1 + below.filter(|entry| entry.path().is_dir()).map(|entry| directories(&entry.path())).sum::<u64>()
}

/// Blocks in bytes, and the number of files and directories, of a whole tree.
fn tree(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::symlink_metadata(path).expect("what is listed is there");
    let mut sum = (meta.blocks() * 512, 1);
    if meta.is_dir() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            let below = tree(&entry.path());
            sum = (sum.0 + below.0, sum.1 + below.1);
        }
    }
    sum
}

/// The unit's directory in the v2 hierarchy.
fn cgroup(supervisor: i32) -> PathBuf {
    let own = fs::read_to_string(format!("/proc/{supervisor}/cgroup")).expect("it runs");
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).expect("a v2 cgroup");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
    let v2 = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("cgroup v2 is mounted");
    let mount = v2.split(' ').nth(4).expect("a mount point");
    let own = Path::new(mount).join(path.trim_start_matches('/'));
    own.parent().expect("the supervisor's is below the unit's").to_owned()
}

/// Everything that a tenant takes of what the table has a figure for.
fn measure(host: &Host, tenant: &Tenant<'_>) -> BTreeMap<&'static str, u64> {
    let (pids, supervisor) = processes(tenant);
    let init = tenant.pids().0;
    let mut taken = BTreeMap::new();
    let all = || pids.iter().chain([&supervisor]);
    taken.insert("processes and threads", all().map(|pid| count(format!("/proc/{pid}/task"))).sum());
    taken.insert("process ids", taken["processes and threads"]);
    taken.insert("open files", all().map(|pid| count(format!("/proc/{pid}/fd"))).sum());
    let (mut instances, mut watches) = (0, 0);
    for pid in &pids {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            if target.as_os_str() == "anon_inode:inotify" {
                instances += 1;
                let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy());
                let info = fs::read_to_string(info).unwrap_or_default();
                watches += info.lines().filter(|line| line.starts_with("inotify ")).count() as u64;
            }
        }
    }
    taken.insert("inotify instances of a tenant", instances);
    taken.insert("inotify watches of a tenant", watches);
    for (kind, resource) in [
        ("user", "user namespaces of a tenant"),
        ("mnt", "mount namespaces of a tenant"),
        ("pid", "pid namespaces of a tenant"),
        ("uts", "uts namespaces of a tenant"),
        ("ipc", "ipc namespaces of a tenant"),
        ("net", "network namespaces of a tenant"),
        ("cgroup", "cgroup namespaces of a tenant"),
        ("time", "time namespaces of a tenant"),
    ] {
        let of = |pid: &i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
        taken.insert(resource, pids.iter().filter_map(of).collect::<BTreeSet<_>>().len() as u64);
    }
    let mounts = fs::read_to_string(format!("/proc/{init}/mountinfo")).expect("init runs");
    taken.insert("mounts in a mount namespace", mounts.lines().count() as u64);
    taken.insert("memory cgroups", directories(&cgroup(supervisor)));
    // proc_keys(5): `UID: usage nkeys/nikeys qnkeys/maxkeys qnbytes/maxbytes`.
    let map = fs::read_to_string(format!("/proc/{init}/uid_map")).expect("init runs");
    let uid = map.split_ascii_whitespace().nth(1).expect("user_namespaces(7)");
    let users = fs::read_to_string("/proc/key-users").expect("this kernel has keys");
    let keys = users.lines().find_map(|line| line.trim().strip_prefix(&format!("{uid}:")));
    let keys: Vec<&str> = keys.expect("the tenant has keys").split_ascii_whitespace().collect();
    let first = |field: &str| field.split('/').next().and_then(|n| n.parse().ok()).expect("a number");
    taken.insert("keys of a tenant", first(keys[2]));
    taken.insert("bytes of keys of a tenant", first(keys[3]));
    let (name, state) = (tenant.name(), "var/lib/tenantry/tenants");
    let disk = tree(&host.path(format!("{state}/{name}")));
    taken.insert("disk", disk.0);
    taken.insert("disk, inodes", disk.1 + 1); // its file below /etc
    let run = tree(&host.path(format!("run/tenantry/tenants/{name}")));
    taken.insert("/run", run.0);
    taken.insert("/run, inodes", run.1);
    taken
}

/// Entries of a neighbour table, of this family, that the kernel counts: all but permanent ones.
fn neighbours(text: &str, six: bool) -> u64 {
    let counted = |line: &&str| !line.contains("PERMANENT") && line.contains("lladdr");
    let family = |line: &&str| line.split(' ').next().is_some_and(|to| to.contains(':') == six);
    text.lines().filter(counted).filter(family).count() as u64
}

#[test]
fn a_tenant_takes_what_the_table_says_and_at_least_a_third_of_it() {
    let host = Host::start();
    let names: Vec<String> = (0..COUNT).map(|number| format!("t{number}")).collect();
    // What hostd opens once, whoever comes, it has opened after the first.
    host.boot("first", &[]);
    let descriptors = || count(format!("/proc/{}/fd", host.hostd_pid()));
    let before = descriptors();
    let tenants: Vec<Tenant<'_>> = names.iter().map(|name| host.boot(name, &[])).collect();
    let diagnosis = host.ctl(&["--json", "doctor", "--tenants", "5"]).output().json();
    for tenant in &tenants {
        // What only the boot needed has ended.
        poll::until_true("the boot has settled", || {
            tenant.says("systemctl list-jobs") == "No jobs running." && processes(tenant).0.len() <= 2
        });
        for (resource, taken) in measure(&host, tenant) {
            let each = row(&diagnosis, resource)["each"].as_u64().expect("a figure");
            assert!((taken..=3 * taken).contains(&each), "{resource}: {taken} taken, {each} in the table");
        }
        let ptys = tenant.says("ls /dev/pts | grep -c '^[0-9]'").parse::<u64>().expect("a number");
        let each = row(&diagnosis, "terminals")["each"].as_u64().expect("a figure");
        // The table has one more, for a login; `exec` without a terminal takes none.
        assert!((ptys..=3 * ptys).contains(&each), "{ptys} terminals taken, {each} in the table");
        // In the tenant's namespace, and on its port.
        let port = host.run("ip", &["-brief", "link"]).ok().stdout;
        let address = tenant.field("/ipv4");
        let routes = host.run("ip", &["route", "show", &format!("{address}/32")]).ok().stdout;
        let link = routes.split_ascii_whitespace().skip_while(|word| *word != "dev").nth(1);
        let link = link.unwrap_or_else(|| panic!("no route to {address}: {routes} {port}")).to_owned();
        let outside = host.run("ip", &["neigh", "show", "nud", "all", "dev", &link]).ok().stdout;
        let inside = tenant.says("ip neigh show nud all");
        let taken = [false, true].map(|six| neighbours(&outside, six) + neighbours(&inside, six));
        let figure = |family| row(&diagnosis, family)["each"].as_u64().expect("a figure");
        assert_eq!((taken[0], figure("IPv4 neighbours")), (0, 0), "{outside}{inside}");
        assert!(
            (taken[1]..=3 * taken[1]).contains(&figure("IPv6 neighbours")),
            "{taken:?} {outside}{inside}"
        );
    }
    let each = row(&diagnosis, "open files of hostd")["each"].as_u64().expect("a figure");
    // What only a start needs is closed soon after it.
    poll::until_true("hostd has closed what only a start needs", || {
        descriptors().saturating_sub(before) <= each * COUNT
    });
    let taken = descriptors().saturating_sub(before).div_ceil(COUNT);
    assert!(each <= 3 * taken, "{taken} descriptors taken, {each} in the table");
}

#[test]
fn too_many_tenants_are_refused_by_name_of_what_is_short() {
    let host = Host::start();
    host.ctl(&["doctor"]).ok();
    // More than there are uid ranges, and addresses in the default pool are fewer than 65533.
    fs::create_dir_all(host.path("etc/tenantry")).expect("it can be made");
    fs::write(host.path("etc/tenantry/hostd.toml"), "pool4 = \"10.7.0.0/24\"\nuid_ranges = 300\n")
        .expect("it can be written");
    let few = host.ctl(&["--json", "doctor", "--tenants", "254"]).output().json();
    assert_eq!(row(&few, "uid ranges")["verdict"], "enough");
    assert_eq!(row(&few, "IPv4 addresses of pool \"default\"")["verdict"], "enough");
    let many = host.ctl(&["--json", "doctor", "--tenants", "301"]).output();
    assert_eq!(many.code(), 1, "{}", many.stdout);
    let many = many.json();
    assert_eq!(many["health"], "fault");
    for (resource, have) in [("uid ranges", 300), ("IPv4 addresses of pool \"default\"", 254)] {
        let row = row(&many, resource);
        assert_eq!((row["verdict"].as_str(), row["have"].as_u64()), (Some("short"), Some(have)), "{row}");
        assert!(row["remedy"].as_str().is_some_and(|text| text.contains("hostd.toml")), "{row}");
        assert!(row["sysctl"].is_null(), "{row}");
    }
    let printed = host.ctl(&["doctor", "--tenants", "301"]).output();
    let line = printed.stdout.lines().find(|line| line.starts_with("uid ranges")).expect("a table");
    assert!(line.contains("short by 1") && line.contains("uid_ranges"), "{line}");
    assert_eq!(host.ctl(&["doctor", "--tenants", "0"]).output().code(), 2);
}

#[test]
fn fix_writes_below_its_root_once_and_sets_nothing_of_the_machine() {
    let host = Host::start();
    let ptys = || fs::read_to_string("/proc/sys/kernel/pty/max").expect("it can be read");
    let before = ptys();
    let file = host.path("etc/sysctl.d/60-tenantry.conf");
    // Ends with 1: below another root nothing is set, so it stays short.
    let fixed = host.ctl(&["doctor", "--tenants", "5000", "--fix"]).output();
    assert_eq!(fixed.code(), 1, "{}", fixed.stderr);
    assert!(fixed.stdout.contains("not the machine's own"), "{}", fixed.stdout);
    let text = fs::read_to_string(&file).expect("it was written");
    assert!(text.starts_with("# Written by: tenantctl doctor --tenants 5000 --fix\n"), "{text}");
    // 5000 tenants with a console, 6 ttys and a login each, and what is reserved: the next power of two.
    assert!(text.contains("\nkernel.pty.max = 65536\n"), "{text}");
    assert_eq!(ptys(), before);
    let again = host.ctl(&["doctor", "--tenants", "5000", "--fix"]).output();
    assert!(again.stdout.ends_with("\nunchanged\n"), "{}", again.stdout);
    let fewer = host.ctl(&["--json", "doctor", "--tenants", "1000", "--fix"]).output().json();
    assert_eq!(fewer.pointer("/fixed/written"), Some(&Value::Bool(false)), "{fewer:#}");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), text);
}
