//! How a file of a tenant's own differs from the one that it hides, and whether it hides a fix.

use std::path::Path;

use rootfs_tools::{
    diff::aspects,
    inventory::{Inventory, Item},
    tree::Kind,
};
use wire::{DriftFix, DriftKind, FileChange};

use super::{notes::Print, own::Own};

/// What the image has at a path, in the version that a tenant's own file comes from.
#[derive(Clone, Copy, Debug)]
pub enum Before<'a> {
    /// The files of that version.
    Known(&'a Inventory),
    /// They are not there any more, but what they were like was noted.
    Noted(Print),
    /// Nothing is known of it.
    Gone,
}

/// What is said of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it differs.
    pub kind: DriftKind,
    /// Whether it hides a fix.
    pub fix: DriftFix,
    /// How the image's file has changed.
    pub change: Option<FileChange>,
    /// In what.
    pub what: Vec<&'static str>,
    /// Of a directory that is hidden whole: how many files are in it.
    pub hides: Option<u64>,
}

/// What is said of what a tenant has at a path; none where it hides nothing.
pub fn verdict(path: &Path, own: &Own, before: Before<'_>, now: &Inventory) -> Option<Verdict> {
    let present = now.get(path);
    let from = match before {
        Before::Known(inventory) => inventory.get(path),
        Before::Noted(_) | Before::Gone => None,
    };
    if !own.is_whole() {
        // Directories come along with what is in them.
        let is_copy = |present: &Item| own.item().is_some_and(|own| aspects(own, present).is_empty());
        if present.is_none_or(is_copy) {
            return None;
        }
    }
    let kind = kind(own, from, present);
    let has_changed = match before {
        Before::Known(inventory) => Some(has_changed(path, own, inventory, now)),
        Before::Noted(print) => Some(Print::of(path, own.is_whole(), now) != print),
        Before::Gone => None,
    };
    if present.is_none() && (matches!(own, Own::Removed | Own::Replaced(_)) || has_changed == Some(false)) {
        return None;
    }
    let fix = match has_changed {
        _ if kind == DriftKind::Same => DriftFix::None,
        Some(true) => DriftFix::Shadowed,
        Some(false) => DriftFix::None,
        None => DriftFix::Unknown,
    };
    let is_known = matches!(before, Before::Known(_));
    let change = (fix == DriftFix::Shadowed).then_some(match (from, present) {
        (_, None) => FileChange::Removed,
        (None, Some(_)) if is_known => FileChange::Added,
        (_, Some(_)) => FileChange::Changed,
    });
    let what = match (change, from, present) {
        (Some(FileChange::Changed), Some(from), Some(present)) => aspects(from, present),
        _ => Vec::new(),
    };
    let is_dir = matches!(present, Some(Item { kind: Kind::Dir, .. }));
    let hides = (own.is_whole() && is_dir).then(|| now.below(path).count() as u64 - 1);
    Some(Verdict { kind, fix, change, what, hides })
}

fn kind(own: &Own, from: Option<&Item>, present: Option<&Item>) -> DriftKind {
    let item = match own {
        Own::Removed => return DriftKind::Removed,
        Own::Replaced(_) => return DriftKind::Replaced,
        Own::There(item) => item,
    };
    let is_equal = |other: Option<&Item>| other.is_some_and(|other| aspects(item, other).is_empty());
    let has_content_of = |other: Option<&Item>| {
        other.is_some_and(|other| {
            aspects(item, other).iter().all(|what| matches!(*what, "mode" | "owner" | "attributes"))
        })
    };
    match () {
        () if is_equal(present) => DriftKind::Same,
        () if is_equal(from) => DriftKind::Outdated,
        () if has_content_of(present) || has_content_of(from) => DriftKind::Metadata,
        () => DriftKind::Changed,
    }
}

