//! Which version of its image a tenant shows in a directory, by the mounts that its init sees.

use std::path::Path;

use crate::{
    kernel::MountEntry,
    plan::swap::{SwapMount, Version, is_source_name},
};

/// What is at the place of a mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The version.
    Done,
    /// Another version of an image.
    Other,
    /// The version, and another one over it: what an interrupted swap leaves. Those over it, from the top down.
    Half(Vec<MountEntry>),
    /// Nothing: the image that it booted has no such directory.
    Absent,
    /// What is told here: the tenant has changed its own mounts.
    Changed(String),
}

/// What is shown at the place of a mount, seen from a version.
pub(super) fn shown(all: &[MountEntry], mount: &SwapMount, version: &Version) -> Shown {
    let stack = stack(all, mount.at.relative().as_ref());
    let Some((bottom, over)) = stack.split_first() else {
        return match mount.is_optional() {
            true => Shown::Absent,
            false => Shown::Changed(format!("it has unmounted {}", mount.at)),
        };
    };
    let is_version = |mount: &MountEntry| mount.source == version.source_name();
    for (number, mount_over) in over.iter().enumerate() {
        // A bind of the base that the tenant has made: where it lies over the base it shows the same.
        let is_bind = stack[..=number].iter().any(|under| under.shows == mount_over.shows);
        let is_old = number == 0
            && is_version(bottom)
            && is_image(mount_over)
            && !is_version(mount_over)
            && mount_over.shows.root == bottom.shows.root;
        if !is_bind && !is_old {
            return something_over(mount, mount_over);
        }
    }
    match over.first() {
        _ if !is_image(bottom) => something_over(mount, bottom),
        _ if !is_version(bottom) => Shown::Other,
        Some(old) if old.shows != bottom.shows => {
            Shown::Half(over.iter().rev().map(|over| (*over).clone()).collect())
        }
        _ => Shown::Done,
    }
}

fn is_image(mount: &MountEntry) -> bool {
    mount.kind == "overlay" && is_source_name(&mount.source)
}

fn something_over(mount: &SwapMount, over: &MountEntry) -> Shown {
    Shown::Changed(format!("something is mounted over {} inside: {} {:?}", mount.at, over.kind, over.source))
}

/// The mounts that a path leads through where it ends, from the bottom to the top. Those that lie there too, on a mount
/// that another one covers, are not among them.
fn stack<'a>(all: &'a [MountEntry], at: &Path) -> Vec<&'a MountEntry> {
    let mut under = under(all, at);
    let mut stack = Vec::new();
    while let Some(over) = all.iter().find(|mount| mount.parent == under && mount.at == at) {
        under = over.id;
        stack.push(over);
    }
    stack
}

/// The number of the mount in which a place is.
fn under(all: &[MountEntry], at: &Path) -> u64 {
    let root = Path::new("");
    let above = at.ancestors().skip(1).take_while(|above| *above != root);
    let found = above.filter_map(|above| stack(all, above).last().map(|top| top.id)).next();
    found.unwrap_or_else(|| {
        let is_over =
            |mount: &MountEntry| all.iter().any(|other| other.at == root && other.id == mount.parent);
        // A process's own root is not covered by what is mounted over it.
        all.iter().find(|mount| mount.at == root && !is_over(mount)).map_or(0, |root| root.id)
    })
}

/// The mounts that lie on the mount at a place, but for those that are exchanged themselves and those that show what they
/// cover: binds of the base over itself.
pub(super) fn mounts_below<'a>(
    all: &'a [MountEntry],
    mount: &SwapMount,
    exchanged: &[SwapMount],
) -> Vec<&'a MountEntry> {
    let mut found = Vec::new();
    if let Some(top) = stack(all, mount.at.relative().as_ref()).last() {
        collect(all, top, top, &mut found);
    }
    found.retain(|over| exchanged.iter().all(|other| Path::new(other.at.relative()) != over.at));
    found
}

