//! `tenantctl import-lxc`: a container of LXC as a tenant.

use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Args;
use serde::Serialize;
use tenant::{
    Layout,
    config::Fragment,
    image::{ImageRef, ProfileName, VersionRef},
    profile,
};

use super::{Client, Context, client, output};
use crate::{
    api::types::{CreateRequest, Detail, Done},
    error::{Code, Failure, chain},
    lxc::{self, Fate, Found, Import, Row, Source, Wanted},
};

/// Create a tenant from an LXC configuration
///
/// Every line is translated, or listed with the reason why it is not. If the image does not exist and
/// the container's root filesystem is a directory on this host, the image is imported from it first.
#[derive(Debug, Args)]
pub(super) struct ImportLxc {
    /// The configuration: an lxc.conf, or /var/lib/lxc/NAME/config
    file: PathBuf,
    /// Name of the tenant; default: the container's host name
    #[arg(long, short)]
    name: Option<String>,
    /// Image: NAME, NAME:CHANNEL or NAME@VERSION; default: named after the root filesystem
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Profile; default: os where the container has a root filesystem
    #[arg(long)]
    profile: Option<String>,
    /// Print the tenant's file and the report, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of a configuration, as JSON.
#[derive(Debug, Serialize)]
struct Imported<'a> {
    name: &'a str,
    tenant_file: String,
    rows: &'a [Row],
    warnings: usize,
    created: bool,
}

