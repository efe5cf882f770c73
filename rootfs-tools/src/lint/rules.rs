//! The rules, as data.

use std::{io, path::Path};

use tenant::model::image::InitKind;

use super::{
    image::{Image, Severity},
    mail,
    secrets::{BIND_KEY, SEEDS, SNAKEOIL, secrets},
};
use crate::{
    first_boot, inspect,
    rootdir::RootDir,
    share,
    tree::{Entry, Kind},
    tuning,
};

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Short unique name.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// The objects that are wrong: paths below the root without a leading `/`, where they are files.
    pub check: fn(&Image) -> Vec<String>,
    /// Fixes one object.
    pub fix: Option<fn(&RootDir, &str) -> io::Result<()>>,
}

/// All of them.
pub const RULES: &[Rule] = &[
    Rule {
        id: "init",
        severity: Severity::Warning,
        what: "there is no init program",
        why: "only tenants with a command of their own can use the image",
        check: |image| {
            let found = inspect::INIT.iter().any(|path| image.root.is_file(path));
            if found { Vec::new() } else { vec!["sbin/init".to_owned()] }
        },
        fix: None,
    },
    Rule {
        id: "init-kind",
        severity: Severity::Note,
        what: "its init is not systemd",
        why: "a tenant counts as started when its init is started, and is stopped in that init's way",
        check: |image| {
            let kind = inspect::init_kind(&image.root).ok().flatten();
            let kind = kind.filter(|kind| *kind != InitKind::Systemd);
            kind.map(|kind| format!("{kind:?}").to_lowercase()).into_iter().collect()
        },
        fix: None,
    },
    Rule {
        id: "os-release",
        severity: Severity::Note,
        what: "there is no os-release file",
        why: "the system in the image cannot be identified",
        check: |image| {
            let found = ["etc/os-release", "usr/lib/os-release"].iter().any(|path| image.root.is_file(path));
            if found { Vec::new() } else { vec!["usr/lib/os-release".to_owned()] }
        },
        fix: None,
    },
    Rule {
        id: "machine-id",
        severity: Severity::Error,
        what: "it contains a machine-id",
        why: "every tenant would have the same one; with an empty file each tenant gets its own at boot",
        check: |image| {
            let baked = |path: &&str| {
                image.root.text(path).is_ok_and(|id| id.is_some_and(|id| !id.trim().is_empty()))
            };
            ["etc/machine-id", "var/lib/dbus/machine-id"]
                .into_iter()
                .filter(|path| image.root.link(path).is_none())
                .filter(baked)
                .map(str::to_owned)
                .collect()
        },
        fix: Some(|root, path| match path {
            // Empty and not absent: without the file systemd treats every boot as the first.
            "etc/machine-id" => root.write(path, b"", 0o444),
            _ => root.symlink("/etc/machine-id", path),
        }),
    },
    Rule {
        id: "host-name",
        severity: Severity::Error,
        what: "it contains a host name",
        why: "systemd would set it instead of the tenant's",
        check: |image| present(image, &["etc/hostname"]),
        fix: Some(remove),
    },
    Rule {
        id: "resolv-conf",
        severity: Severity::Error,
        what: "it contains the build machine's name servers",
        why: "tenants may be unable to reach them; the file is written from the tenant's configuration",
        check: |image| {
            if image.root.link("etc/resolv.conf").is_some() {
                return Vec::new();
            }
            present(image, &["etc/resolv.conf"])
        },
        fix: Some(remove),
    },
    Rule {
        id: "ssh-host-keys",
        severity: Severity::Error,
        what: "it contains ssh host keys",
        why: "every tenant could impersonate every other; each generates its own",
        check: |image| {
            let is_key = |name: &str| name.starts_with("ssh_host_") && name.contains("_key");
            below(image, "etc/ssh", |entry| {
                entry.path.file_name().is_some_and(|n| is_key(&n.to_string_lossy()))
            })
        },
        fix: Some(remove),
    },
    Rule {
        id: "random-seed",
        severity: Severity::Error,
        what: "it contains a secret generated on the build machine",
        why: "every tenant would have the same one",
        check: |image| present(image, SEEDS),
        fix: Some(remove),
    },
    Rule {
        id: "snakeoil-key",
        severity: Severity::Error,
        what: "it contains the self-signed certificate of the package ssl-cert",
        why: "every tenant would have the same private key; each generates its own",
        check: |image| {
            let made = first_boot::makes(&image.root, "snakeoil-key");
            if made { present(image, SNAKEOIL) } else { Vec::new() }
        },
        fix: Some(remove),
    },
    Rule {
        id: "bind-key",
        severity: Severity::Error,
        what: "it contains the control key of the name server BIND",
        why: "every tenant would have the same one; each generates its own",
        check: |image| {
            let made = first_boot::makes(&image.root, "bind-key");
            if made { present(image, &[BIND_KEY]) } else { Vec::new() }
        },
        fix: Some(remove),
    },
    Rule {
        id: "postgresql-cluster",
        severity: Severity::Warning,
        what: "it contains a PostgreSQL cluster",
        why: "every tenant would have the same system identifier, by which replicas identify their primary",
        check: |image| {
            let clusters = image.root.glob("var/lib/postgresql/*/*/global/pg_control").unwrap_or_default();
            let cluster = |control: &Path| control.ancestors().nth(2).map(|dir| dir.display().to_string());
            clusters.iter().filter_map(|control| cluster(control)).collect()
        },
        fix: Some(
            |root, path| {
                if first_boot::makes(root, "postgresql-cluster") { remove(root, path) } else { Ok(()) }
            },
        ),
    },
    Rule {
        id: "mail-name",
        severity: Severity::Error,
        what: "its mail system is configured with the name of the build machine",
        why: "every tenant would send mail under that name; each has its own",
        check: |image| mail::check(&image.root),
        fix: Some(mail::fix),
    },
    Rule {
        id: "private-key",
        severity: Severity::Warning,
        what: "it contains a private key or another secret of one machine",
        why: "every tenant would have the same one",
        check: |image| secrets(image),
        fix: None,
    },
    Rule {
        id: "hard-links",
        severity: Severity::Warning,
        what: "it has hard links outside the image",
        why: "a tenant sees the link count, and cron, logrotate and mail servers refuse such a file",
        check: |image| {
            let mut here = std::collections::HashMap::new();
            image.entries.iter().for_each(|entry| *here.entry(entry.inode).or_insert(0) += 1);
            matching(image, |entry| {
                entry.kind == Kind::File
                    && !share::may_be_shared(&entry.path)
                    && entry.links > here[&entry.inode]
            })
        },
        fix: None,
    },
    Rule {
        id: "device-nodes",
        severity: Severity::Error,
        what: "it contains a device node",
        why: "tenants get a fresh /dev; anywhere else a node is a mistake, an overlay whiteout or an attack",
        check: |image| matching(image, |entry| matches!(entry.kind, Kind::Char(_) | Kind::Block(_))),
        fix: Some(remove),
    },
    Rule {
        id: "sockets",
        severity: Severity::Warning,
        what: "it contains a socket",
        why: "no process listens on it",
        check: |image| matching(image, |entry| entry.kind == Kind::Socket),
        fix: Some(remove),
    },
    Rule {
        id: "overlay-xattrs",
        severity: Severity::Error,
        what: "an attribute of the overlay filesystem is set",
        why: "it would redirect or hide files in every tenant's overlay",
        check: |image| {
            matching(image, |entry| entry.xattrs.keys().any(|name| is_overlay(&name.to_string_lossy())))
        },
        fix: Some(|root, path| {
            let absolute = format!("/proc/self/fd/{}/{path}", std::os::fd::AsRawFd::as_raw_fd(&root.fd()));
            for name in xattr::list(&absolute)? {
                if is_overlay(&name.to_string_lossy()) {
                    xattr::remove(&absolute, &name)?;
                }
            }
            Ok(())
        }),
    },
    Rule {
        id: "owners",
        severity: Severity::Error,
        what: "its owner or group is not 0 to 65535",
        why: "a tenant has 65,536 ids: the owner would not be mapped",
        check: |image| matching(image, |entry| entry.uid > 0xffff || entry.gid > 0xffff),
        fix: None,
    },
    Rule {
        id: "root-password",
        severity: Severity::Note,
        what: "root has no password",
        why: "opening a tty of the tenant logs in as root; sshd refuses empty passwords",
        check: |image| {
            let shadow = image.root.text("etc/shadow").ok().flatten().unwrap_or_default();
            let empty = shadow.lines().any(|line| line.starts_with("root::"));
            if empty { vec!["etc/shadow".to_owned()] } else { Vec::new() }
        },
        fix: None,
    },
    Rule {
        id: "untuned-units",
        severity: Severity::Note,
        what: "units that are useless in a tenant are active",
        why: "each costs time and memory at every boot; see the tuning table",
        check: |image| tuning::missing(&image.root).into_iter().map(|row| row.id.to_owned()).collect(),
        fix: None,
    },
    Rule {
        id: "merged-usr",
        severity: Severity::Note,
        what: "a directory that should be a link into /usr",
        why: "sharing it takes one more mount per tenant",
        check: |image| {
            ["bin", "sbin", "lib", "lib64"]
                .iter()
                .filter(|name| image.entries.iter().any(|e| e.path == Path::new(name) && e.kind == Kind::Dir))
                .map(|name| (*name).to_owned())
                .collect()
        },
        fix: None,
    },
    Rule {
        id: "fstab",
        severity: Severity::Warning,
        what: "/etc/fstab names block devices",
        why: "a tenant has none, and its boot would wait for them",
        check: |image| {
            let fstab = image.root.text("etc/fstab").ok().flatten().unwrap_or_default();
            let is_disk = |line: &str| {
                let device = line.split_whitespace().next().unwrap_or_default();
                ["/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="]
                    .iter()
                    .any(|prefix| device.starts_with(prefix))
            };
            if fstab.lines().any(is_disk) { vec!["etc/fstab".to_owned()] } else { Vec::new() }
        },
        fix: Some(|root, path| {
            root.write(path, b"# The mounts of a tenant are set in its config on the host.\n", 0o644)
        }),
    },
    Rule {
        id: "world-writable",
        severity: Severity::Warning,
        what: "it is writable for every user",
        why: "a service could change what others run",
        check: |image| {
            matching(image, |entry| match entry.kind {
                Kind::Dir => entry.mode & 0o1002 == 0o002,
                Kind::File => entry.mode & 0o002 != 0,
                _ => false,
            })
        },
        fix: None,
    },
    Rule {
        id: "old-logs",
        severity: Severity::Warning,
        what: "it contains a log of the build",
        why: "every tenant would start with it",
        check: |image| {
            let journals = below(image, "var/log/journal", |entry| entry.kind == Kind::File);
            let logs = present(
                image,
                &["var/log/bootstrap.log", "var/log/dpkg.log", "var/log/alternatives.log", "var/log/faillog"],
            );
            let apt = below(image, "var/log/apt", |entry| entry.kind == Kind::File);
            [journals, logs, apt].concat()
        },
        fix: Some(remove),
    },
    Rule {
        id: "apt-cache",
        severity: Severity::Note,
        what: "it contains a package cache",
        why: "it takes space and becomes outdated",
        check: |image| {
            let is_cache = |entry: &Entry| {
                entry.kind == Kind::File && entry.path.extension().is_some_and(|e| e == "deb" || e == "bin")
            };
            let lists = below(image, "var/lib/apt/lists", |entry| entry.kind == Kind::File && entry.size > 0);
            [below(image, "var/cache/apt", is_cache), lists].concat()
        },
        fix: Some(remove),
    },
    Rule {
        id: "ldconfig-cache",
        severity: Severity::Note,
        what: "the cache of ldconfig contains the times of the build",
        why: "only ldconfig reads it, and it makes two builds of the same packages differ",
        check: |image| present(image, &["var/cache/ldconfig/aux-cache"]),
        fix: Some(remove),
    },
    Rule {
        id: "build-files",
        severity: Severity::Note,
        what: "a file of the build is left in a directory that is empty at each boot",
        why: "a tenant never sees it",
        check: |image| {
            let top = |entry: &&Entry| {
                ["tmp", "run", "dev", "proc", "sys"]
                    .iter()
                    .any(|dir| entry.path.parent() == Some(Path::new(dir)))
            };
            image.entries.iter().filter(top).map(name).collect()
        },
        fix: Some(remove),
    },
];

fn remove(root: &RootDir, path: &str) -> io::Result<()> {
    root.remove(path).map(drop)
}

fn is_overlay(name: &str) -> bool {
    name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")
}

fn name(entry: &Entry) -> String {
    entry.path.to_string_lossy().into_owned()
}

fn matching(image: &Image, wrong: impl Fn(&Entry) -> bool) -> Vec<String> {
    image.entries.iter().filter(|entry| wrong(entry)).map(name).collect()
}

fn below(image: &Image, dir: &str, wrong: impl Fn(&Entry) -> bool) -> Vec<String> {
    matching(image, |entry| entry.path.starts_with(dir) && wrong(entry))
}

fn present(image: &Image, paths: &[&str]) -> Vec<String> {
    paths.iter().filter(|path| image.root.has(path)).map(|path| (*path).to_owned()).collect()
}
