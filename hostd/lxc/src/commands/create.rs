use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use wire::{Changed, Code, Failure};

use super::{Applet, Common, Lxc, Refused, Result, named, refused};
use crate::{
    conf::{Fate, Import},
    import::{self, Choice},
};

/// Create a tenant
///
/// Its configuration is an lxc.conf; a template is the image of that name.
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Create {
    /// Name of the tenant
    #[arg(short = 'n', long, value_name = "NAME")]
    name: Option<String>,
    /// Configuration: an lxc.conf, imported as by tenantctl import-lxc
    #[arg(short = 'f', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Image: debian, busybox or another name; download -- -d NAME; none
    #[arg(short = 't', long, value_name = "TEMPLATE")]
    template: Option<String>,
    /// Accepted if dir, best, overlay, overlayfs or none: hostd chooses how tenants are stored
    #[arg(short = 'B', long, value_name = "BDEV")]
    bdev: Option<String>,
    /// Name of the tenant, without -n
    #[arg(value_name = "NAME", conflicts_with = "name")]
    word: Option<String>,
    /// Options of the template download: -d NAME, -r RELEASE, -a ARCH
    #[arg(last = true, value_name = "TEMPLATE-OPTIONS")]
    options: Vec<OsString>,
    #[command(flatten)]
    common: Common,
}

const STORAGE: &str =
    "hostd chooses how tenants are stored; limit a tenant with `memory_max`, `tasks_max`, `disk_max`";

impl Applet for Create {
    const REFUSED: &'static [Refused] = &[
        refused(
            None,
            "dir",
            true,
            "import the directory: rootfsctl import DIRECTORY --name IMAGE, then -t IMAGE",
        ),
        refused(None, "lvname", true, STORAGE),
        refused(None, "vgname", true, STORAGE),
        refused(None, "thinpool", true, STORAGE),
        refused(None, "rbdname", true, STORAGE),
        refused(None, "rbdpool", true, STORAGE),
        refused(None, "zfsroot", true, STORAGE),
        refused(None, "fstype", true, STORAGE),
        refused(None, "fssize", true, STORAGE),
    ];

    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let name = named(self.name.as_deref().or(self.word.as_deref()))?;
        if let Some(bdev) = &self.bdev
            && !matches!(bdev.as_str(), "dir" | "best" | "overlay" | "overlayfs" | "none" | "_unset")
        {
            let text = format!("storage of type {bdev:?} is not supported");
            return Err(Failure::new(Code::Invalid, text).help(STORAGE));
        }
        let image = self.image()?;
        if lxc.find(&name)?.is_some() {
            return Err(Failure::new(Code::NameTaken, format!("Container {name} already exists"))
                .help(format!("remove it first: lxc-destroy -n {name}")));
        }
        let choice = Choice { name: Some(name.as_str()), image: image.as_deref(), profile: None };
        let file = self.config.as_deref();
        let text = file.map(import::text).transpose()?.unwrap_or_default();
        let file = file.unwrap_or_else(|| std::path::Path::new("lxc.conf"));
        let import = import::translate(lxc.layout(), file, &text, &choice)?;
        if !self.common.quiet {
            warn("lxc-create", &import);
        }
        let done = lxc.wait(import::create(lxc.client(), lxc.layout(), &import))?;
        if done.result == Changed::Unchanged {
            return Err(Failure::new(Code::NameTaken, format!("Container {name} already exists"))
                .help("another client created it just now"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    /// The image for the template.
    fn image(&self) -> Result<Option<String>> {
        let options: Vec<String> = self.options.iter().map(|o| o.to_string_lossy().into_owned()).collect();
        let option = |short: &str, long: &str| {
            let at = options.iter().position(|option| option == short || option == long);
            let joined = options.iter().find_map(|option| option.strip_prefix(&format!("{long}=")));
            joined.map(str::to_owned).or_else(|| options.get(at? + 1).cloned())
        };
        match self.template.as_deref() {
            None | Some("none") => Ok(None),
            Some("download") => {
                let name = option("-d", "--dist").ok_or_else(|| {
                    Failure::new(Code::Invalid, "the template download needs a distribution")
                        .help("e.g. -t download -- -d debian")
                })?;
                if let Some(release) = option("-r", "--release") {
                    let _ = writeln!(
                        io::stderr(),
                        "lxc-create: ignoring release {release}: the image {name} determines it"
                    );
                }
                Ok(Some(name))
            }
            Some("oci" | "local") => Err(Failure::new(Code::Invalid, "archives must be imported first")
                .help("rootfsctl import FILE --name IMAGE, then: lxc-create -n NAME -t IMAGE")),
            Some(_) if !options.is_empty() => Err(Failure::new(
                Code::Invalid,
                format!("template options are not supported: {}", options.join(" ")),
            )
            .help("build the image with options instead: rootfsctl build --help")),
            Some(template) => Ok(Some(template.trim_start_matches("lxc-").to_owned())),
        }
    }
}

/// Prints to standard error which settings of a configuration the tenant does not have.
pub(super) fn warn(program: &str, import: &Import) {
    for row in import.rows.iter().filter(|row| row.fate == Fate::Warning) {
        let text = format!("{program}: warning: {}:{}: {}: {}", row.file, row.line, row.key, row.text);
        let _ = writeln!(io::stderr(), "{}", client::output::clean(&text));
    }
}
