//! Three views of a file put together: what can be merged without a question, and what cannot.

use wire::{DriftKind, DriftMerge, DriftNode, DriftSide, DriftView};

/// Most lines of a text that is compared with another one: the time that takes grows with their square.
const MOST_LINES: usize = 20_000;
/// What lines between which a merge does not decide begin with.
const MARKS: [&str; 3] = ["<<<<<<< ", "||||||| ", ">>>>>>> "];

/// What can become of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This, without a conflict.
    Clean(DriftMerge),
    /// A text with marks in it.
    Conflict(String),
    /// An admin has to choose; why.
    Choice(String),
}

/// What becomes of a file of which both sides have changed something.
pub(super) fn merge(view: &DriftView) -> Outcome {
    let choice = |reason: &str| Outcome::Choice(reason.to_owned());
    let Some(from) = &view.from else {
        return Outcome::Choice(format!("version {}, which it comes from, is gone", view.file.from));
    };
    let (own, now) = (&view.own, &view.now);
    match (view.file.kind, own.what, now.what) {
        (DriftKind::Outdated, ..) => return Outcome::Clean(DriftMerge::Theirs),
        (DriftKind::Removed, ..) => return choice("the tenant has removed what the image has changed"),
        (_, _, DriftNode::Nothing) => return choice("the image has removed what the tenant has changed"),
        (_, DriftNode::File, DriftNode::File) => {}
        _ => return choice("one of both is no regular file"),
    }
    if from.what == DriftNode::File {
        if own.sha256.is_some() && own.sha256 == from.sha256 {
            return Outcome::Clean(DriftMerge::Content);
        }
        if now.sha256.is_some() && now.sha256 == from.sha256 {
            return choice("the image has changed its owner, mode or extended attributes alone");
        }
    }
    match (text(from), text(own), text(now)) {
        (Ok(from), Ok(own), Ok(now)) => match diffy::merge(from, own, now) {
            Ok(merged) => Outcome::Clean(DriftMerge::Text(merged)),
            Err(marked) => Outcome::Conflict(named(&marked, view)),
        },
        (Err(reason), ..) | (_, Err(reason), _) | (.., Err(reason)) => Outcome::Choice(reason),
    }
}

/// A side's text; that of nothing is empty.
fn text(side: &DriftSide) -> Result<&str, String> {
    match (&side.text, &side.no_text, side.what) {
        (Some(text), ..) if text.lines().count() > MOST_LINES => {
            Err(format!("it has more than {MOST_LINES} lines"))
        }
        (Some(text), ..) => Ok(text),
        (None, Some(reason), _) => Err(reason.clone()),
        (None, None, DriftNode::Nothing) => Ok(""),
        (None, None, _) => Err("it is no regular file".to_owned()),
    }
}

/// The marks with the names of what is between them.
fn named(marked: &str, view: &DriftView) -> String {
    let names = [view.name.as_str(), view.file.from.as_str(), view.now.version.as_deref().unwrap_or("image")];
    let mut text = String::with_capacity(marked.len());
    for line in marked.split_inclusive('\n') {
        let mark = ["<<<<<<< ours\n", "||||||| original\n", ">>>>>>> theirs\n"]
            .iter()
            .position(|mark| *mark == line);
        match mark {
            Some(mark) => text.push_str(&format!("{}{}\n", MARKS[mark], names[mark])),
            None => text.push_str(line),
        }
    }
    text
}

/// The number of the first line that marks a conflict, from 1.
pub(super) fn first_mark(text: &str, view: &DriftView) -> Option<usize> {
    let names = [view.name.as_str(), view.file.from.as_str(), view.now.version.as_deref().unwrap_or("image")];
    let is_mark = |line: &str| {
        let mut marks = MARKS.iter().zip(names);
        marks.any(|(mark, name)| line.strip_prefix(mark).is_some_and(|rest| rest.trim_end() == name))
    };
    text.lines().position(is_mark).map(|index| index + 1)
}

