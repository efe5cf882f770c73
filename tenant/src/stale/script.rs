//! Which script an interpreter is running, by its command line.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// How an interpreter takes its command line.
struct Interpreter {
    /// Its program, without the version behind it.
    name: &'static str,
    /// Options, of one letter, whose value is the next word.
    with_value: &'static str,
    /// Options, of one letter, with which the program is on the command line, or the standard input, and no script is.
    without_script: &'static str,
    /// Long options whose value is the next word.
    long: &'static [&'static str],
}

const INTERPRETERS: &[Interpreter] = &[
    Interpreter { name: "sh", with_value: "oO", without_script: "cs", long: &[] },
    Interpreter { name: "dash", with_value: "o", without_script: "cs", long: &[] },
    Interpreter { name: "ash", with_value: "o", without_script: "cs", long: &[] },
    Interpreter { name: "bash", with_value: "oO", without_script: "cs", long: &["--rcfile", "--init-file"] },
    Interpreter { name: "ksh", with_value: "o", without_script: "cs", long: &[] },
    Interpreter { name: "mksh", with_value: "o", without_script: "cs", long: &[] },
    Interpreter { name: "zsh", with_value: "o", without_script: "cs", long: &[] },
    Interpreter {
        name: "python",
        with_value: "WX",
        without_script: "cm",
        long: &["--check-hash-based-pycs"],
    },
    Interpreter { name: "pypy", with_value: "WX", without_script: "cm", long: &[] },
    Interpreter { name: "perl", with_value: "I", without_script: "eE", long: &[] },
    Interpreter { name: "ruby", with_value: "rICE", without_script: "e", long: &[] },
    Interpreter {
        name: "node",
        with_value: "rC",
        without_script: "ep",
        long: &["--require", "--import", "--loader", "--conditions"],
    },
    Interpreter { name: "nodejs", with_value: "rC", without_script: "ep", long: &["--require", "--import"] },
    Interpreter { name: "php", with_value: "cdfz", without_script: "rBR", long: &[] },
    Interpreter { name: "lua", with_value: "l", without_script: "", long: &[] },
    Interpreter { name: "guile", with_value: "Lls", without_script: "c", long: &[] },
    Interpreter { name: "tclsh", with_value: "", without_script: "", long: &[] },
    Interpreter { name: "awk", with_value: "Fv", without_script: "", long: &[] },
];

/// Applets of busybox that are shells.
const SHELLS: [&str; 3] = ["sh", "ash", "hush"];

/// Interpreters for which the script is the value of `-f`.
const BY_OPTION: [&str; 4] = ["awk", "gawk", "mawk", "php"];

/// The script that a program was told to run, as the command line names it; none where it is no interpreter that is
/// known, or has no script. Another program takes its script from a file with `#!`: then the script is its first word
/// that is no option, and it is `by_shebang`.
pub(super) fn named<'a>(program: &Path, arguments: &[&'a Path]) -> Option<Named<'a>> {
    let name = program.file_name()?.as_bytes();
    let mut words = arguments.get(1..)?;
    let known = match name {
        b"busybox" => {
            let applet =
                |word: &&Path| SHELLS.iter().any(|shell| word.file_name() == Some(OsStr::new(shell)));
            if !arguments.first().is_some_and(applet) {
                words = words.split_first().filter(|(first, _)| applet(first))?.1;
            }
            INTERPRETERS.iter().find(|known| known.name == "ash")
        }
        name => INTERPRETERS.iter().find(|known| known.name.as_bytes() == without_version(name)),
    };
    let Some(known) = known else {
        let first = words.iter().copied().find(|word| !is_option(word))?;
        return Some(Named { path: first, by_shebang: true });
    };
    known.script(words).map(|path| Named { path, by_shebang: false })
}

/// A script by its name on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    /// The word.
    pub path: &'a Path,
    /// Whether it is one only if its first line names the program.
    pub by_shebang: bool,
}

fn is_option(word: &Path) -> bool {
    let bytes = word.as_os_str().as_bytes();
    bytes.len() > 1 && matches!(bytes[0], b'-' | b'+')
}

/// `python3.11` and `perl5.36.0` without what is behind the name; `gawk` and `mawk` are `awk`.
fn without_version(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|byte| !(byte.is_ascii_digit() || *byte == b'.')).map_or(0, |at| at + 1);
    match &name[..end] {
        b"gawk" | b"mawk" => b"awk",
        b"nodejs" => b"node",
        b"rbash" => b"bash",
        name => name,
    }
}

