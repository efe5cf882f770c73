//! Verbs about the files of a tenant: copies of all of them, and of some.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use tenantry_tests::{Output, Tenant};

use crate::{
    site::{LIMIT, Site, VICTIM},
    verbs::{ABOUT_A_TENANT, Verb, boot, create, ctl, is_same_boot},
};

/// What a copy of the victim is called.
const COPY: &str = "copy";
/// What the victim has stored.
const KEPT: &str = "kept";

pub(crate) const TABLE: &[Verb] = &[
    Verb {
        name: "cp-in",
        prepare: boot,
        act: |site| {
            let tree = tree(site);
            site.host.ctl(&["cp", "-a", &tree, "victim:/root/there"]).limit(LIMIT).output()
        },
        check: |site, _, done| {
            is_same_boot(site)?;
            let there = "cat /root/there/file /root/there/below/file; readlink /root/there/link";
            is_so(done, &site.victim().shell(there).output(), "top below /etc/passwd")
        },
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "cp-out",
        prepare: |site| {
            boot_with(site, KEPT);
            drop(fs::remove_dir_all(site.host.path("out")));
        },
        act: |site| {
            let out = path(site, "out");
            site.host.ctl(&["cp", "victim:/root", &out]).limit(LIMIT).output()
        },
        check: |site, _, done| {
            is_same_boot(site)?;
            let said = fs::read_to_string(site.host.path("out/mark"));
            match (done.status.success(), said) {
                (true, Ok(text)) if text == KEPT => Ok(()),
                (false, _) => Ok(()),
                (true, other) => Err(format!("the copy has {other:?}")),
            }
        },
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "export",
        prepare: |site| {
            boot_with(site, KEPT);
            drop(fs::remove_file(archive(site)));
        },
        act: |site| ctl(site, "export", &[&path(site, "victim.tar")]),
        check: |site, _, done| {
            is_same_boot(site)?;
            if done.status.success() != archive(site).exists() {
                return Err("an archive is there if and only if the export succeeds".to_owned());
            }
            if !done.status.success() {
                return Ok(());
            }
            succeeds(site, &["import", &path(site, "victim.tar"), COPY])?;
            is_whole(site, COPY)?;
            succeeds(site, &["destroy", COPY, "--force", "--yes"])
        },
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "import",
        prepare: |site| {
            if archive(site).exists() {
                return;
            }
            boot_with(site, KEPT);
            ctl(site, "export", &[&path(site, "victim.tar")]).succeeded();
            ctl(site, "destroy", &["--force", "--yes"]).succeeded();
        },
        act: |site| site.host.ctl(&["import", &path(site, "victim.tar"), VICTIM]).limit(LIMIT).output(),
        check: |site, _, done| match exists(site, VICTIM)? {
            true => is_whole(site, VICTIM),
            false if done.status.success() => Err("the tenant is not there".to_owned()),
            false => Ok(()),
        },
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "clone",
        object: COPY,
        prepare: |site| boot_with(site, KEPT),
        act: |site| ctl(site, "clone", &[COPY]),
        check: |site, _, done| {
            is_same_boot(site)?;
            if !exists(site, COPY)? {
                return if done.status.success() { Err("there is no clone".to_owned()) } else { Ok(()) };
            }
            is_whole(site, COPY)?;
            succeeds(site, &["destroy", COPY, "--force", "--yes"])
        },
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "snapshot",
        prepare: |site| boot_with(site, KEPT),
        act: |site| ctl(site, "snapshot", &["one"]),
        check: |site, _, done| {
            is_same_boot(site)?;
            let all = ctl(site, "snapshots", &["--json"]);
            if !all.status.success() {
                return Err(format!("afterwards snapshots: {}", all.stderr));
            }
            let is_there = all.json().as_array().is_some_and(|all| !all.is_empty());
            if done.status.success() && !is_there {
                return Err("the snapshot is not there".to_owned());
            }
            if is_there {
                // What counts as one is whole.
                ctl(site, "stop", &[]).succeeded();
                succeeds(site, &["restore", VICTIM, "one"])?;
                return is_whole(site, VICTIM);
            }
            Ok(())
        },
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "restore",
        prepare: |site| {
            boot_with(site, KEPT);
            site.victim().stop();
            ctl(site, "snapshot", &["one"]).succeeded();
            site.victim().start();
            site.victim().says("printf later > /root/mark; mkdir /root/more");
            site.victim().stop();
        },
        act: |site| ctl(site, "restore", &["one"]),
        check: |site, _, done| {
            is_one_of(site, done, "cat /root/mark; ls /root", ("latermark more", "keptmark"))
        },
        ..ABOUT_A_TENANT
    },
    Verb {
        name: "reset",
        prepare: |site| {
            boot_with(site, KEPT);
            site.victim().stop();
        },
        act: |site| ctl(site, "reset", &["/root", "--yes"]),
        check: |site, _, done| is_one_of(site, done, "ls /root", ("mark", "")),
        ..ABOUT_A_TENANT
    },
];

