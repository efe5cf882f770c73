//! `rootfsctl update` and `rootfsctl log`: a version is built again from its recipe. The builds are done by a program that
//! stands in for mmdebstrap, with the packages of one day and of another.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// A host of its own, whose mmdebstrap makes a tree of what the file `packages` says: lines `NAME VERSION`.
struct Host {
    dir: tempfile::TempDir,
}

/// Writes down what it is told, and makes a tree: `/usr/bin/NAME` with the version in it for each package, and a database.
const MMDEBSTRAP: &str = r#"#!/bin/sh
set -e
printf '%s\n' "$@" > HERE/told
while [ "$1" != -- ]; do shift; done
tree=$3
mkdir -p "$tree/usr/bin" "$tree/usr/sbin" "$tree/usr/lib" "$tree/etc" "$tree/var/lib/dpkg"
ln -s usr/sbin "$tree/sbin"
printf 'PRETTY_NAME="Stand-in"\n' > "$tree/usr/lib/os-release"
printf '#!/bin/sh\n' > "$tree/usr/sbin/init"
chmod 755 "$tree/usr/sbin/init"
printf 'root:*:%s:0:99999:7:::\n' "$(cat HERE/day)" > "$tree/etc/shadow"
chmod 640 "$tree/etc/shadow"
while read -r name version; do
    printf '%s\n' "$version" > "$tree/usr/bin/$name"
    printf 'Package: %s\nStatus: install ok installed\nArchitecture: all\nVersion: %s\n\n' "$name" "$version" \
        >> "$tree/var/lib/dpkg/status"
done < HERE/packages
"#;

