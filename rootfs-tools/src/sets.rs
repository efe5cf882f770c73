//! What goes into a Debian image: the packages that every one has, and named sets of more (`--with SET`).
//!
//! The default is small: each daemon in an image costs memory in every tenant, and each package costs time in every build.
//! The manifest of a version records its sets.

/// Packages on top of Debian's minimal base (apt and what is essential).
pub const BASE: &[&str] = &[
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "less",
    "libnss-myhostname",
    "libpam-systemd",
    "login",
    "nano",
    "netbase",
    "openssh-server",
    "procps",
    "systemd",
    "systemd-sysv",
];

/// What an image does not need of a package: documents and translations, but not the licences. It holds while the
/// image is built, not where a tenant installs. Directories of man pages stay, because packages that offer
/// alternatives (a Java runtime) link into them.
const EXCLUDED: &[&str] = &[
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/man/*/*",
];

/// Packages that are asked for by one name.
#[derive(Debug, PartialEq, Eq)]
pub struct PackageSet {
    /// Its name: what `--with` takes, and what the manifest records.
    pub name: &'static str,
    /// What it is for, in a few words.
    pub purpose: &'static str,
    /// Its packages.
    pub packages: &'static [&'static str],
    /// Options of dpkg(1) that keep what an image otherwise leaves out.
    keeps: &'static [&'static str],
}

/// All of them, by name.
pub const SETS: &[PackageSet] = &[
    PackageSet {
        name: "admin",
        purpose: "tools for an admin who works in a tenant",
        packages: &[
            "bash-completion",
            "bzip2",
            "cron",
            "curl",
            "file",
            "logrotate",
            "lsof",
            "psmisc",
            "rsync",
            "sudo",
            "unzip",
            "vim-tiny",
            "wget",
            "xz-utils",
        ],
        keeps: &[],
    },
    PackageSet {
        name: "man",
        purpose: "man(1), and the manual pages of every package in the image",
        packages: &["man-db", "manpages"],
        // Those in English: translations lie one level deeper.
        keeps: &["path-include=/usr/share/man/man[1-9]/*"],
    },
    PackageSet {
        name: "network",
        purpose: "tools that look at a network",
        packages: &[
            "bind9-dnsutils",
            "ethtool",
            "iputils-tracepath",
            "mtr-tiny",
            "netcat-openbsd",
            "tcpdump",
            "traceroute",
        ],
        keeps: &[],
    },
];

/// The set of this name.
pub fn find(name: &str) -> Option<&'static PackageSet> {
    SETS.iter().find(|set| set.name == name)
}

/// All packages that are asked for, each once, sorted.
pub fn packages(sets: &[&PackageSet], more: &[String]) -> Vec<String> {
    let named = BASE.iter().chain(sets.iter().flat_map(|set| set.packages)).map(|name| (*name).to_owned());
    let mut packages: Vec<_> = named.chain(more.iter().cloned()).collect();
    packages.sort();
    packages.dedup();
    packages
}

/// The names of sets, each once, sorted.
pub fn names(sets: &[&PackageSet]) -> Vec<String> {
    let mut names: Vec<_> = sets.iter().map(|set| set.name.to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// The options of dpkg(1) with which packages are installed. The last one that matches a path counts.
pub fn dpkg_options<'a>(sets: &[&'a PackageSet]) -> impl Iterator<Item = &'a str> {
    let mut keeps: Vec<&str> = sets.iter().flat_map(|set| set.keeps).copied().collect();
    keeps.sort_unstable();
    keeps.dedup();
    EXCLUDED.iter().copied().chain(keeps)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_set_is_one_of_its_own() {
        assert!(SETS.is_sorted_by_key(|set| set.name));
        let names: BTreeSet<_> = SETS.iter().map(|set| set.name).collect();
        assert_eq!(names.len(), SETS.len());
        let mut seen: BTreeSet<_> = BASE.iter().collect();
        for set in SETS {
            assert!(set.packages.is_sorted(), "{}", set.name);
            for package in set.packages {
                assert!(seen.insert(package), "{package} is in two sets, or in every image");
            }
        }
    }

    #[test]
    fn sets_and_packages_are_asked_for_once() {
        let (admin, man) = (find("admin").unwrap(), find("man").unwrap());
        let asked = packages(&[man, admin, man], &["curl".to_owned(), "nginx".to_owned()]);
        assert!(asked.is_sorted());
        assert_eq!(asked.len(), BASE.len() + admin.packages.len() + man.packages.len() + 1);
        assert_eq!(names(&[man, admin, man]), ["admin", "man"]);
        assert_eq!(find("games"), None);
    }

    #[test]
    fn manual_pages_are_kept_with_the_set_man() {
        let options = |sets: &[&PackageSet]| dpkg_options(sets).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(options(&[]), EXCLUDED);
        let man = find("man").unwrap();
        let with = options(&[man, man]);
        assert_eq!(with.len(), EXCLUDED.len() + 1);
        // Behind the one that leaves them out, so that it counts.
        assert_eq!(with.last().unwrap(), "path-include=/usr/share/man/man[1-9]/*");
    }
}