fn collect<'a>(
    all: &'a [MountEntry],
    base: &MountEntry,
    under: &MountEntry,
    found: &mut Vec<&'a MountEntry>,
) {
    for over in all.iter().filter(|mount| mount.parent == under.id) {
        let shows_base = over.at.strip_prefix(&base.at).is_ok_and(|below| {
            over.shows.device == base.shows.device && over.shows.root == base.shows.root.join(below)
        });
        match shows_base {
            true => collect(all, base, over, found),
            false => found.push(over),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        allocation::Pinned,
        ids::Digest,
        image::ImageSource,
        mountinfo::{Device, Subtree},
        path::TenantPath,
    };

    const NEW: &str = "debian@aaaaaaaaaaaa";
    const OLD: &str = "debian@bbbbbbbbbbbb";

    /// Mounts as `(id, parent, place, source, device, root)`.
    fn table(mounts: &[(u64, u64, &str, &str, u32, &str)]) -> Vec<MountEntry> {
        let entry = |&(id, parent, at, source, minor, root): &(u64, u64, &str, &str, u32, &str)| MountEntry {
            id,
            parent,
            at: at.into(),
            shows: Subtree { device: Device { major: 0, minor }, root: root.into() },
            kind: if source.contains('@') { "overlay" } else { "tmpfs" }.to_owned(),
            source: source.to_owned(),
        };
        let root = (1, 0, "", "tmpfs", 1, "/");
        std::iter::once(&root).chain(mounts).map(entry).collect()
    }

    fn seen(mounts: &[(u64, u64, &str, &str, u32, &str)]) -> Shown {
        let at: TenantPath = "/usr".parse().unwrap();
        let mount = SwapMount { at, parent: String::new(), is_path: false };
        let pinned = Pinned { image: "debian".parse().unwrap(), digest: Digest::from_bytes([0xaa; 32]) };
        shown(&table(mounts), &mount, &Version { pinned, image: ImageSource::Tree("/x".into()) })
    }

    fn ids(shown: Shown) -> Vec<u64> {
        match shown {
            Shown::Half(over) => over.iter().map(|mount| mount.id).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_version_and_what_lies_over_it_are_told_apart() {
        assert_eq!(seen(&[(2, 1, "usr", NEW, 2, "/")]), Shown::Done);
        assert_eq!(seen(&[(2, 1, "usr", OLD, 2, "/")]), Shown::Other);
        assert_eq!(ids(seen(&[(3, 2, "usr", OLD, 3, "/"), (2, 1, "usr", NEW, 2, "/")])), [3]);
        assert!(matches!(seen(&[]), Shown::Changed(how) if how.contains("unmounted")));
    }

    #[test]
    fn binds_of_the_base_on_itself_show_what_the_base_shows() {
        let binds = [(3, 2, "usr", OLD, 2, "/"), (4, 3, "usr", OLD, 2, "/")];
        assert_eq!(seen(&[&[(2, 1, "usr", OLD, 2, "/")], &binds[..]].concat()), Shown::Other);
        let half = [(5, 1, "usr", NEW, 5, "/"), (2, 5, "usr", OLD, 2, "/")];
        assert_eq!(ids(seen(&[&half[..], &binds].concat())), [4, 3, 2]);
        assert_eq!(seen(&[(2, 1, "usr", NEW, 2, "/"), (3, 2, "usr", NEW, 2, "/")]), Shown::Done);
    }

    #[test]
    fn what_shows_something_else_is_the_tenants_own() {
        let base = (2, 1, "usr", OLD, 2, "/");
        let others = [
            (3, 2, "usr", "own", 3, "/"),
            // A part of the base, and another version, which the tenant has laid over all of it.
            (3, 2, "usr", OLD, 2, "/lib"),
            (3, 2, "usr", "debian@cccccccccccc", 3, "/"),
        ];
        for other in others {
            assert!(
                matches!(seen(&[base, other]), Shown::Changed(how) if how.contains(other.3)),
                "{other:?}"
            );
        }
        assert!(matches!(seen(&[(2, 1, "usr", "own", 2, "/")]), Shown::Changed(_)));
    }

    #[test]
    fn mounts_that_no_path_leads_to_do_not_count() {
        // A second root over the first one has a base as well.
        let roots = [(2, 1, "usr", NEW, 2, "/"), (5, 1, "", "tmpfs", 1, "/"), (6, 5, "usr", OLD, 6, "/")];
        assert_eq!(seen(&roots), Shown::Done);
    }

    #[test]
    fn what_lies_on_a_covered_mount_is_not_seen() {
        let at: TenantPath = "/usr".parse().unwrap();
        let mount = SwapMount { at, parent: String::new(), is_path: false };
        let all = table(&[
            (2, 1, "usr", OLD, 2, "/"),
            (3, 2, "usr/games", "hidden", 3, "/"),
            (4, 2, "usr", OLD, 2, "/"),
            (5, 4, "usr/games", "seen", 5, "/"),
            // A bind of a directory over itself, and what lies on that.
            (6, 4, "usr/lib", OLD, 2, "/lib"),
            (7, 6, "usr/lib/own", "own", 7, "/"),
            (8, 4, "usr/share", OLD, 2, "/lib"),
        ]);
        let below: Vec<_> = mounts_below(&all, &mount, &[]).iter().map(|mount| mount.id).collect();
        assert_eq!(below, [5, 7, 8]);
        let games = SwapMount { at: "/usr/games".parse().unwrap(), ..mount.clone() };
        let below: Vec<_> = mounts_below(&all, &mount, &[games]).iter().map(|mount| mount.id).collect();
        assert_eq!(below, [7, 8]);
    }
}