impl Host {
    fn new(packages: &str) -> Self {
        let host = Self { dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        let program = host.path("bin/mmdebstrap");
        fs::create_dir(program.parent().unwrap()).unwrap();
        fs::write(&program, MMDEBSTRAP.replace("HERE", host.dir.path().to_str().unwrap())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        host.day("20785", packages);
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What mirrors have on a day, in days since 1970.
    fn day(&self, day: &str, packages: &str) {
        fs::write(self.path("day"), day).unwrap();
        fs::write(self.path("packages"), packages).unwrap();
    }

    fn output(&self, args: &[&str]) -> Output {
        let path = std::env::var_os("PATH").unwrap();
        let path = [self.path("bin")].into_iter().chain(std::env::split_paths(&path));
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootfsctl"));
        command.env("PATH", std::env::join_paths(path).unwrap());
        command.arg("--root").arg(self.path("host")).args(args).output().unwrap()
    }

    fn says(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[&["--json"], args].concat())).unwrap()
    }

    fn refused(&self, args: &[&str], code: i32) -> String {
        let output = self.output(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }

    fn build(&self, more: &[&str]) {
        self.says(&[&["build", "debian", "--mirror", "http://me:secret@127.0.0.1:9/debian"], more].concat());
    }
}

/// A directory that is a root filesystem: one program.
fn tree(dir: &Path) -> PathBuf {
    let init = dir.join("tree/sbin/init");
    fs::create_dir_all(init.parent().unwrap()).unwrap();
    fs::write(&init, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    dir.join("tree")
}

#[test]
fn the_same_packages_on_another_day_give_the_same_version_and_nothing_is_published() {
    let host = Host::new("libc6 2.36\nopenssl 3.0.15\n");
    host.build(&[]);
    host.day("20786", "libc6 2.36\nopenssl 3.0.15\n");
    let said = host.says(&["update", "debian"]);
    assert!(said.starts_with("unchanged debian@"), "{said}");
    assert_eq!(host.json(&["update", "debian"])["result"], "unchanged");
    assert_eq!(host.json(&["list", "debian"]).as_array().unwrap().len(), 1);
    assert!(!host.says(&["channel", "debian"]).contains("candidate"));
}

#[test]
fn an_update_says_which_packages_differ_and_leaves_stable_alone() {
    let host = Host::new("gone 1\nlibc6 2.36\nopenssl 3.0.15\n");
    host.build(&["--include", "openssl", "--stock", "--lock-root"]);
    host.day("20786", "libc6 2.36\nnew 1\nopenssl 3.0.17\n");
    let stable = host.json(&["show", "debian"])["manifest"]["digest"].clone();

    let planned = host.json(&["update", "debian", "--dry-run"]);
    assert_eq!(planned["result"], "would-publish");
    assert_eq!(host.json(&["list", "debian"]).as_array().unwrap().len(), 1, "nothing was published");

    let updated = host.json(&["update", "debian"]);
    assert_eq!((&updated["result"], &updated["digest"]), (&"published".into(), &planned["digest"]));
    let packages: Vec<_> = updated["packages"].as_array().unwrap().iter().collect();
    let change = |p: &Value| format!("{} {} {}", p["package"], p["from"], p["to"]).replace('"', "");
    let packages: Vec<_> = packages.into_iter().map(change).collect();
    assert_eq!(packages, ["gone 1 null", "new null 1", "openssl 3.0.15 3.0.17"]);
    assert!(updated["published"]["shared"]["files"].as_u64() > Some(0), "{updated:#}");
    assert_eq!(host.json(&["show", "debian"])["manifest"]["digest"], stable);
    let new = host.json(&["show", "debian:candidate"]);
    assert_eq!((&new["manifest"]["parent"], &new["manifest"]["digest"]), (&stable, &updated["digest"]));

    // What it was asked to fetch is what the build was.
    let told = fs::read_to_string(host.path("told")).unwrap();
    assert!(told.lines().any(|line| line.starts_with("--include=") && line.contains("openssl")), "{told}");
    assert!(told.lines().any(|line| line == "http://127.0.0.1:9/debian"), "no name and no password: {told}");
    let (old, new) = (host.json(&["show", "debian"]), host.json(&["show", "debian:candidate"]));
    assert_eq!(old["manifest"]["recipe"], new["manifest"]["recipe"]);
    assert_eq!(new["manifest"]["recipe"]["root_password"], "locked");
    assert_eq!(new["manifest"]["tuned"], false);
    let again = host.says(&["update", "debian"]);
    assert!(
        again.contains("package openssl 3.0.15 -> 3.0.17") && again.contains("unchanged debian@"),
        "{again}"
    );
}

#[test]
fn a_password_stays_and_is_not_in_the_manifest() {
    let host = Host::new("libc6 1\n");
    host.build(&["--root-password-hash", "$6$salt$hash"]);
    host.day("20786", "libc6 2\n");
    host.says(&["update", "debian", "--mirror", "http://127.0.0.1:9/other"]);
    let shown = host.json(&["show", "debian:candidate"]);
    let tree = PathBuf::from(shown["path"].as_str().unwrap());
    assert!(fs::read_to_string(tree.join("etc/shadow")).unwrap().starts_with("root:$6$salt$hash:18993:"));
    let manifest = fs::read_to_string(tree.parent().unwrap().join("manifest.toml")).unwrap();
    assert!(!manifest.contains("$6$") && !manifest.contains("secret"), "{manifest}");
    assert!(manifest.contains("mirrors = [\"http://127.0.0.1:9/other\"]"), "{manifest}");
}

#[test]
fn an_image_that_cannot_be_built_again_is_refused_with_the_remedy() {
    let host = Host::new("");
    let tree = tree(host.dir.path());
    host.says(&["import", tree.to_str().unwrap(), "--name", "mine"]);
    let said = host.refused(&["update", "mine"], 4);
    assert!(said.contains("cannot update image \"mine\"") && said.contains("came from \"tree\""), "{said}");
    assert!(
        said.contains("help: ") && said.contains("rootfsctl import tree --name mine --channel candidate"),
        "{said}"
    );
    host.refused(&["update", "other"], 3);

    // A version of an earlier release.
    let shown = host.json(&["show", "mine"]);
    let manifest = PathBuf::from(shown["path"].as_str().unwrap()).parent().unwrap().join("manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let start = text.find("[recipe]").unwrap();
    let end = start + text[start..].find("[[").unwrap();
    fs::write(&manifest, format!("{}{}", &text[..start], &text[end..])).unwrap();
    let said = host.refused(&["update", "mine"], 4);
    assert!(said.contains("has no recipe") && said.contains("help: build it once more"), "{said}");
}

#[test]
fn a_log_tells_what_changed_with_each_version_and_who_boots_it() {
    let host = Host::new("libc6 2.36\nopenssl 3.0.15\n");
    host.build(&[]);
    host.day("20786", "libc6 2.36\nopenssl 3.0.17\n");
    host.says(&["update", "debian"]);
    let log = host.json(&["log", "debian"]);
    let [new, old] = &log.as_array().unwrap()[..] else { panic!("{log:#}") };
    assert_eq!((&new["channels"][0], &old["channels"][0]), (&"candidate".into(), &"stable".into()));
    assert_eq!(
        (&new["parent"], &old["parent"], &old["changes"]),
        (&old["digest"], &Value::Null, &Value::Null)
    );
    assert_eq!(new["changes"][0]["package"], "openssl");
    assert_eq!((&new["packages"], &new["recipe"]["kind"]), (&2.into(), &"debian".into()));
    let said = host.says(&["log", "debian"]);
    assert!(
        said.contains("channels  candidate") && said.contains("    openssl 3.0.15 -> 3.0.17\n"),
        "{said}"
    );

    // The parent is gone.
    host.says(&["channel", "debian", "stable", ":candidate"]);
    host.says(&["gc", "--keep", "0"]);
    let said = host.says(&["log", "debian"]);
    assert!(said.contains("(removed)") && said.contains("packages  2\n"), "{said}");
}

#[test]
fn what_changed_is_told_without_reading_a_tree() {
    let host = Host::new("libc6 2.36\n");
    host.build(&[]);
    host.day("20786", "libc6 2.37\n");
    host.says(&["update", "debian"]);
    for channel in ["debian", "debian:candidate"] {
        let shown = host.json(&["show", channel]);
        fs::remove_dir_all(shown["path"].as_str().unwrap()).unwrap();
    }
    let said = host.says(&["diff", "debian", "debian:candidate"]);
    assert!(
        said.contains("package libc6 2.36 -> 2.37\n") && said.contains("~ /usr/bin/libc6 (content)\n"),
        "{said}"
    );
}