/// How the texts of two sides differ, in the unified format; why not.
pub(super) fn diff(old: &DriftSide, new: &DriftSide, [before, after]: [&str; 2]) -> Result<String, String> {
    let (old, new) = (text(old)?, text(new)?);
    let mut options = diffy::DiffOptions::new();
    options.set_original_filename(before.to_owned()).set_modified_filename(after.to_owned());
    Ok(options.create_patch(old, new).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(text: Option<&str>) -> DriftSide {
        match text {
            None => DriftSide::of(DriftNode::Nothing),
            Some(text) => DriftSide {
                sha256: Some(format!("hash of {text:?}")),
                text: Some(text.to_owned()),
                ..DriftSide::of(DriftNode::File)
            },
        }
    }

    fn view(kind: &str, from: Option<&str>, now: Option<&str>, own: Option<&str>) -> DriftView {
        let file = serde_json::json!({"path": "/etc/x", "kind": kind, "fix": "shadowed", "from": "debian@00", "known_by": "time"});
        DriftView {
            name: "alice".to_owned(),
            file: serde_json::from_value(file).unwrap(),
            from: Some(side(from)),
            now: DriftSide { version: Some("debian@11".to_owned()), ..side(now) },
            own: side(own),
        }
    }

    const BASE: &str = "one\ntwo\nthree\nfour\nfive\n";

    #[test]
    fn what_both_sides_changed_apart_is_put_together() {
        let (now, own) = (BASE.replace("one", "ONE"), BASE.replace("five", "FIVE"));
        let both = now.replace("five", "FIVE");
        let merged = merge(&view("changed", Some(BASE), Some(&now), Some(&own)));
        assert_eq!(merged, Outcome::Clean(DriftMerge::Text(both)));
        // The tenant has changed its mode alone.
        let merged = merge(&view("metadata", Some(BASE), Some(&now), Some(BASE)));
        assert_eq!(merged, Outcome::Clean(DriftMerge::Content));
        assert_eq!(
            merge(&view("outdated", Some(BASE), Some(&now), Some(BASE))),
            Outcome::Clean(DriftMerge::Theirs)
        );
    }

    #[test]
    fn what_both_sides_changed_in_one_place_is_marked_until_it_is_decided() {
        let (now, own) = (BASE.replace("three", "image"), BASE.replace("three", "tenant"));
        let view = view("changed", Some(BASE), Some(&now), Some(&own));
        let Outcome::Conflict(marked) = merge(&view) else { panic!("no conflict") };
        let expected = "one\ntwo\n<<<<<<< alice\ntenant\n||||||| debian@00\nthree\n=======\nimage\n>>>>>>> debian@11\nfour\nfive\n";
        assert_eq!(marked, expected);
        assert_eq!(first_mark(&marked, &view), Some(3));
        for (line, mark) in [("=======\n", None), ("x\n>>>>>>> debian@11", Some(2)), ("<<<<<<< bob\n", None)]
        {
            assert_eq!(first_mark(line, &view), mark, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_put_together_is_left_to_choose() {
        let changed = BASE.replace("three", "x");
        for (view, reason) in [
            (view("removed", Some(BASE), Some(&changed), None), "the tenant has removed"),
            (view("changed", Some(BASE), None, Some(&changed)), "the image has removed"),
            (view("changed", Some(BASE), Some(BASE), Some(&changed)), "owner, mode"),
            (DriftView { from: None, ..view("changed", None, Some(BASE), Some(&changed)) }, "is gone"),
            (
                DriftView {
                    own: DriftSide {
                        text: None,
                        no_text: Some("it is no text".to_owned()),
                        ..side(Some("x"))
                    },
                    ..view("changed", Some(BASE), Some(&changed), None)
                },
                "it is no text",
            ),
            (view("changed", Some(BASE), Some(&changed), Some(&"\n".repeat(MOST_LINES + 1))), "more than"),
        ] {
            let outcome = merge(&view);
            let Outcome::Choice(said) = &outcome else { panic!("{reason}: {outcome:?}") };
            assert!(said.contains(reason), "{said}");
        }
        // Both have added it: there is nothing that they have in common.
        let added = merge(&view("changed", None, Some("image\n"), Some("tenant\n")));
        assert!(matches!(added, Outcome::Conflict(_)), "{added:?}");
    }
}
