//! The table against small texts and files.

use std::path::{Path, PathBuf};

use super::*;

const TABLE: &str = r#"
    skip = ["docs/adr"]

    [[phrase]]
    find = "for|through want of"
    instead = "because there is no"
    why = "nobody says so"

    [[phrase]]
    find = "runs $"
    instead = "is running"
    why = "a state, not a habit"
    except = ["as it runs"]

    [[phrase]]
    find = "{} does not *"
    instead = "is not"
    why = "a state"
    in = ["messages"]

    [[raw]]
    find = "{error:?}"
    instead = "{error}"
    why = "the form of Rust"
    except = ["<{error:?}>"]

    [[name]]
    find = "LastWords"
    instead = "ExitMessage"
    why = "a riddle"
    except = ["last_words_of_lxc"]
"#;

fn found(place: Place, text: &str) -> Vec<String> {
    let table = Table::parse(TABLE).unwrap();
    table.in_text(place, text).into_iter().map(|(row, _, _)| row.find.clone()).collect()
}

#[test]
fn words_are_found_whatever_stands_between_them() {
    for text in ["killed for want of memory", "For\n  want of it", "through *want* of"] {
        assert_eq!(found(Place::Docs, text), ["for|through want of"], "{text}");
    }
    for text in ["for the want of", "effort want of", "for-want of"] {
        assert!(found(Place::Docs, text).is_empty(), "{text}");
    }
}

#[test]
fn the_end_of_a_clause_and_exceptions() {
    for text in ["tenant {name:?} runs", "while it runs, nothing", "it runs: see", "(alice runs)"] {
        assert_eq!(found(Place::Messages, text), ["runs $"], "{text}");
    }
    for text in ["it runs as root", "log as it runs", "as it runs.", "reruns"] {
        assert!(found(Place::Messages, text).is_empty(), "{text}");
    }
}

#[test]
fn values_are_placeholders_and_backticks_and_places_are_kept_apart() {
    for text in ["tenant {:?} does not run now", "`alice` does not answer yet"] {
        assert_eq!(found(Place::Messages, text), ["{} does not *"], "{text}");
        assert!(found(Place::Docs, text).is_empty(), "{text}");
    }
    assert!(found(Place::Messages, "it does not answer yet").is_empty());
}

#[test]
fn raw_forms_stand_as_they_are() {
    assert_eq!(found(Place::Messages, "failed: {error:?}"), ["{error:?}"]);
    assert!(found(Place::Messages, "failed: <{error:?}>, {error}").is_empty());
}

#[test]
fn identifiers_are_found_in_every_case() {
    let table = Table::parse(TABLE).unwrap();
    for name in ["LastWords", "LAST_WORDS", "last_words", "TheLastWordsOf", "send_last_words"] {
        assert_eq!(table.in_name(name).count(), 1, "{name}");
    }
    for name in ["last_word", "lastwords", "words_last", "last_words_of_lxc", "Last"] {
        assert_eq!(table.in_name(name).count(), 0, "{name}");
    }
}

#[test]
fn a_row_says_what_to_write_and_why() {
    assert!(Table::parse("[[phrase]]\nfind = \"a\"\ninstead = \" \"\nwhy = \"b\"").is_err());
    assert!(Table::parse("[[phrase]]\nfind = \"a\"\nwhy = \"b\"").is_err());
    assert!(Table::parse("[[phrases]]\nfind = \"a\"").is_err());
    Table::parse(include_str!("../../phrases.toml")).unwrap();
}

#[test]
fn strings_and_help_are_read_and_the_strings_of_tests_and_comments_are_not() {
    let code = r#"
        //! A comment for want of one.
        /// Help: for want of one.
        #[derive(Debug, clap::Args)]
        struct Options {
            /// A field for want of one.
            #[arg(help = "an argument for want of one")]
            field: u8,
        }
        /// A comment for want of one.
        #[derive(Debug, thiserror::Error)]
        #[serde(rename = "a key for want of one")]
        enum E {
            /// A comment for want of one.
            #[error("killed for want of memory")]
            Memory,
        }
        fn f() {
            bail!("in a macro for want {x} of, for want of one");
            let s = "first line \
                     and the next for want of one";
            let key = "for-want";
        }
        #[cfg(test)]
        mod tests { const S: &str = "a test for want of one"; }
        #[test]
        fn t() { assert!(s, "for want of one"); let last_words = 1; }
    "#;
    let files = [(PathBuf::from("a/src/lib.rs"), code.to_owned())];
    let (hits, counts) = faults(&Table::parse(TABLE).unwrap(), &files).unwrap();
    let lines: Vec<&str> =
        hits.iter().filter_map(|hit| hit.strip_prefix("a/src/lib.rs:")?.split(':').next()).collect();
    assert_eq!(lines, ["3", "6", "7", "15", "19", "20", "27"], "{hits:#?}");
    assert_eq!(counts, ["    6  phrase \"for|through want of\"", "    1  name \"LastWords\""]);
    assert!(hits[3].contains("write because there is no (nobody says so)"), "{}", hits[3]);
}

#[test]
fn documents_are_read_by_paragraphs_and_the_changelog_as_far_as_it_is_written() {
    let text = "# T\nkilled for\nwant of memory\n\n- for\n- want of\n| for |\n| want of |\n[for](a/b)\nwant of [x](want-of.md)\n";
    let files = [
        (PathBuf::from("docs/a.md"), text.to_owned()),
        (
            PathBuf::from("CHANGELOG.md"),
            "# C\n## Unreleased\n- for want of\n## 0.1.0\n- for want of\n".to_owned(),
        ),
        (PathBuf::from("tests/golden/a.txt"), "for want of".to_owned()),
        (PathBuf::from("docs/adr/1.md"), "for want of".to_owned()),
        (PathBuf::from("profiles/a.toml"), "# for\n# want of\n\nx = 1\n".to_owned()),
    ];
    let (hits, _) = faults(&Table::parse(TABLE).unwrap(), &files).unwrap();
    let places: Vec<String> =
        hits.iter().map(|hit| hit.split(": ").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(places, ["docs/a.md:2", "docs/a.md:9", "CHANGELOG.md:3", "profiles/a.toml:1"], "{hits:#?}");
}

#[test]
fn files_of_tests_are_told_by_their_paths() {
    for path in
        ["tests/tests/life.rs", "hostd/src/store/tests.rs", "hostd/src/store/tests/a.rs", "tests/src/host.rs"]
    {
        assert!(code::is_of_a_test(Path::new(path)), "{path}");
    }
    for path in ["tests/xtask/src/main.rs", "tests/sources/src/main.rs", "tenant/src/main.rs"] {
        assert!(!code::is_of_a_test(Path::new(path)), "{path}");
    }
}
