//! What an image must not carry into a thousand tenants.
//!
//! The rules are [`RULES`], one table: what is wrong, why that matters, how it is found and, where there is one
//! safe way, how it is fixed. Builds and imports apply every fix; `rootfsctl lint` only reports.

mod image;
mod mail;
mod rules;
mod secrets;

use std::{io, path::Path};

pub use image::{Image, Severity};
pub use rules::{RULES, Rule};
pub use secrets::{BIND_KEY, SEEDS, SNAKEOIL};
use serde::Serialize;

use crate::{
    explain::{Explain, Outcome},
    rootdir::RootDir,
    tree::{self, TreeError},
};

/// One thing a rule found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Id of the rule.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The file, or the property of the image.
    pub object: String,
    /// What is wrong.
    pub what: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// Whether a build or import fixes it.
    pub fixable: bool,
}

/// A tree that cannot be checked or fixed.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// It cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It cannot be opened.
    #[error("cannot open {path:?}")]
    Open {
        /// The tree.
        path: std::path::PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A fix failed.
    #[error("cannot fix {object:?} (rule {rule})")]
    Fix {
        /// The rule.
        rule: &'static str,
        /// The file.
        object: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Explain for LintError {
    fn help(&self) -> Option<String> {
        None
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

/// Opens a tree for checking.
///
/// # Errors
/// It cannot be read.
pub fn open(tree: &Path) -> Result<Image, LintError> {
    let root = RootDir::open(tree).map_err(|source| LintError::Open { path: tree.to_owned(), source })?;
    Ok(Image { root, entries: tree::walk(tree)? })
}

/// The findings of all rules, the most severe first.
pub fn check(image: &Image) -> Vec<Finding> {
    let mut findings: Vec<_> = RULES
        .iter()
        .flat_map(|rule| {
            (rule.check)(image).into_iter().map(|object| Finding {
                rule: rule.id,
                severity: rule.severity,
                object,
                what: rule.what,
                why: rule.why,
                fixable: rule.fix.is_some(),
            })
        })
        .collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Applies the fix of every rule whose id is not in `except`, and returns what was fixed. [`check`] reports the
/// rest afterwards.
///
/// # Errors
/// A tree that cannot be read or changed.
pub fn fix(tree: &Path, except: &[&str]) -> Result<Vec<(&'static str, String)>, LintError> {
    let image = open(tree)?;
    let mut fixed = Vec::new();
    for rule in RULES {
        let Some(fix) = rule.fix.filter(|_| !except.contains(&rule.id)) else { continue };
        for object in (rule.check)(&image) {
            fix(&image.root, &object).map_err(|source| LintError::Fix {
                rule: rule.id,
                object: object.clone(),
                source,
            })?;
            fixed.push((rule.id, object));
        }
    }
    Ok(fixed)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn every_rule_has_its_own_id_and_says_what_and_why() {
        let ids: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), RULES.len());
        for rule in RULES {
            assert!(rule.what.len() > 10 && rule.why.len() > 10, "{}", rule.id);
        }
    }

    /// Puts one thing into a tree that is otherwise clean and says which rule must find it.
    fn found_and_fixed(rule: &str, spoil: impl Fn(&Path)) {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path();
        for name in ["usr/sbin", "usr/bin", "usr/lib", "etc"] {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        for name in ["bin", "sbin", "lib"] {
            symlink(format!("usr/{name}"), tree.join(name)).unwrap();
        }
        fs::create_dir_all(tree.join("usr/lib/systemd")).unwrap();
        fs::write(tree.join("usr/lib/systemd/systemd"), "").unwrap();
        symlink("/lib/systemd/systemd", tree.join("usr/sbin/init")).unwrap();
        fs::write(tree.join("usr/lib/os-release"), "PRETTY_NAME=x\n").unwrap();
        fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        fs::write(tree.join("etc/shadow"), "root:!:1::::::\n").unwrap();
        let clean: Vec<_> = check(&open(tree).unwrap()).into_iter().map(|f| f.rule).collect();
        assert!(!clean.contains(&rule), "{rule} finds something in a clean tree: {clean:?}");

        spoil(tree);
        let findings = check(&open(tree).unwrap());
        let finding =
            findings.iter().find(|f| f.rule == rule).unwrap_or_else(|| panic!("{rule} finds nothing"));
        if finding.fixable {
            assert!(fix(tree, &[]).unwrap().iter().any(|(id, _)| *id == rule));
            assert!(
                !check(&open(tree).unwrap()).iter().any(|f| f.rule == rule),
                "{rule} is found after its fix"
            );
        }
    }

    #[test]
    fn what_tenants_would_share_is_found_and_taken_away() {
        let write = |path: &'static str| {
            move |tree: &Path| {
                fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
                fs::write(tree.join(path), "0123456789abcdef0123456789abcdef\n").unwrap();
            }
        };
        found_and_fixed("machine-id", write("etc/machine-id"));
        found_and_fixed("host-name", write("etc/hostname"));
        found_and_fixed("resolv-conf", write("etc/resolv.conf"));
        found_and_fixed("ssh-host-keys", write("etc/ssh/ssh_host_rsa_key"));
        found_and_fixed("random-seed", write("var/lib/systemd/random-seed"));
        found_and_fixed("old-logs", write("var/log/journal/x/system.journal"));
        found_and_fixed("apt-cache", write("var/cache/apt/archives/x.deb"));
        found_and_fixed("root-password", |tree| {
            fs::write(tree.join("etc/shadow"), "root::1::::::\n").unwrap()
        });
    }

    fn with(files: &'static [(&'static str, &'static str)]) -> impl Fn(&Path) {
        move |tree: &Path| {
            for (path, text) in files {
                fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
                fs::write(tree.join(path), text).unwrap();
            }
        }
    }

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n-----END PRIVATE KEY-----\n";

    #[test]
    fn what_packages_make_for_one_machine_is_found_and_taken_away() {
        found_and_fixed(
            "snakeoil-key",
            with(&[("usr/sbin/make-ssl-cert", ""), ("etc/ssl/private/ssl-cert-snakeoil.key", PEM)]),
        );
        found_and_fixed(
            "bind-key",
            with(&[("usr/sbin/rndc-confgen", ""), ("etc/bind/rndc.key", "key \"rndc-key\" {};\n")]),
        );
        found_and_fixed(
            "postgresql-cluster",
            with(&[("usr/bin/pg_createcluster", ""), ("var/lib/postgresql/15/main/global/pg_control", "x")]),
        );
        found_and_fixed("mail-name", with(&[("etc/mailname", "localhost\n")]));
        found_and_fixed("private-key", with(&[("root/.ssh/id_ed25519", PEM)]));
        found_and_fixed("private-key", with(&[("etc/munge/munge.key", "0123")]));
    }

    #[test]
    fn a_key_that_nothing_would_make_again_stays() {
        let dir = tempfile::tempdir().unwrap();
        with(&[
            ("etc/ssl/private/ssl-cert-snakeoil.key", PEM),
            ("var/lib/postgresql/15/main/global/pg_control", "x"),
            ("etc/mailname", "mail.example.org\n"),
        ])(dir.path());
        let fixed = fix(dir.path(), &[]).unwrap();
        let image = open(dir.path()).unwrap();
        assert!(image.root.has("etc/ssl/private/ssl-cert-snakeoil.key"), "{fixed:?}");
        assert!(image.root.has("var/lib/postgresql/15/main/global/pg_control"), "{fixed:?}");
        assert!(image.root.has("etc/mailname"), "{fixed:?}");
        assert!(check(&image).iter().any(|finding| finding.rule == "postgresql-cluster"));
    }

    #[test]
    fn a_link_to_a_file_outside_is_found_and_one_inside_is_none() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir_in(outside.path()).unwrap();
        with(&[("etc/crontab", ""), ("etc/one", ""), ("usr/bin/x", "")])(dir.path());
        fs::hard_link(dir.path().join("etc/one"), dir.path().join("etc/two")).unwrap();
        fs::hard_link(dir.path().join("usr/bin/x"), outside.path().join("x")).unwrap();
        let found = || -> Vec<String> {
            let findings = check(&open(dir.path()).unwrap());
            findings.into_iter().filter(|f| f.rule == "hard-links").map(|f| f.object).collect()
        };
        assert_eq!(found(), [""; 0]);
        fs::hard_link(dir.path().join("etc/crontab"), outside.path().join("crontab")).unwrap();
        assert_eq!(found(), ["etc/crontab"]);
    }

    #[test]
    fn what_is_not_for_tenants_is_found() {
        let node = |tree: &Path| {
            let root = fs::File::open(tree).unwrap();
            let (kind, mode) =
                (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o666));
            rustix::fs::mknodat(&root, "etc/null", kind, mode, rustix::fs::makedev(1, 3)).unwrap();
        };
        found_and_fixed("device-nodes", node);
        found_and_fixed("overlay-xattrs", |tree| {
            xattr::set(tree.join("etc"), "trusted.overlay.opaque", b"y").unwrap();
        });
        found_and_fixed("owners", |tree| {
            std::os::unix::fs::chown(tree.join("etc/passwd"), Some(70_000), None).unwrap()
        });
        found_and_fixed("init", |tree| fs::remove_file(tree.join("usr/sbin/init")).unwrap());
        found_and_fixed("init-kind", |tree| {
            fs::remove_file(tree.join("usr/sbin/init")).unwrap();
            fs::write(tree.join("usr/sbin/init"), "\x7fELF\0/run/initctl\0").unwrap();
        });
        found_and_fixed("os-release", |tree| fs::remove_file(tree.join("usr/lib/os-release")).unwrap());
        found_and_fixed("merged-usr", |tree| {
            fs::remove_file(tree.join("bin")).unwrap();
            fs::create_dir(tree.join("bin")).unwrap();
        });
        found_and_fixed("fstab", |tree| fs::write(tree.join("etc/fstab"), "/dev/sda1 / ext4\n").unwrap());
        found_and_fixed("world-writable", |tree| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(tree.join("etc"), fs::Permissions::from_mode(0o777)).unwrap();
        });
        found_and_fixed("untuned-units", |tree| {
            let units = tree.join("usr/lib/systemd/system");
            fs::create_dir_all(&units).unwrap();
            fs::write(tree.join("usr/lib/systemd/systemd"), "").unwrap();
            fs::write(units.join("fstrim.timer"), "").unwrap();
        });
    }
}
