//! Small crates, and the circles in them.

use std::{collections::BTreeMap, path::Path};

use super::*;

/// The ways around of a crate made of these files, each as `a.rs b.rs`, shortest first.
fn rounds(files: &[(&str, &str)]) -> Vec<String> {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    let read = |path: &Path| files.get(path.to_str()?).map(|text| (*text).to_owned());
    let circles = of_target(Path::new("lib.rs"), Between::Files, &read).unwrap();
    let rounds = circles.iter().flat_map(|circle| &circle.rounds);
    let words = |round: &Vec<PathBuf>| {
        // A round begins anywhere: here with the file that sorts first.
        let mut words: Vec<String> = round.iter().map(|file| file.display().to_string()).collect();
        let least = (0..words.len()).min_by_key(|at| words[*at].clone()).unwrap_or_default();
        words.rotate_left(least);
        words.join(" ")
    };
    rounds.map(words).collect()
}

const LIB: (&str, &str) = ("lib.rs", "mod a; mod b;");

#[test]
fn uses_in_one_direction_are_no_circle() {
    let none: [&str; 0] = [];
    assert_eq!(rounds(&[LIB, ("a.rs", "use crate::b::B; fn f(_: B) {}"), ("b.rs", "pub struct B;")]), none);
    // `mod`, re-exports, links and tests.
    let parent = "mod c; pub use c::C; pub(crate) use self::c::D; pub struct A;";
    let child = "//! See [`super::A`].\nuse super::A; pub struct C(A); pub struct D;";
    assert_eq!(rounds(&[LIB, ("a/mod.rs", parent), ("a/c.rs", child), ("b.rs", "")]), none);
    let a = "pub struct A; #[cfg(test)] mod tests { use crate::b::B; } #[cfg(all(test, unix))] fn t(_: crate::b::B) {} #[test] fn u() { crate::b::b() }";
    assert_eq!(rounds(&[LIB, ("a.rs", a), ("b.rs", "use crate::a::A; pub struct B(A);")]), none);
    assert_eq!(
        rounds(&[
            LIB,
            ("a.rs", "mod tests; pub struct A;"),
            ("a/tests.rs", "use crate::b::B;"),
            ("b.rs", "use crate::a::A; pub struct B(A);")
        ]),
        none
    );
    let a = "#[derive(Deserialize)] pub struct A { #[serde(rename = \"crate\", alias = \"b::b\")] x: u8 }";
    assert_eq!(rounds(&[LIB, ("a.rs", a), ("b.rs", "use crate::a::A; pub fn b(_: A) {}")]), none);
    // A function of a module's name.
    let parent = "mod c; mod d; fn c() {} fn f() { d::f() }";
    let files = [("a/c.rs", "pub struct C;"), ("a/d.rs", "pub fn f() -> super::c::C {}"), ("b.rs", "")];
    assert_eq!(rounds(&[&[LIB, ("a/mod.rs", parent)], &files[..]].concat()), none);
    // A module that is only named on the way, a variable of a function's name, a name of another crate.
    let a = "use super::b; pub struct A; fn f(b: u8) -> u8 { let done = b; std::b::done(done) }";
    assert_eq!(rounds(&[LIB, ("a.rs", a), ("b.rs", "use crate::a::A; pub fn done(_: A) {}")]), none);
}

#[test]
fn every_form_of_a_use_makes_a_circle() {
    let b =
        ("b.rs", "use crate::a::A; pub struct B(A); pub fn b() {} pub mod inside { pub const C: u8 = 1; }");
    for a in [
        "use crate::b::B; pub struct A(B);",
        "use super::b::{self, B as Other}; pub struct A(Other);",
        "use crate::b::*; pub struct A(Box<B>);",
        "use crate::{b::{inside::C}}; pub struct A([u8; C as usize]);",
        "pub struct A(crate::b::B);",
        "use crate::b; pub struct A; fn f() { b::b() }",
        "pub struct A; fn f() { use crate::b; b::b(); }",
        "pub struct A; fn f() { println!(\"{}\", crate::b::inside::C); }",
        "pub struct A; fn f(x: u8) -> bool { matches!(x, crate::b::inside::C) }",
        "pub struct A; macro_rules! m { () => { $crate::b::b() } }",
        "#[derive(Deserialize)] pub struct A { #[serde(default = \"crate::b::b\")] x: u8 }",
        "#[derive(Args)] pub struct A { #[arg(value_parser = crate::b::b)] x: u8 }",
        "pub struct A; impl Clone for A { fn clone(&self) -> Self { crate::b::b(); A } }",
        "pub struct A; mod inline { fn f() { super::super::b::b() } }",
        "pub trait A { fn f() -> crate::b::B { todo!() } }",
    ] {
        assert_eq!(rounds(&[LIB, ("a.rs", a), b]), ["a.rs b.rs"], "{a}");
    }
}

