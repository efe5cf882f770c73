//! Every input that is kept is run by every test.

use std::{fs, path::Path};

use fuzz::TARGETS;

#[test]
fn no_input_that_is_kept_makes_its_target_fail() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in TARGETS {
        let dir = corpora.join(target.name);
        let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} has no input", target.name);
        for file in files {
            println!("{}", file.display());
            (target.run)(&fs::read(&file).unwrap());
        }
    }
    for entry in fs::read_dir(&corpora).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(fuzz::target(&name.to_string_lossy()).is_some(), "{name:?} is the corpus of no target");
    }
}
