//! Many tenants get another version of their image, in waves, while hostd dies and versions are bad.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tenantry_tests::{Host, Run, Tenant, Terminal, poll};

/// Exit codes: a rollout that failed; what is refused in this state.
const FAILED: i32 = 1;
const REFUSED: i32 = 4;

/// A host with a store of its own, and in it two versions of `base`, a small image: `stable` and `candidate`.
struct Versions {
    host: Host,
}

impl Versions {
    /// `change` makes the tree of `stable` that of `candidate`.
    fn with(change: impl FnOnce(&Path)) -> Self {
        let host = Host::bare();
        host.copy_images();
        let write = |tree: &Path, text: &str| {
            fs::create_dir_all(tree.join("usr/lib")).expect("a directory in the copy");
            fs::write(tree.join("usr/lib/version"), text).expect("a file of the version");
        };
        host.another_version("busybox", "base:stable", |tree| write(tree, "old"));
        host.another_version("base", "base:candidate", |tree| {
            write(tree, "new");
            change(tree);
        });
        host.start_hostd();
        Self { host }
    }

    fn channel(&self, channel: &str) -> String {
        let path = format!("var/lib/tenantry/images/base/channels/{channel}");
        fs::read_to_string(self.host.path(path)).expect("a channel").trim().to_owned()
    }

    fn rollout(&self, id: u64) -> Value {
        let answer = self.host.ctl(&["--json", "rollout", "show", &id.to_string()]).output();
        if answer.status.success() { answer.json() } else { Value::Null }
    }

    fn awaits(&self, id: u64, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        poll::until(what, || Some(self.rollout(id)).filter(|rollout| !rollout.is_null() && is_so(rollout)))
    }

    fn dies(&self) {
        self.host.kill_hostd();
        self.host.start_hostd();
    }

    /// The versions that a tenant's record says it had.
    fn generations(&self, name: &str) -> usize {
        let path = format!("var/lib/tenantry/tenants/{name}/allocation.toml");
        let text = fs::read_to_string(self.host.path(path)).expect("a record");
        text.lines().filter(|line| line.trim() == "[[generations]]").count()
    }
}

fn version(tenant: &Tenant<'_>) -> String {
    tenant.says("cat /usr/lib/version")
}

fn is_over(rollout: &Value) -> bool {
    ["finished", "failed", "aborted"].iter().any(|state| rollout["state"] == *state)
}

#[test]
fn a_rollout_goes_on_after_each_death_of_hostd_and_moves_each_tenant_once_and_live() {
    let versions = Versions::with(|_| {});
    let host = &versions.host;
    let names: Vec<String> = (1..=6).map(|number| format!("t{number}")).collect();
    let tenants: Vec<Tenant<'_>> = names.iter().map(|name| host.boot(name, &["--image", "base"])).collect();
    let boots: Vec<_> = tenants.iter().map(Tenant::boot_id).collect();
    let down = host.create("down", &["--image", "base"]);
    let pinned = host.create("pinned", &["--image", &format!("base@{}", versions.channel("stable"))]);
    host.ctl(&["--json", "events", "--since", "0", "--no-follow"]).ok();
    let gate = "exec:grep -q new /usr/lib/version";
    let words = ["rollout", "start", "base", "--waves", "1,50%,100%", "--gate", gate, "--bake", "500ms"];
    let said = host.ctl(&words).ok();
    assert!(
        said.text().starts_with("rollout 1 has begun: 7 tenants in waves of 1, 3, 3\n"),
        "{}",
        said.text()
    );
    versions.dies();
    versions.awaits(1, "the first tenant is moved", |rollout| rollout["waves"][0]["moved"] == 1);
    versions.dies();
    // Who comes meanwhile gets the old version, and is moved at the end.
    let late = host.boot("late", &["--image", "base"]);
    versions.awaits(1, "the second wave is begun", |rollout| rollout["wave"].as_u64() >= Some(2));
    versions.dies();
    versions.awaits(1, "the third wave is begun", |rollout| rollout["wave"].as_u64() >= Some(3));
    versions.dies();
    let end = versions.awaits(1, "it is over", is_over);
    assert_eq!(end["state"], "finished", "{end:#}");
    for (tenant, boot) in tenants.iter().zip(boots) {
        assert_eq!((version(tenant), tenant.boot_id()), ("new".to_owned(), boot), "{}", tenant.name());
        assert_eq!(versions.generations(tenant.name()), 2, "{} is moved once", tenant.name());
    }
    assert_eq!(version(&late), "new");
    assert_eq!(versions.channel("stable"), versions.channel("candidate"));
    down.start();
    pinned.start();
    assert_eq!((version(&down), version(&pinned)), ("new".to_owned(), "old".to_owned()));

    // And back, in one wave.
    host.ctl(&["rollout", "rollback", "1", "--watch"]).ok();
    for tenant in &tenants {
        assert_eq!(version(tenant), "old", "{}", tenant.name());
    }
    assert_ne!(versions.channel("stable"), versions.channel("candidate"));
    let history = host.ctl(&["rollout", "history"]).ok();
    assert_eq!(history.text().lines().count(), 3, "{}", history.text());
}

