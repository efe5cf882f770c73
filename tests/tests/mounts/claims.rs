//! What isolation is claimed to be, and by which tests.

use super::*;

/// What isolation is claimed to be, and by which tests.
const CLAIMS: &str = include_str!("../../../docs/explanation/isolation.md");

#[test]
fn the_tests_that_are_named_for_a_claim_exist() {
    let (_, tests) = CLAIMS.split_once("## Tests\n").expect("a section for tests");
    let named: Vec<(&str, &str)> = tests.split('`').filter_map(|word| word.split_once("::")).collect();
    assert!(named.len() > 30, "only {} are named", named.len());
    for (program, test) in named {
        let source = source(program);
        assert!(source.contains(&format!("#[test]\nfn {test}()")), "{program} has no test {test}");
    }
}

/// The text of a test program: one file, or all files of its directory.
fn source(program: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    if let Ok(text) = fs::read_to_string(tests.join(format!("{program}.rs"))) {
        return text;
    }
    let dir = tests.join(program);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    files.map(|file| fs::read_to_string(file.expect("an entry").path()).expect("a text")).collect()
}
