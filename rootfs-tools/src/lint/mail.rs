//! The mail name that was configured at installation: the name of the build machine.

use std::io;

use crate::rootdir::RootDir;

const MAILNAME: &str = "etc/mailname";
const POSTFIX: &str = "etc/postfix/main.cf";

/// Files that contain it.
pub(super) fn check(root: &RootDir) -> Vec<String> {
    let uname = rustix::system::uname();
    let machine = uname.nodename().to_string_lossy().into_owned();
    let text = |path| root.text(path).ok().flatten().unwrap_or_default();
    let mut found = Vec::new();
    if is_of_build(text(MAILNAME).trim(), &machine) {
        found.push(MAILNAME.to_owned());
    }
    if text(POSTFIX).lines().filter_map(postfix_name).any(|name| is_of_build(name, &machine)) {
        found.push(POSTFIX.to_owned());
    }
    found
}

/// Without the file a tenant writes its own at its first boot; without the line postfix asks for the host name.
pub(super) fn fix(root: &RootDir, path: &str) -> io::Result<()> {
    if path == MAILNAME {
        return root.remove(path).map(drop);
    }
    let text = root.text(path)?.unwrap_or_default();
    let kept: String =
        text.lines().filter(|line| postfix_name(line).is_none()).flat_map(|line| [line, "\n"]).collect();
    root.write(path, kept.as_bytes(), 0o644)
}

/// The value of `myhostname`, see postconf(5).
fn postfix_name(line: &str) -> Option<&str> {
    let (key, value) = line.split_once('=')?;
    (key.trim() == "myhostname").then(|| value.trim())
}

/// `localhost` is the host name that [`crate::debian`] presents to the packages it installs.
fn is_of_build(name: &str, machine: &str) -> bool {
    let host = name.split('.').next().unwrap_or_default();
    host == "localhost" || (host == machine && !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_chose_stays() {
        assert!(is_of_build("localhost", "builder") && is_of_build("localhost.UNKNOWN", "builder"));
        assert!(is_of_build("builder.internal", "builder"));
        assert!(!is_of_build("mail.example.org", "builder") && !is_of_build("", ""));
    }

    #[test]
    fn postfix_loses_the_line_with_the_name_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        let text = "# see postconf\nmyhostname = localhost\nmydestination = $myhostname, localhost\n";
        root.write(POSTFIX, text.as_bytes(), 0o644).unwrap();
        assert_eq!(check(&root), [POSTFIX]);
        fix(&root, POSTFIX).unwrap();
        assert_eq!(
            root.text(POSTFIX).unwrap().unwrap(),
            "# see postconf\nmydestination = $myhostname, localhost\n"
        );
        assert!(check(&root).is_empty());
        root.write(POSTFIX, b"myhostname = mail.example.org\n", 0o644).unwrap();
        assert!(check(&root).is_empty());
    }
}
