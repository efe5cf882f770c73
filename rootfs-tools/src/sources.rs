//! Which mirrors a Debian image is built from: those this host already uses for the suite.
//!
//! A host behind a private mirror or proxy builds without being told anything, and no mirror is named in
//! this program. Where the host has none for the suite, mmdebstrap's own default is used.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Keyring of the package debian-archive-keyring, the only one that every Debian image has.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The host's apt sources for `suite`, its updates and its security suite, as one text in deb822 style, see
/// sources.list(5). `None` where the host has none.
pub fn of_host(apt: &Path, suite: &str) -> Option<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files.insert(0, apt.join("sources.list"));
    let mut stanzas = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|e| e.to_str()) {
            Some("sources") => stanzas.extend(text.split("\n\n").filter_map(|stanza| deb822(stanza, suite))),
            Some("list") => stanzas.extend(text.lines().filter_map(|line| one_line(line, suite))),
            _ => {}
        }
    }
    stanzas.sort();
    stanzas.dedup();
    let has_suite = |stanza: &String| {
        stanza.lines().any(|l| l.starts_with("Suites:") && l.split(' ').any(|s| s == suite))
    };
    stanzas.iter().any(has_suite).then(|| stanzas.join("\n"))
}

fn belongs(name: &str, suite: &str) -> bool {
    let rest = name.strip_prefix(suite);
    rest.is_some_and(|rest| ["", "-updates", "-security", "-backports"].contains(&rest))
}

fn render(uris: &str, suites: &[&str], components: &str) -> Option<String> {
    if suites.is_empty() || uris.is_empty() {
        return None;
    }
    let suites = suites.join(" ");
    Some(format!(
        "Types: deb\nURIs: {uris}\nSuites: {suites}\nComponents: {components}\nSigned-By: {KEYRING}\n"
    ))
}

fn deb822(stanza: &str, suite: &str) -> Option<String> {
    let field = |name: &str| {
        stanza.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let off = field("Enabled").is_some_and(|value| value == "no");
    let foreign_key = field("Signed-By").is_some_and(|key| key != KEYRING);
    if off || foreign_key || !field("Types")?.split_whitespace().any(|t| t == "deb") {
        return None;
    }
    let suites: Vec<_> = field("Suites")?.split_whitespace().filter(|name| belongs(name, suite)).collect();
    render(field("URIs")?, &suites, field("Components")?)
}

fn one_line(line: &str, suite: &str) -> Option<String> {
    let mut words = line.split('#').next()?.split_whitespace().peekable();
    if words.next()? != "deb" {
        return None;
    }
    if words.peek()?.starts_with('[') {
        let mut options = String::new();
        while !options.ends_with(']') {
            options.push_str(words.next()?);
            options.push(' ');
            options.truncate(options.trim_end().len());
        }
        if options.contains("signed-by=") && !options.contains(KEYRING) {
            return None;
        }
    }
    let (uri, name) = (words.next()?, words.next()?);
    let components: Vec<_> = words.collect();
    if !belongs(name, suite) {
        return None;
    }
    render(uri, &[name], &components.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_mirror_for_the_suite_is_found_in_both_styles() {
        let apt = tempfile::tempdir().unwrap();
        let dir = apt.path().join("sources.list.d");
        fs::create_dir(&dir).unwrap();
        fs::write(
            apt.path().join("sources.list"),
            "# comment\ndeb-src http://mirror.test/d bookworm main\ndeb [arch=amd64] http://mirror.test/d bookworm main contrib\n",
        )
        .unwrap();
        fs::write(
            dir.join("a.sources"),
            "Types: deb\nURIs: http://mirror.test/s\nSuites: bookworm-security trixie\nComponents: main\n\n\
             Types: deb\nURIs: http://other.test/\nSuites: bookworm\nComponents: main\nSigned-By: /etc/apt/keyrings/x.gpg\n",
        )
        .unwrap();
        fs::write(
            dir.join("b.sources.disabled"),
            "Types: deb\nURIs: http://off.test\nSuites: bookworm\nComponents: main\n",
        )
        .unwrap();
        let text = of_host(apt.path(), "bookworm").unwrap();
        assert!(
            text.contains("URIs: http://mirror.test/d\nSuites: bookworm\nComponents: main contrib\n"),
            "{text}"
        );
        assert!(text.contains("Suites: bookworm-security\n"), "{text}");
        assert!(
            !text.contains("other.test") && !text.contains("off.test") && !text.contains("trixie"),
            "{text}"
        );
        assert_eq!(of_host(apt.path(), "sid"), None);
    }
}
