//! A store with versions that differ in files of their own.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::Path};

use serde_json::Value;
use tenantry_tests::{Host, Tenant};

/// Exit code of what is refused in a tenant's state.
pub(crate) const REFUSED: i32 = 4;
/// Where the files are in which the versions differ.
pub(crate) const GENERATION: &str = "usr/lib/generation";
/// Directories at the top that a merged tree has as links.
pub(crate) const NOT_MERGED: [&str; 3] = ["bin", "lib", "sbin"];

/// A directory in `/usr/lib` whose name is no text.
const ODD: &[u8] = b"caf\xe9 \\ \n";

/// A host with a store of its own, and in it two more versions of an image: `:one` and `:two`.
pub(crate) fn with_versions(image: &str) -> Host {
    with_versions_of(image, &[], |_| ())
}

/// As [`with_versions`], published with more options, of a tree that is changed first.
pub(crate) fn with_versions_of(image: &str, options: &[&str], change: impl Fn(&Path)) -> Host {
    let host = Host::bare();
    host.copy_images();
    for version in ["one", "two"] {
        host.another_version_as(image, &format!("{image}:{version}"), options, |tree| {
            change(tree);
            write_generation(tree, version);
        });
    }
    host.start_hostd();
    host
}

fn write_generation(tree: &Path, version: &str) {
    let dir = tree.join(GENERATION);
    fs::create_dir_all(&dir).expect("a directory in the copy");
    for number in 0..20 {
        fs::write(dir.join(number.to_string()), version).expect("a file of the version");
    }
    fs::create_dir_all(tree.join("usr/lib").join(OsStr::from_bytes(ODD))).expect("a directory in the copy");
    for top in NOT_MERGED.map(|top| tree.join(top)).into_iter().filter(|top| !top.is_symlink()) {
        fs::write(top.join("generation"), version).expect("a file of the version");
    }
    fs::write(tree.join("etc/generation"), version).expect("a file of the version");
    let status = tree.join("var/lib/dpkg/status");
    if let Ok(text) = fs::read_to_string(&status) {
        let own = format!(
            "\nPackage: generation\nStatus: install ok installed\nMaintainer: x <x@x>\nArchitecture: all\n\
             Version: 9999{version}\nDescription: x\n"
        );
        fs::write(&status, text + &own).expect("the database of packages");
    }
}

pub(crate) fn generation(tenant: &Tenant<'_>) -> String {
    tenant.says(&format!("cat /{GENERATION}/7"))
}

pub(crate) fn rebase(tenant: &Tenant<'_>, more: &[&str]) -> Value {
    let mut words = vec!["--json"];
    words.extend(more);
    tenant.ctl("rebase", &words).ok().json()
}