/// Whether what is hidden at a path differs between two versions.
pub fn has_changed(path: &Path, own: &Own, old: &Inventory, new: &Inventory) -> bool {
    let depth = if own.is_whole() { usize::MAX } else { 1 };
    let mut pairs = (old.below(path).take(depth), new.below(path).take(depth));
    loop {
        match (pairs.0.next(), pairs.1.next()) {
            (None, None) => return false,
            (Some(old), Some(new)) if old.path == new.path && aspects(old, new).is_empty() => {}
            _ => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(path: &str, kind: Kind, mode: u32, content: Option<u8>) -> Item {
        let (size, sha256) = (u64::from(content.unwrap_or(0)), content.map(|byte| [byte; 32]));
        Item { path: path.into(), kind, mode, uid: 0, gid: 0, size, sha256, xattrs: None, inode: None }
    }

    fn file(path: &str, content: u8) -> Item {
        item(path, Kind::File, 0o644, Some(content))
    }

    fn dir(path: &str) -> Item {
        item(path, Kind::Dir, 0o755, None)
    }

    fn inventory(items: Vec<Item>) -> Inventory {
        Inventory::of_items(items)
    }

    fn said(
        own: Own,
        old: Option<Item>,
        new: Option<Item>,
    ) -> Option<(DriftKind, DriftFix, Option<FileChange>)> {
        let path = Path::new("etc/x");
        let (old, new) = (inventory(old.into_iter().collect()), inventory(new.into_iter().collect()));
        verdict(path, &own, Before::Known(&old), &new).map(|said| (said.kind, said.fix, said.change))
    }

    #[test]
    fn a_file_is_held_against_the_version_it_comes_from_and_the_present_one() {
        use DriftFix::{None as Nothing, Shadowed};
        use DriftKind::{Changed, Metadata, Outdated, Removed, Same};
        let x = |content| Some(file("etc/x", content));
        let own = |content| Own::There(file("etc/x", content));
        let own_mode = Own::There(item("etc/x", Kind::File, 0o600, Some(1)));
        let cases = [
            (own(9), x(1), x(1), Some((Changed, Nothing, None))),
            (own(9), x(1), x(2), Some((Changed, Shadowed, Some(FileChange::Changed)))),
            (own(2), x(1), x(2), Some((Same, Nothing, None))),
            (own(1), x(1), x(2), Some((Outdated, Shadowed, Some(FileChange::Changed)))),
            (own(1), x(1), x(1), Some((Same, Nothing, None))),
            (own_mode.clone(), x(1), x(1), Some((Metadata, Nothing, None))),
            (own_mode, x(1), x(2), Some((Metadata, Shadowed, Some(FileChange::Changed)))),
            (own(9), None, x(1), Some((Changed, Shadowed, Some(FileChange::Added)))),
            (own(9), x(1), None, Some((Changed, Shadowed, Some(FileChange::Removed)))),
            (own(9), None, None, None),
            (Own::Removed, x(1), x(1), Some((Removed, Nothing, None))),
            (Own::Removed, x(1), x(2), Some((Removed, Shadowed, Some(FileChange::Changed)))),
            (Own::Removed, x(1), None, None),
            (Own::There(dir("etc/x")), x(1), x(2), Some((Changed, Shadowed, Some(FileChange::Changed)))),
            (Own::There(dir("etc/x")), x(1), None, None),
        ];
        for (own, old, new, expected) in cases {
            let case = format!("{own:?} {old:?} {new:?}");
            assert_eq!(said(own, old, new), expected, "{case}");
        }
    }

    #[test]
    fn a_directory_that_is_hidden_whole_hides_what_has_changed_in_it() {
        let old = inventory(vec![dir("etc/x"), file("etc/x/a", 1), file("etc/x/b", 1)]);
        let new = inventory(vec![dir("etc/x"), file("etc/x/a", 1), file("etc/x/b", 2), file("etc/xy", 1)]);
        let path = Path::new("etc/x");
        for own in [Own::Removed, Own::Replaced(dir("etc/x")), Own::There(file("etc/x", 3))] {
            let said = verdict(path, &own, Before::Known(&old), &new).unwrap();
            assert_eq!((said.fix, said.hides), (DriftFix::Shadowed, Some(2)), "{own:?}");
            let said = verdict(path, &own, Before::Known(&new), &new).unwrap();
            assert_eq!(said.fix, DriftFix::None, "{own:?}");
        }
        // One that is seen together with the image's hides its mode, and nothing in it.
        let mut own = dir("etc/x");
        assert_eq!(verdict(path, &Own::There(own.clone()), Before::Known(&old), &new), None);
        own.mode = 0o700;
        let said = verdict(path, &Own::There(own), Before::Known(&old), &new).unwrap();
        assert_eq!((said.kind, said.fix, said.hides), (DriftKind::Metadata, DriftFix::None, None));
    }

    #[test]
    fn a_version_that_is_gone_is_replaced_by_what_was_noted_of_it() {
        let (old, new) = (inventory(vec![file("etc/x", 1)]), inventory(vec![file("etc/x", 2)]));
        let path = Path::new("etc/x");
        let own = Own::There(file("etc/x", 9));
        let fix = |before| verdict(path, &own, before, &new).unwrap().fix;
        assert_eq!(fix(Before::Gone), DriftFix::Unknown);
        assert_eq!(fix(Before::Noted(Print::of(path, true, &old))), DriftFix::Shadowed);
        assert_eq!(fix(Before::Noted(Print::of(path, true, &new))), DriftFix::None);
        let same = Own::There(file("etc/x", 2));
        assert_eq!(verdict(path, &same, Before::Gone, &new).unwrap().fix, DriftFix::None);
    }
}
