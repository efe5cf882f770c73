//! What dpkg(1) wants to know: control file, scripts, checksums, the changelog of the package.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    build::Build,
    files::{FILES, Source, conffiles},
    place::compress,
    version::date,
};
use crate::sh;

/// Who answers for the package where the environment does not say, see debchange(1). Nobody can be reached there.
const AUTHORS: (&str, &str) = ("Tenantry authors", "tenantry@tenantry.invalid");
/// What is installed for a tenant host to work at all. The versions are those of Debian 12, which all tests use.
const DEPENDS: &[&str] = &["nftables (>= 1.0.6)", "systemd (>= 252)"];
/// What most hosts want: machined, images of Debian and busybox, images as one file, operators that are not root.
const RECOMMENDS: &[&str] = &[
    "busybox-static",
    "cryptsetup-bin",
    "debian-archive-keyring",
    "dbus",
    "erofs-utils",
    "mmdebstrap",
    "openssh-client",
    "polkitd | policykit-1",
    "skopeo",
    "systemd-container",
];

/// Scripts of the package, in the manner of debhelper(7).
pub(super) const SCRIPTS: &[(&str, &str)] = &[
    ("preinst", include_str!("preinst")),
    ("postinst", include_str!("postinst")),
    ("prerm", include_str!("prerm")),
    ("postrm", include_str!("postrm")),
];

/// `NAME <ADDRESS>`, of `$DEBFULLNAME` and `$DEBEMAIL` where they are set.
fn maintainer() -> String {
    let or = |key: &str, text: &str| std::env::var(key).unwrap_or_else(|_| text.to_owned());
    format!("{} <{}>", or("DEBFULLNAME", AUTHORS.0), or("DEBEMAIL", AUTHORS.1))
}

impl Build {
    /// Writes `DEBIAN/` and what depends on the version.
    pub(super) fn control(&self, architecture: &str) -> Result<()> {
        self.changelog()?;
        let dir = self.tree.join("DEBIAN");
        fs::create_dir_all(&dir)?;
        let libraries = self.libraries()?;
        let mut size = 0;
        let mut sums = String::new();
        for file in files(&self.tree)? {
            let name = file.strip_prefix(&self.tree)?.to_string_lossy().into_owned();
            size += file.symlink_metadata()?.len().div_ceil(1024).max(1);
            if file.is_symlink() || conffiles().any(|conffile| conffile == name) {
                continue;
            }
            let sum = sh::read(sh::command("md5sum", &[&file.to_string_lossy()]))?;
            let sum = sum.split(' ').next().unwrap_or_default().to_owned();
            sums.push_str(&format!("{sum}  {name}\n"));
        }
        let mut depends: Vec<&str> = libraries.split(", ").collect();
        depends.extend(DEPENDS);
        let control = include_str!("control")
            .replace("@VERSION@", &self.version.to_string())
            .replace("@ARCHITECTURE@", architecture)
            .replace("@MAINTAINER@", &maintainer())
            .replace("@SIZE@", &size.to_string())
            .replace("@DEPENDS@", &depends.join(", "))
            .replace("@RECOMMENDS@", &RECOMMENDS.join(", "));
        fs::write(dir.join("control"), control)?;
        fs::write(dir.join("md5sums"), sums)?;
        fs::write(dir.join("conffiles"), conffiles().map(|file| format!("/{file}\n")).collect::<String>())?;
        for (name, text) in SCRIPTS {
            fs::write(dir.join(name), text)?;
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// The changelog of the package, as deb-changelog(5) wants it; what changed is in that of the project.
    fn changelog(&self) -> Result<()> {
        let date = date(self.epoch, "%a, %d %b %Y %H:%M:%S +0000")?;
        let (version, maintainer) = (&self.version, maintainer());
        let text = format!(
            "tenantry ({version}) unstable; urgency=medium\n\n  * What changed is in changelog.gz.\n\n \
             -- {maintainer}  {date}\n"
        );
        let plain = self.made.join("changelog.Debian");
        fs::write(&plain, text)?;
        compress(&plain, &self.tree.join("usr/share/doc/tenantry/changelog.Debian.gz"))
    }

    /// The libraries that the programs are linked with, as packages with their versions.
    fn libraries(&self) -> Result<String> {
        let debian = self.made.join("debian");
        fs::create_dir_all(&debian)?;
        let stanza = "Source: tenantry\n\nPackage: tenantry\nArchitecture: any\n";
        fs::write(debian.join("control"), stanza)?;
        let mut tool = sh::command("dpkg-shlibdeps", &["-O"]);
        for file in FILES {
            if let Source::Program(name) = file.from {
                tool.arg(self.tree.join(file.to).join(name));
            }
        }
        tool.current_dir(&self.made);
        let said = sh::read(tool)?;
        let depends = said.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
        Ok(depends.context("dpkg-shlibdeps names no libraries")?.to_owned())
    }
}

/// Everything below a directory that is none, in order.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_touch_no_unit_of_a_tenant_but_at_removal() {
        for (name, text) in SCRIPTS {
            let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
            for line in lines.filter(|line| line.contains("tenant@") || line.contains("tenants.")) {
                let stops = ["stop", "restart", "kill"].iter().any(|verb| line.contains(verb));
                assert!(!stops || *name == "prerm", "{name}: {line}");
            }
        }
        let prerm = include_str!("prerm");
        let upgrade = prerm.split("upgrade").count();
        assert!(upgrade > 1, "prerm says what it does at an upgrade");
    }
}