impl ImportLxc {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let choice = Choice {
            name: self.name.as_deref(),
            image: self.image.as_deref(),
            profile: self.profile.as_deref(),
        };
        let import = read(&context.layout, &self.file, &choice)?;
        if !self.dry_run {
            if !context.output.json {
                output::write(&report(&import));
            }
            create(context, &import).await?;
        }
        let imported = Imported {
            name: import.name.as_str(),
            tenant_file: import.text(),
            rows: &import.rows,
            warnings: import.count(Fate::Warning),
            created: !self.dry_run,
        };
        context.output.print(&imported, |imported| {
            if imported.created {
                return format!("{}: created\n", imported.name);
            }
            let title = format!("# {}\n", context.layout.tenant_config(&import.name).display());
            format!("{title}{}\n{}", imported.tenant_file, report(&import))
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// What the user decides instead of the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) image: Option<&'a str>,
    pub(super) profile: Option<&'a str>,
}

fn parsed<T: std::str::FromStr<Err: std::error::Error + 'static>>(
    text: Option<&str>,
) -> Result<Option<T>, Failure> {
    text.map(|text| text.parse().map_err(|error| Failure::of(Code::Invalid, &error))).transpose()
}

/// Reads and translates a configuration.
pub(super) fn read(layout: &Layout, file: &Path, choice: &Choice<'_>) -> Result<Import, Failure> {
    translate(layout, file, &text(file)?, choice)
}

/// The text of a configuration.
pub(super) fn text(file: &Path) -> Result<String, Failure> {
    let text = match look(&file.to_string_lossy()) {
        Ok(Found::File(text)) => Ok(text),
        Ok(Found::Directory(_)) => Err("it is a directory".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    text.map_err(|reason| {
        Failure::new(Code::Failed, format!("cannot read {file:?}: {reason}"))
            .help("name the container's configuration, e.g. /var/lib/lxc/NAME/config")
    })
}

/// Translates the text of a configuration that stands in `file`.
pub(super) fn translate(
    layout: &Layout,
    file: &Path,
    text: &str,
    choice: &Choice<'_>,
) -> Result<Import, Failure> {
    let name = choice.name.map(crate::api::tenant_name).transpose()?;
    let uname = nix::sys::utsname::uname().map_err(|errno| Failure::of(Code::Failed, &errno))?;
    let wanted = Wanted {
        name,
        image: parsed(choice.image)?,
        profile: parsed(choice.profile)?,
        arch: &uname.machine().to_string_lossy(),
        look: &look,
        probe: &probe,
        load: &|name| load(layout, name),
    };
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    lxc::import(&absolute.to_string_lossy(), text, wanted).map_err(|error| {
        let failure = Failure::new(Code::Invalid, format!("cannot import {file:?}: {}", chain(&error)));
        failure.help(error.help())
    })
}

/// Looks at a path that a configuration names; no more of a file than may be read.
fn look(path: &str) -> io::Result<Found> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        return names.collect::<io::Result<_>>().map(Found::Directory);
    }
    // A FIFO or a device would never end.
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(lxc::MAX_FILE as u64 + 1).read_to_string(&mut text)?;
    Ok(Found::File(text))
}

/// What a mount is made from.
fn probe(path: &str) -> io::Result<Source> {
    let real = fs::canonicalize(path)?;
    Ok(match fs::metadata(&real)?.is_dir() {
        true => Source::Directory(real.to_string_lossy().into_owned()),
        false => Source::Other,
    })
}

/// A profile of this host, with the image of tenants that name none.
fn load(layout: &Layout, name: Option<&ProfileName>) -> Result<(ProfileName, Fragment), String> {
    let host = profile::load_host(layout).map_err(|error| chain(&error))?;
    let name = match name {
        Some(name) => name.clone(),
        None => host.default_profile.parse().map_err(|error| chain(&error))?,
    };
    let mut fragment = profile::load_profile(layout, &name).map_err(|error| chain(&error))?;
    if fragment.image.is_none() {
        fragment.image = host.default_image.parse().ok();
    }
    Ok((name, fragment))
}

/// The report as a table, and what it comes to.
pub(super) fn report(import: &Import) -> String {
    let first = import.rows.first().map(|row| row.file.clone()).unwrap_or_default();
    let row = |row: &Row| {
        let place = match row.line {
            0 => "-".to_owned(),
            line if row.file == first => line.to_string(),
            line => format!("{}:{line}", row.file),
        };
        let fate = match row.fate {
            Fate::Translated => "ok",
            Fate::Note => "note",
            Fate::Warning => "WARNING",
        };
        [place, row.key.clone(), fate.to_owned(), row.text.clone()].map(|cell| output::clean(&cell)).to_vec()
    };
    let rows = import.rows.iter().map(row).collect();
    let mut text = output::table(&["LINE", "KEY", "", "RESULT"], rows, &[]);
    text.push_str(&format!(
        "{} translated, {} notes, {} warnings\n",
        import.count(Fate::Translated),
        import.count(Fate::Note),
        import.count(Fate::Warning)
    ));
    text
}

/// Makes the image if it can be made, then the tenant.
pub(super) async fn create(context: &Context, import: &Import) -> Result<Done, Failure> {
    let client: &Client = &context.client;
    // An image is not made for a tenant that there is already, nor without a hostd to make one.
    match client.get::<Detail>(&client::tenant(import.name.as_str(), "")).await {
        Err(failure) if failure.code == Code::NoTenant => ensure_image(&context.layout, import)?,
        Err(failure) => return Err(failure),
        Ok(_) => {}
    }
    let request =
        CreateRequest { name: import.name.to_string(), image: None, profile: None, set: import.pairs() };
    let done = client.post("/v1/tenants", &request).await;
    done.map_err(|failure| match (failure.code, &import.fragment.image) {
        (Code::NoImage, Some(image)) => no_image(import, image),
        _ => failure,
    })
}

fn no_image(import: &Import, image: &ImageRef) -> Failure {
    let help = match &import.rootfs {
        Some(rootfs) => {
            let ranges: String = import.idmap.iter().map(|range| format!(" --idmap {range}")).collect();
            format!(
                "import it on the container's host: rootfsctl import {rootfs} --name {}{ranges}; or select another \
                 image with --image IMAGE",
                image.image
            )
        }
        None => format!(
            "import it: rootfsctl import DIRECTORY --name {}; or select another image with --image IMAGE",
            image.image
        ),
    };
    let text = format!("cannot create tenant \"{}\": there is no image \"{image}\"", import.name);
    Failure::new(Code::Failed, text).help(help)
}

/// Imports the container's root filesystem where its image does not exist yet.
fn ensure_image(layout: &Layout, import: &Import) -> Result<(), Failure> {
    let (Some(image), Some(rootfs)) = (&import.fragment.image, &import.rootfs) else { return Ok(()) };
    // Only the name that was made from the directory may be given to what it holds.
    let VersionRef::Channel(channel) = &image.version else { return Ok(()) };
    let is_own = *image == *rootfs_image(rootfs).as_ref().unwrap_or(image);
    if !is_own
        || !Path::new(rootfs).is_dir()
        || layout.channel(&image.image, channel).symlink_metadata().is_ok()
    {
        return Ok(());
    }
    let program = crate::units::image_program()?;
    let mut words = vec!["import", rootfs, "--name", image.image.as_str()];
    if is_shifted(rootfs) {
        words.extend(import.idmap.iter().flat_map(|range| ["--idmap", range]));
    }
    eprintln!("importing the image: rootfsctl {}", words.join(" "));
    let command =
        Command::new(&program).arg("--root").arg(layout.root()).args(&words).stdout(io::stderr()).status();
    match command {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::new(Code::Failed, format!("cannot import image \"{image}\" from {rootfs:?}"))
            .help("nothing was created; select another image with --image IMAGE")),
        Err(error) => Err(Failure::new(Code::Failed, format!("cannot run {}: {error}", program.display()))
            .help(format!("import the image: rootfsctl {}", words.join(" ")))),
    }
}

/// Whether a root filesystem belongs to somebody else than root: `lxc.idmap` is about what is on disk only then, and
/// not where the container's mount is idmapped.
fn is_shifted(rootfs: &str) -> bool {
    fs::metadata(rootfs).is_ok_and(|metadata| metadata.uid() != 0)
}

fn rootfs_image(rootfs: &str) -> Option<ImageRef> {
    lxc::image_name(rootfs).parse().ok()
}
