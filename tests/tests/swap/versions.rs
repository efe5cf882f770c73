//! A store with versions that differ in files of their own.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::Path};

use serde_json::Value;
use tenantry_tests::{Host, Run, Tenant};

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
pub(crate) fn with_versions_of(image: &str, options: &[&str], change: impl FnOnce(&Path)) -> Host {
    let host = Host::bare();
    host.copy_images();
    let shown = host.tool("rootfsctl", &["--json", "show", image]).ok().json();
    let digest = shown["manifest"]["digest"].as_str().expect("a digest").replace(':', "-");
    let tree = host.path(format!("var/lib/tenantry/images/{image}/versions/{digest}/tree"));
    let copy = host.path("copy");
    Run::new("cp", ["-a"]).args([&tree, &copy]).ok();
    change(&copy);
    for version in ["one", "two"] {
        write_generation(&copy, version);
        publish(&host, image, version, options);
    }
    fs::remove_dir_all(&copy).expect("the copy can be removed");
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
        let of = |line: &str| line.starts_with("Version: 9999").then(|| "Version: 9999two".to_owned());
        let text: Vec<String> =
            text.lines().map(|line| of(line).unwrap_or_else(|| line.to_owned())).collect();
        let text = text.join("\n");
        let own = "\n\nPackage: generation\nStatus: install ok installed\nMaintainer: x <x@x>\nArchitecture: all\n\
                   Version: 9999one\nDescription: x\n";
        let text = if text.contains("Package: generation") { text } else { text + own };
        fs::write(&status, text + "\n").expect("the database of packages");
    }
}

fn publish(host: &Host, image: &str, version: &str, options: &[&str]) {
    let copy = host.path("copy").display().to_string();
    let words = ["publish", &copy, "--force", "--name", image, "--channel", version];
    host.tool("rootfsctl", &[&words[..], options].concat()).ok();
}

pub(crate) fn generation(tenant: &Tenant<'_>) -> String {
    tenant.says(&format!("cat /{GENERATION}/7"))
}

pub(crate) fn rebase(tenant: &Tenant<'_>, more: &[&str]) -> Value {
    let mut words = vec!["--json"];
    words.extend(more);
    tenant.ctl("rebase", &words).ok().json()
}
