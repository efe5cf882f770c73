//! The verbs in which calls fail: a row for each.

use std::{
    fs,
    time::{Duration, Instant},
};

use tenantry_tests::{Output, Run};

use crate::{
    inject::{Fault, Point},
    site::{LIMIT, Site, VICTIM},
};

/// How long a tenant may be frozen after it was copied, where the first attempt to thaw it failed.
const THAWED: Duration = Duration::from_secs(5);

/// One verb.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// What its errors name.
    pub(crate) object: &'static str,
    /// Whether the victim is started and destroyed after it.
    pub(crate) is_about_tenants: bool,
    /// Whether hostd may end by it, if it says why: it is started then.
    pub(crate) may_end_hostd: bool,
    /// What there must be before it.
    pub(crate) prepare: fn(&Site),
    /// Itself.
    pub(crate) act: fn(&Site) -> Output,
    /// What must hold after it, whatever it said; no point where nothing was made to fail.
    pub(crate) check: fn(&Site, Option<&Point>, &Output) -> Result<(), String>,
    /// The same again, undisturbed, and what takes its work away, where it is not about tenants.
    pub(crate) again: fn(&Site) -> Result<(), String>,
}

pub(crate) const ABOUT_A_TENANT: Verb = Verb {
    name: "",
    object: VICTIM,
    is_about_tenants: true,
    may_end_hostd: false,
    prepare: |_| (),
    act: create_it,
    check: |_, _, _| Ok(()),
    again: |_| Ok(()),
};

/// What the victim has of what a tenant can have.
const OPTIONS: &[&str] = &[
    "--image",
    "busybox:one",
    "--set",
    "start_timeout_sec=10",
    "--set",
    "stop_timeout_sec=5",
    "--set",
    "show_limits=true",
];

pub(crate) const TABLE: &[Verb] = &[
    Verb { name: "create", ..ABOUT_A_TENANT },
    Verb { name: "start", prepare: create, act: |site| ctl(site, "start", &[]), ..ABOUT_A_TENANT },
    Verb { name: "stop", prepare: boot, act: |site| ctl(site, "stop", &[]), ..ABOUT_A_TENANT },
    Verb {
        name: "destroy",
        prepare: boot,
        act: |site| ctl(site, "destroy", &["--force", "--yes"]),
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "rebase",
        prepare: boot,
        act: |site| ctl(site, "rebase", &["--to", ":two"]),
        check: is_one_of_two,
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "adopt",
        may_end_hostd: true,
        prepare: |site| {
            boot(site);
            site.host.kill_hostd();
        },
        act: Site::start_hostd_once,
        check: |site, _, _| {
            let said = ctl(site, "show", &[]);
            if said.stderr.contains("doctor --repair") {
                // Its record could not be read. It goes on all the same.
                site.host.ctl(&["doctor", "--repair"]).limit(LIMIT).output();
            }
            is_same_boot(site)
        },
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "publish",
        object: "published",
        is_about_tenants: false,
        prepare: |_| (),
        act: |site| publish(site).limit(LIMIT).output(),
        again: publish_again,
        ..ABOUT_A_TENANT
    },
];

pub(crate) fn ctl(site: &Site, verb: &str, more: &[&str]) -> Output {
    site.victim().ctl(verb, more).limit(LIMIT).output()
}

fn create_it(site: &Site) -> Output {
    ctl(site, "create", OPTIONS)
}

pub(crate) fn create(site: &Site) {
    create_it(site).succeeded();
}

pub(crate) fn boot(site: &Site) {
    create(site);
    site.victim().start();
    site.victims_boot.set(site.victim().boot_id());
}

pub(crate) fn is_same_boot(site: &Site) -> Result<(), String> {
    let begin = Instant::now();
    let mut state = site.victim().phase();
    // A tenant that was copied is thawed by and by.
    while state == "frozen" && begin.elapsed() < THAWED {
        std::thread::sleep(Duration::from_millis(20));
        state = site.victim().phase();
    }
    if state != "running" {
        return Err(format!("the tenant is {state}"));
    }
    if site.victim().boot_id() == site.victims_boot.get() {
        return Ok(());
    }
    Err("the tenant was booted again".to_owned())
}

/// A swap that fails leaves the tenant as it was; without its supervisor it is not there.
fn is_one_of_two(site: &Site, point: Option<&Point>, done: &Output) -> Result<(), String> {
    if point.is_some_and(|point| point.fault == Fault::Kill && point.role.is_supervisor()) {
        return Ok(());
    }
    is_same_boot(site)?;
    let said = site.victim().shell("cat /usr/lib/generation").output();
    let wanted: &[&str] = if done.status.success() { &["two"] } else { &["one", "two"] };
    if wanted.contains(&said.text()) {
        return Ok(());
    }
    Err(format!("it has version {:?} {}", said.text(), said.stderr))
}

/// A small tree, made once.
fn publish(site: &Site) -> Run {
    let tree = site.host.path("published");
    if !tree.exists() {
        for dir in ["etc", "usr/bin", "usr/lib", "var", "sbin"] {
            fs::create_dir_all(tree.join(dir)).expect("a directory of the tree");
        }
        for (file, text) in
            [("etc/passwd", "root:x:0:0::/:/bin/sh\n"), ("usr/lib/one", "1"), ("sbin/init", "#!")]
        {
            fs::write(tree.join(file), text).expect("a file of the tree");
        }
    }
    let tree = tree.to_string_lossy().into_owned();
    site.tool("rootfsctl", &["publish", "--force", "--name", "published", &tree])
}

fn publish_again(site: &Site) -> Result<(), String> {
    let again = |args: &[&str]| {
        let done = site.host.tool("rootfsctl", args).limit(LIMIT).output();
        if done.status.success() {
            Ok(())
        } else {
            Err(format!("afterwards `{}`: {}", done.words, done.stderr))
        }
    };
    let tree = site.host.path("published").to_string_lossy().into_owned();
    again(&["publish", "--force", "--name", "published", &tree])?;
    again(&["verify", "published"])?;
    again(&["gc"])?;
    let image = site.host.path("var/lib/tenantry/images/published");
    fs::remove_dir_all(image).map_err(|error| format!("afterwards: {error}"))
}