fn path(site: &Site, name: &str) -> String {
    site.host.path(name).to_string_lossy().into_owned()
}

fn archive(site: &Site) -> PathBuf {
    site.host.path("victim.tar")
}

/// A small tree of the host's, made once.
fn tree(site: &Site) -> String {
    let tree = site.host.path("tree");
    if !tree.exists() {
        fs::create_dir_all(tree.join("below")).expect("directories of the tree");
        fs::write(tree.join("file"), "top\n").expect("a file of the tree");
        fs::write(tree.join("below/file"), "below\n").expect("a file of the tree");
        symlink("/etc/passwd", tree.join("link")).expect("a link of the tree");
    }
    tree.to_string_lossy().into_owned()
}

/// The victim is running and has stored something.
fn boot_with(site: &Site, text: &str) {
    create(site);
    site.victim().start();
    site.victim().says(&format!("printf {text} > /root/mark"));
    site.victims_boot.set(site.victim().boot_id());
}

fn succeeds(site: &Site, words: &[&str]) -> Result<(), String> {
    let done = site.host.ctl(words).limit(LIMIT).output();
    if done.status.success() {
        return Ok(());
    }
    Err(format!("afterwards `{}`: {}", words.join(" "), done.stderr))
}

fn exists(site: &Site, name: &str) -> Result<bool, String> {
    let list = site.host.ctl(&["--json", "list"]).output();
    if !list.status.success() {
        return Err(format!("afterwards list: {}", list.stderr));
    }
    Ok(list.json().as_array().is_some_and(|all| all.iter().any(|tenant| tenant["name"] == name)))
}

/// It can be started, and has what the victim had.
fn is_whole(site: &Site, name: &str) -> Result<(), String> {
    succeeds(site, &["start", name])?;
    let said = Tenant::new(&site.host, name).shell("cat /root/mark").output();
    if said.text() == KEPT {
        return Ok(());
    }
    Err(format!("{name} has {:?} {}", said.text(), said.stderr))
}

/// The victim, which is down, has what a verb was to make of it, or what it had before if the verb has failed: what a shell
/// script says inside.
fn is_one_of(site: &Site, done: &Output, script: &str, (old, new): (&str, &str)) -> Result<(), String> {
    succeeds(site, &["start", VICTIM])?;
    let said = site.victim().shell(script).output();
    let seen = words(&said);
    if seen == new || (!done.status.success() && seen == old) {
        return Ok(());
    }
    Err(format!("it has {seen:?} {}", said.stderr))
}

/// What a shell script says, on one line.
fn words(said: &Output) -> String {
    said.text().split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is inside when a verb has succeeded.
fn is_so(done: &Output, said: &Output, wanted: &str) -> Result<(), String> {
    if !done.status.success() || words(said) == wanted {
        return Ok(());
    }
    Err(format!("it has {:?} {}", words(said), said.stderr))
}
