//! LXC's configurations as tenants' files.
//!
//! ```text
//! lxc.conf ─parse──▶ lines ─translate──▶ fragment + a verdict for each line ─validate──▶ tenant file
//! ```
//!
//! Pure: files are looked at through a closure. Invariant: every line that is neither empty nor a comment
//! is in the report exactly once, translated or with the reason why it is not.

mod cgroup;
mod draft;
mod foreign;
mod general;
mod keys;
mod mounts;
mod network;
mod parse;
mod render;
mod report;
mod security;
mod translate;

use tenant::{
    TenantName,
    config::{ConfigError, Fragment},
    model::{
        image::{ImageRef, ProfileName},
        name::InvalidName,
    },
};

pub use foreign::Foreign;
pub use keys::{KEYS, Key};
pub use mounts::image_name;
pub use parse::{Content, Found, Line, Look, MAX_FILE, ParseError, Probe, Source, parse};
pub use report::{Fate, Row};

/// Looks up a profile of the host and what it says.
pub type Load<'a> = &'a dyn Fn(Option<&ProfileName>) -> Result<(ProfileName, Fragment), String>;

/// How a configuration is imported.
pub struct Wanted<'a> {
    /// The tenant's name; from `lxc.uts.name` or the file's path if absent.
    pub name: Option<TenantName>,
    /// The image; named after the root filesystem if absent.
    pub image: Option<ImageRef>,
    /// The profile; `os` where there is a root filesystem, else the host's default, if absent.
    pub profile: Option<ProfileName>,
    /// This machine, as `uname -m` prints it.
    pub arch: &'a str,
    /// Looks at what the configuration names.
    pub look: Look<'a>,
    /// Looks at what its mounts are made from.
    pub probe: Probe<'a>,
    /// What a profile says; none means the host's default. The image of a tenant that has none is in it.
    pub load: Load<'a>,
}

/// A configuration as a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The tenant's name.
    pub name: TenantName,
    /// What its file says.
    pub fragment: Fragment,
    /// The root filesystem of the container, where that is a directory: what its image is made from.
    pub rootfs: Option<String>,
    /// Which of its owners are which inside, `u:0:100000:65536`: as lxc.idmap has it.
    pub idmap: Vec<String>,
    /// What became of every line.
    pub rows: Vec<Row>,
}

/// Why a configuration is not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not read.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It is no configuration of LXC.
    #[error("it {0}")]
    Foreign(Foreign),
    /// Nothing in it makes a name.
    #[error("cannot derive a tenant name from lxc.uts.name or from the path of {file:?}")]
    NoName {
        /// The file.
        file: String,
        /// Why the last one does not.
        #[source]
        source: InvalidName,
    },
    /// Its profile cannot be used.
    #[error("{0}")]
    Profile(String),
    /// The rest of it makes no tenant.
    #[error("the configuration is not valid for a tenant")]
    Config(#[from] ConfigError),
}

impl ImportError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Parse(error) => error.help(),
            Self::Foreign(whose) => whose.help(),
            Self::NoName { .. } => "name it with --name NAME",
            Self::Profile(_) => "select another with --profile",
            Self::Config(_) => "select another profile or image with --profile and --image",
        }
    }
}

impl Import {
    /// The text of the tenant's file.
    pub fn text(&self) -> String {
        render::text(&self.fragment)
    }

    /// The tenant's file as `key=value` pairs.
    pub fn pairs(&self) -> Vec<String> {
        render::pairs(&self.fragment)
    }

    /// How many rows are of a fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.rows.iter().filter(|row| row.fate == fate).count()
    }
}

/// Imports the text of a configuration that stands in `file`.
///
/// # Errors
/// See [`ImportError`].
pub fn import(file: &str, text: &str, wanted: Wanted<'_>) -> Result<Import, ImportError> {
    if let Some(whose) = Foreign::recognize(text) {
        return Err(ImportError::Foreign(whose));
    }
    let lines = parse(file, text, wanted.look)?;
    let host = draft::Host { file, arch: wanted.arch, look: wanted.look, probe: wanted.probe };
    let mut translated = translate::translate(lines, &host);
    let mut remarks = remarks(&translated);
    if let Some(image) = wanted.image {
        translated.fragment.image = Some(image);
    }
    if let Some(profile) = wanted.profile {
        translated.fragment.profile = Some(profile);
    }
    let name = match wanted.name {
        Some(name) => name,
        None => derive_name(file, translated.hostname.as_deref())?,
    };
    let (profile_name, profile) =
        (wanted.load)(translated.fragment.profile.as_ref()).map_err(ImportError::Profile)?;
    translate::validate(&mut translated, &name, &profile_name, &profile)?;
    let translate::Translated { fragment, rootfs, idmap, entries, .. } = translated;
    let mut rows = translate::rows(entries);
    let remark = |text| Row {
        file: file.to_owned(),
        line: 0,
        key: String::new(),
        value: String::new(),
        fate: Fate::Note,
        text,
    };
    rows.extend(remarks.drain(..).map(remark));
    Ok(Import { name, fragment, rootfs, idmap, rows })
}

/// What the file leaves to a default that LXC has otherwise.
fn remarks(translated: &translate::Translated) -> Vec<String> {
    let mut remarks = Vec::new();
    if translated.fragment.image.is_none() {
        remarks.push(
            "no root filesystem: LXC used the host's own; the tenant uses the default image".to_owned(),
        );
    }
    if translated.fragment.nic.is_none() {
        remarks.push(
            "no network: LXC provided only loopback, before 2.1 the host's network; the tenant uses its profile's NIC"
                .to_owned(),
        );
    }
    remarks
}

/// A name for the tenant: from the host name, or of `/var/lib/lxc/NAME/config` the NAME.
fn derive_name(file: &str, hostname: Option<&str>) -> Result<TenantName, ImportError> {
    let path = std::path::Path::new(file);
    let parent = || path.parent()?.file_name();
    let of_path = match path.file_name() {
        Some(name) if name == "config" => parent(),
        _ => path.file_stem(),
    };
    let of_path = of_path.map(|name| name.to_string_lossy().into_owned());
    let candidates: Vec<String> = hostname.map(str::to_owned).into_iter().chain(of_path).collect();
    if let Some(name) = candidates.iter().find_map(|candidate| sanitize(candidate).parse().ok()) {
        return Ok(name);
    }
    // Why not is told of the name as it stands there: nothing is left of `101` that could be looked at.
    let text = candidates.first().map_or(file, String::as_str);
    text.parse().map_err(|source| ImportError::NoName { file: file.to_owned(), source })
}

fn sanitize(text: &str) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(good).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name: String = name.chars().take(TenantName::MAX).collect();
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests;
