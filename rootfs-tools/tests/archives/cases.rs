//! The programs that make archives, and what each of their formats holds.

use std::{path::Path, process::Command};

/// What an archive can hold, or what a program puts into it.
#[derive(Clone, Copy)]
pub(crate) struct Holds {
    /// Names and links of more than 100 bytes.
    pub(crate) long: bool,
    /// Pipes and device nodes.
    pub(crate) nodes: bool,
    /// Times before 1970.
    pub(crate) old: bool,
    /// How fine times are, nanoseconds.
    pub(crate) grain: i64,
    /// Extended attributes and ACLs.
    pub(crate) attributes: bool,
    /// Holes.
    pub(crate) holes: bool,
}

pub(crate) const SECOND: i64 = 1_000_000_000;

pub(crate) const V7: Holds =
    Holds { long: false, nodes: false, old: false, grain: SECOND, attributes: false, holes: false };
pub(crate) const USTAR: Holds = Holds { nodes: true, ..V7 };
pub(crate) const GNU: Holds = Holds { long: true, old: true, ..USTAR };
pub(crate) const POSIX: Holds = Holds { grain: 1, ..GNU };

/// What programs of archives are called with, and what comes of it.
pub(crate) struct Case {
    pub(crate) program: &'static str,
    pub(crate) options: &'static [&'static str],
    pub(crate) holds: Holds,
}

pub(crate) const fn tar(options: &'static [&'static str], holds: Holds) -> Case {
    Case { program: "tar", options, holds }
}

pub(crate) const fn bsdtar(options: &'static [&'static str], holds: Holds) -> Case {
    Case { program: "bsdtar", options, holds }
}

pub(crate) const fn python(options: &'static [&'static str], holds: Holds) -> Case {
    Case { program: "python3", options, holds }
}

pub(crate) const CASES: &[Case] = &[
    tar(&["--format=v7"], V7),
    tar(&["--format=ustar"], USTAR),
    tar(&["--format=oldgnu"], GNU),
    tar(&["--format=oldgnu", "--sparse"], Holds { holes: true, ..GNU }),
    tar(&["--format=gnu"], GNU),
    tar(&["--format=gnu", "--sparse", "--hole-detection=raw"], Holds { holes: true, ..GNU }),
    tar(&["--format=gnu", "--label=backup", "--numeric-owner"], GNU),
    tar(&["--format=posix"], POSIX),
    tar(&["--format=posix", "--label=backup", "--pax-option=comment=made by hand,hdrcharset=BINARY"], POSIX),
    tar(
        &["--format=posix", "--pax-option=delete=mtime,delete=atime,delete=ctime"],
        Holds { grain: SECOND, old: false, ..POSIX },
    ),
    tar(&["--format=posix", "--sparse", "--sparse-version=0.0"], Holds { holes: true, ..POSIX }),
    tar(&["--format=posix", "--sparse", "--sparse-version=0.1"], Holds { holes: true, ..POSIX }),
    tar(&["--format=posix", "--sparse", "--sparse-version=1.0"], Holds { holes: true, ..POSIX }),
    tar(
        &["--format=posix", "--sparse", "--xattrs", "--xattrs-include=*", "--acls", "--selinux"],
        Holds { holes: true, attributes: true, ..POSIX },
    ),
    // ACLs by name although owners have none, and by number as attributes.
    tar(&["--format=posix", "--xattrs", "--acls", "--numeric-owner"], Holds { attributes: true, ..POSIX }),
    tar(&["--format=posix", "--xattrs", "--xattrs-include=*"], Holds { attributes: true, ..POSIX }),
    bsdtar(&["--format=v7", "--no-xattrs", "--no-acls"], V7),
    bsdtar(&["--format=ustar", "--no-xattrs", "--no-acls"], USTAR),
    bsdtar(&["--format=gnutar", "--no-xattrs", "--no-acls"], Holds { old: false, ..GNU }),
    // libarchive writes parts of a second before 1970 as if they were after the second.
    bsdtar(&["--format=pax", "--no-xattrs", "--no-acls", "--no-read-sparse"], Holds { old: false, ..POSIX }),
    bsdtar(
        &["--format=pax", "--xattrs", "--acls"],
        Holds { holes: true, attributes: true, old: false, ..POSIX },
    ),
    bsdtar(
        &["--numeric-owner", "--xattrs", "--acls"],
        Holds { grain: SECOND, holes: true, attributes: true, old: false, ..POSIX },
    ),
    python(&["USTAR_FORMAT"], USTAR),
    python(&["GNU_FORMAT"], GNU),
    // It takes times for floating-point numbers.
    python(&["PAX_FORMAT"], Holds { grain: SECOND / 4, ..POSIX }),
];

pub(crate) const PYTHON: &str = "import sys, tarfile
with tarfile.open(sys.argv[2], 'w', format=getattr(tarfile, sys.argv[1])) as archive:
    archive.add(sys.argv[3], '.')
";

impl Case {
    /// Packs the directory `from`.
    pub(crate) fn pack(&self, from: &Path, to: &Path) {
        let mut command = Command::new(self.program);
        match self.program {
            "python3" => command.args(["-c", PYTHON]).args(self.options).args([to, from]),
            _ => command.args(self.options).arg("-cf").arg(to).arg("-C").arg(from).arg("."),
        };
        run(&mut command);
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.program, self.options.join(" "))
    }
}

pub(crate) fn run(command: &mut Command) {
    let package = if command.get_program() == "bsdtar" { "libarchive-tools" } else { "tar python3" };
    let output = command.env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}; apt-get install {package}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