/// All programs of the image are links to one, which cannot be executed any more.
fn break_every_program(tree: &Path) {
    let found = Run::new("find", [tree.to_str().expect("a path"), "-name", "busybox", "-type", "f"]).ok();
    let programs: Vec<_> = found.text().lines().map(PathBuf::from).collect();
    assert!(!programs.is_empty(), "the image has no busybox");
    for program in programs {
        fs::write(program, "#!/lib/no-such-loader\n").expect("a program that cannot be run");
    }
}

#[test]
fn a_version_that_does_not_boot_is_taken_back_and_its_tenant_is_up_again() {
    let versions = Versions::with(break_every_program);
    let host = &versions.host;
    let tenants = ["t1", "t2"].map(|name| host.boot(name, &["--image", "base"]));
    let untouched = tenants[1].boot_id();
    let words = ["rollout", "start", "base", "--waves", "1,100%", "--restart", "--watch"];
    assert_eq!(host.ctl(&words).output().code(), FAILED);
    let end = versions.rollout(1);
    let reason = end["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("tenant \"t1\": cannot rebase tenant \"t1\" to "), "{reason}");
    assert!(reason.contains("it is running with ") && reason.ends_with(" again"), "{reason}");
    assert_eq!(tenants.each_ref().map(version), ["old", "old"]);
    assert_eq!(tenants[1].boot_id(), untouched);
}

