//! Secrets that belong to one machine, wherever packages or admins put them.

use std::path::Path;

use super::image::Image;
use crate::tree::{Entry, Kind};

/// Random numbers and keys that a system makes for itself, and keeps.
pub const SEEDS: &[&str] = &[
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/urandom/random-seed",
    "var/lib/misc/random-seed",
    "var/lib/seedrng/seed.credit",
    "var/lib/seedrng/seed.no-credit",
    "var/lib/NetworkManager/secret_key",
];
/// What the package ssl-cert makes: the key, and the certificate with the name of the machine.
pub const SNAKEOIL: &[&str] =
    &["etc/ssl/private/ssl-cert-snakeoil.key", "etc/ssl/certs/ssl-cert-snakeoil.pem"];
/// The control key of the name server BIND.
pub const BIND_KEY: &str = "etc/bind/rndc.key";

/// Directories of keys.
const PLACES: [&str; 6] = ["etc", "home", "opt", "root", "srv", "var"];
/// Paths that belong to packages and not to a machine.
const NOT_HERE: [&str; 3] = ["var/cache", "var/lib/dpkg", "etc/ssl/certs"];
/// Largest file that is inspected, bytes.
const MOST: u64 = 64 << 10;
/// How a private key in PEM ends its first line, see RFC 7468.
const MARK: &str = "PRIVATE KEY-----";

/// Secrets that are not in PEM, and numbers that must be one machine's own.
const KNOWN: &[&str] = &[
    "etc/hostid",
    "etc/iscsi/initiatorname.iscsi",
    "etc/krb5.keytab",
    "etc/munge/munge.key",
    "etc/nvme/hostid",
    "etc/salt/minion_id",
    "var/lib/cloud/data/instance-id",
    "var/lib/mysql/auto.cnf",
    "var/lib/rabbitmq/.erlang.cookie",
    "var/lib/samba/private/secrets.tdb",
];

/// Files with one, except those that other rules find.
pub(super) fn secrets(image: &Image) -> Vec<String> {
    let elsewhere = |path: &Path| {
        let is_host_key = path.starts_with("etc/ssh")
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_"));
        is_host_key || SNAKEOIL.iter().chain([&BIND_KEY]).any(|other| path == Path::new(other))
    };
    let is_secret = |entry: &&Entry| {
        entry.kind == Kind::File
            && PLACES.iter().any(|place| entry.path.starts_with(place))
            && !NOT_HERE.iter().any(|place| entry.path.starts_with(place))
            && !elsewhere(&entry.path)
            && (KNOWN.iter().any(|known| entry.path == Path::new(known)) || holds_key(image, entry))
    };
    image.entries.iter().filter(is_secret).map(|entry| entry.path.display().to_string()).collect()
}

fn holds_key(image: &Image, entry: &Entry) -> bool {
    (MARK.len() as u64..=MOST).contains(&entry.size)
        && image
            .root
            .text_up_to(&entry.path, MOST)
            .is_ok_and(|text| text.is_some_and(|text| text.contains(MARK)))
}
