//! An image in three versions: fixtures below `/usr/lib/fix`, some of them changed, then OpenSSL changed.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tenantry_tests::{Host, Run, debian, host::Place};

/// Changes with what the functions below make.
const RECIPE: &str = "fixtures of stale 3";

/// A host with the image `fix`: `stable`, then `candidate`, then `openssl`.
pub(crate) fn host() -> Host {
    let changes: [debian::Change; 3] = [("stable", first), ("candidate", second), ("openssl", openssl)];
    Host::start_in(debian::versions(&Place::prepared(), "debian", "fix", RECIPE, &changes))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a fixture can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it can be made executable");
}

fn busybox(place: &Place) -> PathBuf {
    let versions = place.images.join("var/lib/tenantry/images/busybox/versions");
    let version = fs::read_dir(versions).expect("the image is there").flatten().next().expect("a version");
    version.path().join("tree/bin/busybox")
}

const SHELL: &str = "#!/bin/sh\n: > /run/ready-$1\nwhile :; do /usr/lib/fix/same 1000; done\n";
const PERL: &str = "open F, \">/run/ready-$ARGV[0]\"; sleep 100000;\n";

fn first(place: &Place, tree: &Path) {
    let fix = tree.join("usr/lib/fix");
    let opt = tree.join("opt/fix");
    for dir in [&fix, &opt] {
        fs::create_dir_all(dir).expect("a directory");
    }
    let copy = |from: &Path, to: PathBuf| fs::copy(from, to).map(drop).expect("a fixture can be copied");
    let sleep = tree.join("usr/bin/sleep");
    for name in ["changed", "same", "gone"] {
        copy(&sleep, fix.join(name));
    }
    copy(&busybox(place), fix.join("busybox"));
    for name in ["tool", "own"] {
        copy(&sleep, opt.join(name));
    }
    let library = fs::canonicalize(tree.join("usr/lib/x86_64-linux-gnu/libcap-ng.so.0")).expect("a library");
    for name in ["changed.so", "same.so"] {
        copy(&library, fix.join(name));
    }
    fs::write(fix.join("data"), [b'x'; 8192]).expect("data");
    for name in ["changed", "same"] {
        write(&fix.join(format!("{name}.sh")), SHELL);
        write(&fix.join(format!("{name}.pl")), &format!("#!/usr/bin/perl -w\n{PERL}"));
        write(&fix.join(format!("{name}-env.pl")), &format!("#!/usr/bin/env perl\n{PERL}"));
    }
    std::os::unix::fs::symlink("changed.pl", fix.join("link.pl")).expect("a link");
}

/// Bytes behind the end of a file that the loader and an interpreter pass over.
pub(crate) fn append(path: &Path) {
    let mut file = File::options().append(true).open(path).expect("it is there");
    file.write_all(b"\n# changed\n").expect("it can be changed");
}

fn second(_: &Place, tree: &Path) {
    let fix = tree.join("usr/lib/fix");
    for name in ["changed", "changed.so", "busybox", "data", "changed.sh", "changed.pl", "changed-env.pl"] {
        append(&fix.join(name));
    }
    fs::remove_file(fix.join("gone")).expect("it is there");
    for name in ["tool", "own"] {
        append(&tree.join("opt/fix").join(name));
    }
    // Read by every program with a locale, and mapped, but no code.
    append(&tree.join("usr/lib/locale/C.utf8/LC_NUMERIC"));
}

fn openssl(_: &Place, tree: &Path) {
    for name in ["libssl.so.3", "libcrypto.so.3"] {
        append(&tree.join("usr/lib/x86_64-linux-gnu").join(name));
    }
}

/// Gives a tenant a version, beneath what is running.
pub(crate) fn rebase(host: &Host, name: &str, to: &str) {
    host.ctl(&["rebase", name, "--to", to, "--live"]).ok();
}

/// What `tenantctl --json stale` says of one tenant.
pub(crate) fn stale(host: &Host, name: &str) -> serde_json::Value {
    let run: Run = host.ctl(&["--json", "stale", name]);
    run.ok().json()
}