#[test]
fn a_base_that_breaks_every_program_is_caught_by_the_first_wave_and_undone_without_a_reboot() {
    let versions = Versions::with(break_every_program);
    let host = &versions.host;
    let tenants: Vec<Tenant<'_>> =
        ["t1", "t2", "t3"].iter().map(|name| host.boot(name, &["--image", "base"])).collect();
    let boots: Vec<_> = tenants.iter().map(Tenant::boot_id).collect();
    let words =
        ["rollout", "start", "base", "--waves", "1,100%", "--gate", "exec:true", "--gate-timeout", "2s"];
    let said = host.ctl(&[&words[..], &["--watch"]].concat()).output();
    assert_eq!(said.code(), FAILED);
    let end = versions.rollout(1);
    assert_eq!(end["state"], "failed", "{end:#}");
    let reason = end["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("tenant \"t1\": gate exec:true: "), "{reason}");
    assert!(reason.ends_with("; it holds in t2, t3, not moved yet"), "{reason}");
    for (tenant, boot) in tenants.iter().zip(boots) {
        assert_eq!((version(tenant), tenant.boot_id()), ("old".to_owned(), boot), "{}", tenant.name());
    }
    assert_eq!(versions.generations("t1"), 3);
    assert_eq!(versions.generations("t2"), 1, "a tenant of a later wave was moved");
    assert_ne!(versions.channel("stable"), versions.channel("candidate"));
    let log = host.ctl(&["--json", "events", "--since", "0", "--no-follow"]).ok();
    let told: Vec<Value> =
        log.text().lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let kinds: Vec<&str> = told
        .iter()
        .filter(|event| event["rollout"] == 1)
        .map(|event| event["event"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(kinds, ["rollout-started", "gate-failed", "rollout-undone"]);
}

#[test]
fn rollouts_keep_apart_pause_and_are_aborted_and_tenants_do_what_they_like_meanwhile() {
    let versions = Versions::with(|_| {});
    let host = &versions.host;
    let names = ["t1", "t2", "t3", "t4", "t5", "t6"];
    let tenants: Vec<Tenant<'_>> = names.iter().map(|name| host.boot(name, &["--image", "base"])).collect();
    let start = |more: &[&str]| {
        let words = [&["rollout", "start", "base"], more].concat();
        host.ctl(&words).output()
    };
    // One for two of them, held up by a bake, and another one that would have them too.
    start(&["t1", "t2", "--waves", "1,100%", "--bake", "1h"]).succeeded();
    let said = start(&[]).refused(REFUSED);
    // One of them may have the version by then.
    assert!(said.contains("cannot start a rollout: tenant \"t") && said.contains(" in rollout 1"), "{said}");
    versions.awaits(1, "it watches its first wave", |rollout| rollout["state"] == "baking");
    host.ctl(&["rollout", "pause", "1"]).ok();
    assert_eq!(versions.rollout(1)["state"], "paused");
    versions.dies();
    assert_eq!(versions.rollout(1)["state"], "paused", "a pause outlives hostd");
    host.ctl(&["rollout", "resume", "1"]).ok();
    host.ctl(&["rollout", "abort", "1"]).ok();
    assert_eq!(versions.rollout(1)["state"], "aborted");
    assert_eq!([version(&tenants[0]), version(&tenants[1])], ["new", "old"]);
    assert_ne!(
        versions.channel("stable"),
        versions.channel("candidate"),
        "an aborted one leaves the channel"
    );
    host.ctl(&["rollout", "pause", "1"]).output().refused(REFUSED);
    // A record that cannot be read is named, and no other is kept from going on.
    fs::write(host.path("var/lib/tenantry/rollouts/2.json"), "{").expect("a damaged record");

    // The rest: one is frozen, one stopped, one destroyed, one is given its version by hand.
    host.ctl(&["freeze", "t3"]).ok();
    tenants[3].stop();
    start(&["--waves", "50%,100%", "--gate", "exec:true", "--bake", "2s"]).succeeded();
    host.ctl(&["destroy", "t5", "--force", "--yes"]).ok();
    versions.dies();
    let end = versions.awaits(3, "it is over", is_over);
    assert_eq!(end["state"], "finished", "{end:#}");
    let state = |name: &str| {
        let all = end["tenants"].as_array().expect("tenants");
        let found = all.iter().find(|one| one["name"] == name);
        found.map(|one| one["state"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    };
    assert_eq!(
        [state("t2"), state("t3"), state("t4"), state("t5"), state("t6")],
        ["passed", "passed", "passed", "gone", "passed"]
    );
    assert_eq!(state("t1"), "", "it had the version already");
    host.ctl(&["thaw", "t3"]).ok();
    tenants[3].start();
    assert_eq!([version(&tenants[2]), version(&tenants[3])], ["new", "new"]);
    let history = host.ctl(&["rollout", "history"]).ok();
    assert!(history.text().contains("damaged"), "{}", history.text());
    assert!(host.hostd_log().contains("rollout 2 does not go on: "), "{}", host.hostd_log());
    host.ctl(&["rollout", "show", "2"]).output().refused(REFUSED);
    let unknown = host.ctl(&["rollout", "show", "9"]).output();
    assert_eq!(unknown.code(), 3);
}

/// What a terminal of so many columns shows of this: what a rollout is drawn with, and no more.
fn screen(shown: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut row, mut wraps) = (vec![String::new()], 0, true);
    let mut rest = shown.replace("\r\n", "\n");
    while let Some(first) = rest.chars().next() {
        let (length, command) = match rest.strip_prefix("\x1b[") {
            Some(sequence) => {
                let end = sequence.find(|char: char| char.is_ascii_alphabetic()).expect("a whole sequence");
                (2 + end + 1, &sequence[..=end])
            }
            None => (first.len_utf8(), ""),
        };
        match command {
            "J" => lines.truncate(row + 1),
            "?7l" => wraps = false,
            "?7h" => wraps = true,
            up if up.ends_with('A') => row -= up[..up.len() - 1].parse::<usize>().expect("a number"),
            "" if first == '\n' => {
                row += 1;
                lines.resize(lines.len().max(row + 1), String::new());
            }
            "" if lines[row].len() < columns => lines[row].push(first),
            "" if wraps => {
                row += 1;
                lines.insert(row, first.to_string());
            }
            "" => {}
            other => panic!("no sequence that it draws with: {other:?}"),
        }
        if command == "J" {
            lines[row].clear();
        }
        rest.drain(..length);
    }
    lines
}

#[test]
fn a_rollout_is_drawn_over_itself_on_a_small_terminal_until_it_has_ended() {
    let versions = Versions::with(|_| {});
    let host = &versions.host;
    let tenants = ["t1", "t2"].map(|name| host.boot(name, &["--image", "base"]));
    let words =
        ["rollout", "start", "base", "--waves", "1,100%", "--gate", "exec:true", "--bake", "2s", "--watch"];
    let mut terminal = Terminal::open(&host.ctl(&words));
    terminal.resize(24, 40);
    terminal.expect("wave 1 of 2: watching its tenants, ");
    terminal.expect("1     1           1      1       1       0  baking");
    terminal.expect("Ctrl-C ends this view; the rollout goes on");
    terminal.expect("wave 2 of 2: watching its tenants, ");
    terminal.expect("finished");
    assert_eq!(terminal.ended(), 0);
    let status = host.ctl(&["rollout", "status", "1"]).ok();
    assert!(
        status.text().contains("[########################################] 2 of 2 have it"),
        "{}",
        status.text()
    );
    let mut shown = screen(&terminal.shown(), 40).join("");
    shown.retain(|char| !char.is_whitespace());
    let mut wanted = status.text().to_owned();
    wanted.retain(|char| !char.is_whitespace());
    assert_eq!(shown, wanted, "nothing is left of what was drawn before");
    assert_eq!(tenants.each_ref().map(version), ["new", "new"]);
}
