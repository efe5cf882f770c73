//! Which package made a build fail, parsed from the output of apt-get(8) and dpkg(1).

/// A package and why it is not installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its name.
    pub package: String,
    /// Why.
    pub why: Why,
}

/// Why a package is not installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The mirror has none of this name.
    Unknown,
    /// It needs something that cannot be installed.
    Depends(String),
    /// It could not be unpacked or set up: the message of dpkg, and the line before it, which is the script's.
    Dpkg(String),
}

/// Parses the output line by line.
#[derive(Debug, Default)]
pub struct Watch {
    failed: Option<Failed>,
    /// The last line, which explains an error of the next.
    before: String,
    /// Whether the next line says why.
    wants_reason: bool,
}

impl Watch {
    /// Parses the next line.
    pub fn line(&mut self, line: &str) {
        if std::mem::take(&mut self.wants_reason)
            && let Some(Failed { why: Why::Dpkg(reason), .. }) = &mut self.failed
        {
            let said = std::mem::replace(reason, line.trim().to_owned());
            if !said.is_empty() {
                *reason = format!("{reason}: {said}");
            }
        }
        // The first failure is the cause of those that follow.
        if self.failed.is_none() {
            self.failed = self.of(line);
        }
        self.before = line.trim().to_owned();
    }

    fn of(&mut self, line: &str) -> Option<Failed> {
        let unknown = |package: &str| Failed { package: package.to_owned(), why: Why::Unknown };
        if let Some(package) = line.strip_prefix("E: Unable to locate package ") {
            return Some(unknown(package.trim()));
        }
        if let Some(rest) = line.strip_prefix("E: Package '") {
            return rest.strip_suffix("' has no installation candidate").map(unknown);
        }
        if let Some(rest) = line.strip_prefix("dpkg: error processing ") {
            let rest = rest.strip_prefix("package ").or_else(|| rest.strip_prefix("archive "))?;
            let (object, _) = rest.rsplit_once(" (--")?;
            let package = object.rsplit('/').next()?.split('_').next()?.to_owned();
            self.wants_reason = true;
            let is_own = !self.before.starts_with("Setting up ") && !self.before.starts_with("Unpacking ");
            let said = if is_own { std::mem::take(&mut self.before) } else { String::new() };
            return Some(Failed { package, why: Why::Dpkg(said) });
        }
        // ` nginx : Depends: libfoo but it is not installable`
        let (package, rest) = line.strip_prefix(' ')?.split_once(" : ")?;
        let is_name = !package.is_empty() && !package.contains(' ');
        let wants = ["Depends: ", "PreDepends: ", "Breaks: ", "Conflicts: "].iter();
        (is_name && { wants }.any(|word| rest.starts_with(word)))
            .then(|| Failed { package: package.to_owned(), why: Why::Depends(rest.trim().to_owned()) })
    }

    /// The package that failed first, if it was a package.
    pub fn failed(self) -> Option<Failed> {
        self.failed
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { package, why } = self;
        match why {
            Why::Unknown => write!(f, "the mirror does not have the package {package:?}"),
            Why::Depends(reason) | Why::Dpkg(reason) => {
                write!(f, "package {package:?} cannot be installed: {reason}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        let mut watch = Watch::default();
        text.lines().for_each(|line| watch.line(line));
        watch.failed().map(|failed| failed.to_string())
    }

    /// Lines that mmdebstrap 1.3 printed on Debian 12.
    #[test]
    fn the_package_that_failed_is_found_in_what_is_printed() {
        let script = "Unpacking badpkg (1) ...\nChrooting into /x/\nSetting up badpkg (1) ...\n\
            it cannot be set up here\ndpkg: error processing package badpkg (--configure):\n \
            installed badpkg package post-installation script subprocess returned error exit status 3\n\
            Errors were encountered while processing:\n badpkg\n\
            E: Sub-process env returned an error code (1)\nE: setup failed: E: apt-get -o … badpkg failed\n";
        assert_eq!(
            of(script).unwrap(),
            "package \"badpkg\" cannot be installed: installed badpkg package post-installation script \
             subprocess returned error exit status 3: it cannot be set up here"
        );
        let unknown = "Building dependency tree...\nE: Unable to locate package nosuchpackage\n\
            E: setup failed: E: apt-get … failed\n";
        assert_eq!(of(unknown).unwrap(), "the mirror does not have the package \"nosuchpackage\"");
        let depends = "The following packages have unmet dependencies:\n \
            holed : Depends: nosuchdep but it is not installable\nE: Unable to correct problems\n";
        assert_eq!(
            of(depends).unwrap(),
            "package \"holed\" cannot be installed: Depends: nosuchdep but it is not installable"
        );
        let unpack = "Unpacking a (1) ...\ndpkg: error processing archive /var/cache/apt/a_1_all.deb (--unpack):\n \
            trying to overwrite '/x', which is also in package b 1\n";
        assert_eq!(
            of(unpack).unwrap(),
            "package \"a\" cannot be installed: trying to overwrite '/x', which is also in package b 1"
        );
    }

    #[test]
    fn a_mirror_that_does_not_answer_is_no_package() {
        let mirror = "Err:1 http://127.0.0.1:9/debian bookworm InRelease\n  Could not connect to 127.0.0.1:9\n\
            Reading package lists...\nE: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease\n\
            E: apt-get update --error-on=any failed\nE: mmdebstrap failed to run\n";
        assert_eq!(of(mirror), None);
    }
}