impl Interpreter {
    fn script<'a>(&self, words: &[&'a Path]) -> Option<&'a Path> {
        let mut words = words.iter().copied();
        let by_option = BY_OPTION.contains(&self.name);
        while let Some(word) = words.next() {
            let bytes = word.as_os_str().as_bytes();
            if bytes == b"--" {
                return words.next().filter(|_| !by_option || self.name == "php");
            }
            if !is_option(word) {
                // The first word of awk is its program.
                return (self.name != "awk").then_some(word);
            }
            if bytes.starts_with(b"--") {
                if self.long.iter().any(|long| long.as_bytes() == bytes) {
                    words.next();
                }
                continue;
            }
            for (at, letter) in bytes.iter().enumerate().skip(1) {
                let is = |letters: &str| letters.as_bytes().contains(letter);
                if *letter == b'f' && by_option {
                    return if at + 1 < bytes.len() {
                        Some(Path::new(OsStr::from_bytes(&bytes[at + 1..])))
                    } else {
                        words.next()
                    };
                }
                if is(self.without_script) && bytes[0] == b'-' {
                    return None;
                }
                if is(self.with_value) {
                    if at + 1 == bytes.len() {
                        words.next();
                    }
                    break;
                }
            }
        }
        None
    }
}

/// The program that the first line of a script names, and what `env` is to look for.
pub(super) fn shebang(first: &[u8]) -> Option<PathBuf> {
    let line = first.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty());
    let path = |word: &[u8]| PathBuf::from(OsStr::from_bytes(word));
    let program = path(words.next()?);
    if program.file_name() != Some(OsStr::new("env")) {
        return Some(program);
    }
    words.find(|word| !word.starts_with(b"-") && !word.contains(&b'=')).map(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script<'a>(program: &str, line: &'a str) -> Option<(&'a str, bool)> {
        let words: Vec<&Path> = line.split(' ').map(Path::new).collect();
        named(Path::new(program), &words).map(|named| (named.path.to_str().unwrap(), named.by_shebang))
    }

    #[test]
    fn a_script_is_found_behind_the_options_of_its_interpreter() {
        for (program, line, expected) in [
            ("/usr/bin/python3.11", "/usr/bin/python3 -Es /usr/sbin/x --f", Some("/usr/sbin/x")),
            ("/usr/bin/python3.11", "python3 -W ignore -Xdev main.py data.py", Some("main.py")),
            ("/usr/bin/python3.11", "python3 -m http.server", None),
            ("/usr/bin/python3.11", "python3 -Ic code /usr/bin/x", None),
            ("/usr/bin/python3.11", "python3", None),
            ("/usr/bin/dash", "/bin/sh /usr/sbin/x -c", Some("/usr/sbin/x")),
            ("/usr/bin/dash", "sh -ec true /usr/sbin/x", None),
            ("/usr/bin/bash", "bash --rcfile a -o errexit +x /usr/sbin/x", Some("/usr/sbin/x")),
            ("/usr/bin/perl5.36.0", "/usr/bin/perl -wT /usr/sbin/x", Some("/usr/sbin/x")),
            ("/usr/bin/perl", "perl -I lib -Mstrict -- -x", Some("-x")),
            ("/usr/bin/perl", "perl -we 1 /usr/sbin/x", None),
            ("/bin/busybox", "sh /etc/init.d/rcS", Some("/etc/init.d/rcS")),
            ("/bin/busybox", "busybox ash /x", Some("/x")),
            ("/bin/busybox", "busybox httpd /x", None),
            ("/usr/bin/mawk", "awk -F : -f /usr/share/x.awk y", Some("/usr/share/x.awk")),
            ("/usr/bin/gawk", "gawk {print} /usr/share/x.awk", None),
            ("/usr/bin/php8.2", "php -d a=b /usr/share/x.php", Some("/usr/share/x.php")),
            ("/usr/bin/node", "node --require x /usr/share/x.js", Some("/usr/share/x.js")),
        ] {
            assert_eq!(script(program, line), expected.map(|path| (path, false)), "{line}");
        }
    }

    #[test]
    fn another_program_runs_a_script_only_if_the_script_says_so() {
        assert_eq!(script("/usr/bin/less", "less -R /usr/share/doc/x"), Some(("/usr/share/doc/x", true)));
        assert_eq!(script("/usr/sbin/sshd", "sshd"), None);
        for (line, program) in [
            ("#!/bin/sh -e\nx", Some("/bin/sh")),
            ("#! /usr/bin/env -S A=1 python3 -u\n", Some("python3")),
            ("#!/usr/bin/env\n", None),
            ("\x7fELF", None),
            ("#!", None),
        ] {
            assert_eq!(shebang(line.as_bytes()), program.map(PathBuf::from), "{line:?}");
        }
    }
}
