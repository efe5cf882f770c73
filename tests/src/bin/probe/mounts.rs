//! What root can undo of the mounts that it was given.

use std::{fs, io, path::Path};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statvfs::{FsFlags, statvfs},
};
use serde_json::json;

use super::words::say;

/// Flags of a mount: as in mountinfo, for mount(2), and as statvfs(3) tells them.
const FLAGS: [(&str, MsFlags, FsFlags); 4] = [
    ("ro", MsFlags::MS_RDONLY, FsFlags::ST_RDONLY),
    ("nosuid", MsFlags::MS_NOSUID, FsFlags::ST_NOSUID),
    ("nodev", MsFlags::MS_NODEV, FsFlags::ST_NODEV),
    ("noexec", MsFlags::MS_NOEXEC, FsFlags::ST_NOEXEC),
];

/// A tmpfs that no other mount has a share in, and where a copy of a mount is put.
const APART: &str = "/run/probe";
const COPY: &str = "/run/probe/copy";

/// A mount and its flags.
struct Mount {
    at: String,
    flags: Vec<&'static str>,
}

/// Those that a path leads to: of several at one place the last.
fn all() -> io::Result<Vec<Mount>> {
    let mut found: Vec<Mount> = Vec::new();
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let (Some(at), Some(options)) = (fields.get(4), fields.get(5)) else { continue };
        let has = |name: &str| options.split(',').any(|option| option == name);
        let flags = FLAGS.iter().map(|(name, ..)| *name).filter(|name| has(name)).collect();
        found.retain(|mount| mount.at != *at);
        found.push(Mount { at: (*at).to_owned(), flags });
    }
    Ok(found)
}

fn has(at: &str, flag: FsFlags) -> bool {
    statvfs(at).is_ok_and(|stat| stat.flags().contains(flag))
}

fn bits(names: &[&str]) -> MsFlags {
    FLAGS
        .iter()
        .filter(|(name, ..)| names.contains(name))
        .fold(MsFlags::empty(), |all, (_, bit, _)| all | *bit)
}

/// Takes every flag off every mount, one by one: of the mount itself, of its filesystem, and of a copy. Prints the
/// mounts and their flags, and what could be taken off.
pub(super) fn unlock() -> io::Result<()> {
    let mounts = all()?;
    let mut lost = Vec::new();
    fs::create_dir_all(APART)?;
    mount(Some("tmpfs"), APART, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    mount(None::<&str>, APART, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)?;
    for Mount { at, flags } in &mounts {
        for (name, bit, told) in FLAGS.into_iter().filter(|(name, ..)| flags.contains(name)) {
            let rest = bits(flags) - bit;
            for (what, more) in [("mount", MsFlags::MS_BIND), ("filesystem", MsFlags::empty())] {
                // What it answers is not what counts.
                let _ = mount(
                    None::<&str>,
                    at.as_str(),
                    None::<&str>,
                    MsFlags::MS_REMOUNT | more | rest,
                    None::<&str>,
                );
                if !has(at, told) {
                    lost.push(format!("{at}: {name} of the {what}"));
                }
            }
            let is_lost = copy_loses(at, rest, told);
            if is_lost.map_err(|error| io::Error::other(format!("cannot copy {at}: {error}")))? {
                lost.push(format!("{at}: {name} of a copy"));
            }
        }
    }
    umount2(APART, MntFlags::MNT_DETACH)?;
    let list: Vec<_> = mounts.iter().map(|mount| json!({ "at": mount.at, "flags": mount.flags })).collect();
    say(&json!({ "mounts": list, "lost": lost }).to_string())
}

fn copy_loses(at: &str, rest: MsFlags, told: FsFlags) -> io::Result<bool> {
    let _of_before = fs::remove_file(COPY).or_else(|_| fs::remove_dir(COPY));
    if Path::new(at).is_dir() {
        fs::create_dir(COPY)?;
    } else {
        fs::write(COPY, "")?;
    }
    // With all that is mounted below, for some of it can be parted from nothing above.
    mount(Some(at), COPY, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    // Or what is unmounted below it would be below the original, too.
    mount(None::<&str>, COPY, None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)?;
    let _answer =
        mount(None::<&str>, COPY, None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | rest, None::<&str>);
    let is_lost = !has(COPY, told);
    umount2(COPY, MntFlags::MNT_DETACH)?;
    Ok(is_lost)
}
