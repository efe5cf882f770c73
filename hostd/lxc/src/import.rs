//! A configuration of this host as a tenant of it.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
};

use client::Client;
use tenant::{
    Layout,
    config::{Fragment, profile},
    model::image::{ImageRef, ProfileName, VersionRef},
};
use wire::{Code, CreateRequest, Detail, Done, Failure, chain};

use crate::conf::{self, Found, Import, Source, Wanted};

/// What the user decides instead of the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// The tenant's name.
    pub name: Option<&'a str>,
    /// Its image.
    pub image: Option<&'a str>,
    /// Its profile.
    pub profile: Option<&'a str>,
}

fn parsed<T: std::str::FromStr<Err: std::error::Error + 'static>>(
    text: Option<&str>,
) -> Result<Option<T>, Failure> {
    text.map(|text| text.parse().map_err(|error| Failure::of(Code::Invalid, &error))).transpose()
}

/// Reads and translates a configuration.
///
/// # Errors
/// It cannot be read, or is no configuration of LXC.
pub fn read(layout: &Layout, file: &Path, choice: &Choice<'_>) -> Result<Import, Failure> {
    translate(layout, file, &text(file)?, choice)
}

/// The text of a configuration.
///
/// # Errors
/// It cannot be read.
pub fn text(file: &Path) -> Result<String, Failure> {
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
///
/// # Errors
/// It is no configuration of LXC.
pub fn translate(layout: &Layout, file: &Path, text: &str, choice: &Choice<'_>) -> Result<Import, Failure> {
    let name = choice.name.map(wire::tenant_name).transpose()?;
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
    conf::import(&absolute.to_string_lossy(), text, wanted).map_err(|error| {
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
    fs::File::open(path)?.take(conf::MAX_FILE as u64 + 1).read_to_string(&mut text)?;
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

/// Makes the image if it can be made, then the tenant.
///
/// # Errors
/// What hostd answers, or there is no image and none can be made.
pub async fn create(client: &Client, layout: &Layout, import: &Import) -> Result<Done, Failure> {
    // An image is not made for a tenant that there is already, nor without a hostd to make one.
    match client.get::<Detail>(&client::tenant(import.name.as_str(), "")).await {
        Err(failure) if failure.code == Code::NoTenant => ensure_image(layout, import)?,
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
    let program = wire::programs::rootfsctl()?;
    let mut words = vec!["import", rootfs, "--name", image.image.as_str()];
    if is_shifted(rootfs) {
        words.extend(import.idmap.iter().flat_map(|range| ["--idmap", range]));
    }
    let _ = writeln!(io::stderr(), "importing the image: rootfsctl {}", words.join(" "));
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

/// Whether a root filesystem belongs to another process than root: `lxc.idmap` is about what is on disk only then, and
/// not where the container's mount is idmapped.
fn is_shifted(rootfs: &str) -> bool {
    fs::metadata(rootfs).is_ok_and(|metadata| metadata.uid() != 0)
}

fn rootfs_image(rootfs: &str) -> Option<ImageRef> {
    conf::image_name(rootfs).parse().ok()
}
