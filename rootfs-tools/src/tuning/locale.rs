//! The locale of a system that says nothing of its locale: C.UTF-8, so that every session is in UTF-8.
//!
//! systemd sets it for services by itself. Sessions of ssh, cron and su get theirs from pam_env(8), which reads
//! `/etc/default/locale` on Debian; others read `/etc/locale.conf`, see locale.conf(5). `tenantctl exec` reads both.

use std::io;

use crate::rootdir::RootDir;

/// What the file says.
pub(super) const TEXT: &str = "LANG=C.UTF-8\n";

/// Debian's file; of late a link to the other one.
const DEBIAN: &str = "etc/default/locale";
const CONF: &str = "etc/locale.conf";

/// The C library's own locale of that name, where it is a file.
const LOCALES: [&str; 2] = ["usr/lib/locale/C.utf8", "usr/lib/locale/C.UTF-8"];

/// The file that is to be written; none where there is one, or no such locale.
pub(super) fn missing(root: &RootDir) -> io::Result<Option<&'static str>> {
    let is_set = root.text(DEBIAN)?.is_some() || root.text(CONF)?.is_some();
    if is_set || !LOCALES.iter().any(|locale| root.has(locale)) {
        return Ok(None);
    }
    // A link that leads nowhere yet, or no directory for Debian's file.
    let by_conf = root.has(DEBIAN) || !root.has("etc/default");
    Ok(Some(if by_conf { CONF } else { DEBIAN }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, RootDir) {
        let dir = tempfile::tempdir().unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        root.mkdir_all("etc/default").unwrap();
        (dir, root)
    }

    #[test]
    fn a_system_without_the_locale_is_left_alone() {
        let (_dir, root) = tree();
        assert_eq!(missing(&root).unwrap(), None);
        root.write("usr/lib/locale/C.utf8/LC_CTYPE", b"", 0o644).unwrap();
        assert_eq!(missing(&root).unwrap(), Some(DEBIAN));
    }

    #[test]
    fn a_system_that_has_chosen_keeps_its_choice() {
        for path in [DEBIAN, CONF] {
            let (_dir, root) = tree();
            root.write("usr/lib/locale/C.utf8/LC_CTYPE", b"", 0o644).unwrap();
            root.write(path, b"LANG=de_DE.UTF-8\n", 0o644).unwrap();
            assert_eq!(missing(&root).unwrap(), None, "{path}");
        }
    }

    #[test]
    fn the_file_is_the_one_that_the_system_reads() {
        let (_dir, root) = tree();
        root.write("usr/lib/locale/C.UTF-8/LC_CTYPE", b"", 0o644).unwrap();
        root.symlink("../locale.conf", DEBIAN).unwrap();
        assert_eq!(missing(&root).unwrap(), Some(CONF), "Debian 13");
        root.write(CONF, TEXT.as_bytes(), 0o644).unwrap();
        assert_eq!(missing(&root).unwrap(), None);

        let dir = tempfile::tempdir().unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        root.write("usr/lib/locale/C.utf8/LC_CTYPE", b"", 0o644).unwrap();
        assert_eq!(missing(&root).unwrap(), Some(CONF), "no Debian");
    }
}