#[test]
fn a_child_and_its_parent_are_a_circle_when_the_parents_own_code_uses_the_child() {
    let lib = ("lib.rs", "mod a;");
    let child = ("a/c.rs", "use super::A; pub struct C(A);");
    for parent in [
        "mod c; use c::C; pub struct A; fn f(_: C) {}",
        "mod c; pub use c::C; pub struct A; fn f(_: C) {}",
        "mod c; pub use c::*; pub struct A; fn f(_: C) {}",
        "mod c; pub struct A; fn f(_: self::c::C) {}",
    ] {
        assert_eq!(rounds(&[lib, ("a/mod.rs", parent), child]), ["a/c.rs a/mod.rs"], "{parent}");
    }
}

#[test]
fn a_use_through_a_reexport_is_one_of_the_file_that_defines_the_item() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; pub use b::B;"),
        ("a.rs", "use crate::c::B; pub struct A(B);"),
        ("b.rs", "use crate::a::A; pub struct B(Box<A>);"),
        ("c.rs", "pub use crate::B;"),
    ];
    assert_eq!(rounds(&files), ["a.rs b.rs"]);
    // A name that a parent imports for itself, seen by its child.
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "mod c; use crate::b::B; pub use c::C;"),
        ("a/c.rs", "use super::*; pub struct C(Box<B>);"),
        ("b.rs", "pub struct B(crate::a::C);"),
    ];
    assert_eq!(rounds(&files), ["a/c.rs b.rs"]);
}

#[test]
fn methods_in_another_file_than_their_type_are_used_where_they_are_called() {
    let lib = ("lib.rs", "mod a;");
    let child = ("a/c.rs", "use super::A; impl A { pub fn c(&self) {} pub const N: u8 = 1; }");
    for call in ["self.c()", "Self::c(self)", "A::c(self)", "drop(Self::N)", "println!(\"{:?}\", self.c())"] {
        let parent = format!("mod c; pub struct A; impl A {{ fn f(&self) {{ {call} }} }}");
        assert_eq!(rounds(&[lib, ("a/mod.rs", &parent), child]), ["a/c.rs a/mod.rs"], "{call}");
    }
    let none: [&str; 0] = [];
    let parent = "mod c; pub struct A; impl A { fn f(&self) { self.g() } fn g(&self) {} }";
    assert_eq!(rounds(&[lib, ("a/mod.rs", parent), child]), none);
}

#[test]
fn macros_are_used_without_a_path() {
    let files = [
        ("lib.rs", "#[macro_use] mod a; mod b;"),
        ("a.rs", "macro_rules! twice { () => {} } fn f() { crate::b::b() }"),
        ("b.rs", "twice!(); pub fn b() {}"),
    ];
    assert_eq!(rounds(&files), ["a.rs b.rs"]);
}

#[test]
fn all_ways_around_are_told_and_each_use_with_its_line() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B;\npub struct A(B);\n"),
        ("b.rs", "\npub struct B(crate::c::C);"),
        ("c.rs", "pub struct C(Box<crate::a::A>);\nfn f() -> crate::b::B {}"),
        ("d.rs", "use crate::a::A;"),
    ];
    assert_eq!(rounds(&files), ["b.rs c.rs", "a.rs b.rs c.rs"]);
    let read =
        |path: &Path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, t)| (*t).to_owned());
    let circles = of_target(Path::new("lib.rs"), Between::Files, &read).unwrap();
    assert_eq!(circles.len(), 1);
    let text = circles[0].show();
    assert!(text.starts_with("circle of 3:\n    a.rs\n    b.rs\n    c.rs\n"), "{text}");
    assert!(text.contains("a.rs:1 uses b.rs: crate::b::B (lines 2 as well)"), "{text}");
    assert!(text.contains("b.rs:2 uses c.rs: crate::c::C\n"), "{text}");
}

#[test]
fn a_missing_file_is_an_error() {
    let read = |path: &Path| (path == Path::new("lib.rs")).then(|| "mod gone;".to_owned());
    let error = of_target(Path::new("lib.rs"), Between::Files, &read).unwrap_err();
    assert!(format!("{error:#}").contains("gone/mod.rs"), "{error:#}");
}

#[test]
fn rooms_are_what_is_directly_below_the_root() {
    let files = [
        ("lib.rs", "mod a; mod b; fn f() { a::one::f() }"),
        ("a/mod.rs", "pub mod one; pub mod two;"),
        ("a/one.rs", "pub fn f() { crate::b::f(); super::two::g() }"),
        ("a/two.rs", "pub fn g() {}"),
        ("b.rs", "pub fn f() { crate::a::two::g() }"),
    ];
    let none: [&str; 0] = [];
    assert_eq!(rounds(&files), none);
    let read =
        |path: &Path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, t)| (*t).to_owned());
    let circles = of_target(Path::new("lib.rs"), Between::Rooms, &read).unwrap();
    assert_eq!(circles.len(), 1);
    assert!(circles[0].show().contains("a:1 uses b: crate::b::f in a/one.rs\n"), "{}", circles[0].show());
}
