//! From a name to a plan: reads every file that [`crate::plan`] needs.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    config::{
        Fragment, defaults,
        profile::{self, LoadError},
    },
    files::{
        credentials::{self, Credential, CredentialError},
        facts::total_memory,
        file_error::FileError,
        layout::Layout,
        record,
    },
    kernel::signature::{SignatureError, Version},
    model::{
        allocation::{Allocation, AllocationError, Pinned},
        facts::HostFacts,
        host::HostConfig,
        image::{Manifest, ManifestError, ProfileName},
        name::TenantName,
        nic_table::NicTable,
    },
    plan::{Inputs, Plan, PlanError, plan},
};

/// Why there is no plan for a name.
#[derive(Debug, thiserror::Error)]
pub enum LoadPlanError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// Its record was never made.
    #[error("tenant {0:?} has a configuration but no allocation")]
    NotAllocated(String),
    /// Its record.
    #[error("cannot use the record of tenant {name:?}")]
    Allocation {
        /// The tenant.
        name: String,
        /// The fault.
        #[source]
        source: AllocationError,
    },
    /// The version it is pinned to is not in the store.
    #[error("image {image:?} has no version {digest}")]
    NoVersion {
        /// The image.
        image: String,
        /// The version.
        digest: String,
    },
    /// The manifest of that version.
    #[error("cannot use the manifest of image {image:?}")]
    Manifest {
        /// The image.
        image: String,
        /// The fault.
        #[source]
        source: ManifestError,
    },
    /// Who made that version is not known, or is not trusted.
    #[error(transparent)]
    Signature(Box<SignatureError>),
    /// Its credentials.
    #[error("cannot use the credentials of tenant {name:?}")]
    Credentials {
        /// The tenant.
        name: String,
        /// The fault.
        #[source]
        source: CredentialError,
    },
    /// A file that cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// The plan itself.
    #[error("cannot plan tenant {name:?}")]
    Plan {
        /// The tenant.
        name: String,
        /// The fault.
        #[source]
        source: PlanError,
    },
}

impl LoadPlanError {
    /// The remedy, if one is known.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Config(LoadError::NoTenant(_)) => Some("list the tenants: tenantctl list"),
            Self::Config(LoadError::NoProfile { .. }) => {
                Some("choose a shipped profile: app, app-plus, os, router, shared-os")
            }
            Self::Config(LoadError::Parse { .. } | LoadError::Invalid { .. }) => {
                Some("correct the file: tenantctl edit NAME")
            }
            Self::Config(LoadError::Host { source, .. }) => Some(source.help()),
            Self::Config(LoadError::NicTable { source, .. }) => Some(source.help()),
            Self::NotAllocated(_) => Some("create it through hostd: tenantctl create NAME"),
            Self::NoVersion { .. } => Some("list its versions: rootfsctl list IMAGE"),
            Self::Manifest { .. } => Some("build or import the image again: rootfsctl build"),
            Self::Signature(source) => source.help(),
            Self::Plan { source, .. } => Some(source.help()),
            Self::Credentials { source, .. } => source.help(),
            Self::Config(LoadError::Read(_)) | Self::Allocation { .. } | Self::Read(_) => None,
        }
    }
}

/// Reads a tenant's allocation.
///
/// # Errors
/// [`LoadPlanError::NotAllocated`] where there is none.
pub fn load_allocation(layout: &Layout, name: &TenantName) -> Result<Allocation, LoadPlanError> {
    let text = record::read(&layout.allocation(name)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => LoadPlanError::NotAllocated(name.to_string()),
        _ => error.into(),
    })?;
    Allocation::parse(&text).map_err(|source| LoadPlanError::Allocation { name: name.to_string(), source })
}

/// Reads the manifest of a version that a tenant is to boot. Where the host requires a signature, it is checked.
///
/// # Errors
/// [`LoadPlanError::NoVersion`] where the store does not have it, [`LoadPlanError::Signature`] where it is not trusted.
pub fn load_manifest(layout: &Layout, pinned: &Pinned, host: &HostConfig) -> Result<Manifest, LoadPlanError> {
    let (text, manifest) = manifest(layout, pinned)?;
    if host.require_signature {
        let Pinned { image, digest } = pinned;
        Version { layout, image, digest, text: &text, manifest: &manifest }
            .check()
            .map_err(|error| LoadPlanError::Signature(Box::new(error)))?;
    }
    Ok(manifest)
}

/// Reads the manifest of the version a tenant is pinned to, to show it. A start uses [`load_manifest`].
///
/// # Errors
/// [`LoadPlanError::NoVersion`] where the store does not have it.
pub fn read_manifest(layout: &Layout, pinned: &Pinned) -> Result<Manifest, LoadPlanError> {
    Ok(manifest(layout, pinned)?.1)
}

fn manifest(layout: &Layout, pinned: &Pinned) -> Result<(String, Manifest), LoadPlanError> {
    let image = pinned.image.to_string();
    let text = record::read(&layout.manifest(&pinned.image, &pinned.digest)).map_err(|error| match error
        .kind()
    {
        std::io::ErrorKind::NotFound => {
            LoadPlanError::NoVersion { image: image.clone(), digest: pinned.digest.to_string() }
        }
        _ => error.into(),
    })?;
    let manifest = Manifest::parse(&text).map_err(|source| LoadPlanError::Manifest { image, source })?;
    Ok((text, manifest))
}

/// Reads a tenant's credentials: those of its directory, and those of the supervisor's own unit.
///
/// # Errors
/// [`LoadPlanError::Credentials`].
pub fn load_credentials(
    layout: &Layout,
    name: &TenantName,
    unit: Option<&Path>,
) -> Result<Vec<Credential>, LoadPlanError> {
    credentials::load(&layout.credentials(name), unit)
        .map_err(|source| LoadPlanError::Credentials { name: name.to_string(), source })
}

/// What an admin has written of a tenant and of its host: its file, its profile, the host's settings and the table of
/// NICs. Read once for a start and handed down, so that what is planned, what is recorded as started and what is done is
/// one thing.
#[derive(Debug)]
pub struct Sources {
    text: String,
    own: Fragment,
    profile: (ProfileName, Fragment),
    host: HostConfig,
    ports: NicTable,
    /// How the files were found.
    found: Vec<(PathBuf, Option<Stamp>)>,
}

/// What a file that is replaced or changed does not keep.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// None where there is no such file.
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        let (file, changed) = ((meta.dev(), meta.ino()), (meta.ctime(), meta.ctime_nsec()));
        Some(Self { file, length: meta.len(), changed })
    }
}

impl Sources {
    /// Reads them.
    ///
    /// # Errors
    /// [`LoadError::NoTenant`] where there is no such tenant, else see [`LoadError`].
    pub fn read(layout: &Layout, name: &TenantName) -> Result<Self, LoadError> {
        // Looked at before they are read: what changes in between is seen as changed.
        let mut found = Vec::new();
        let mut note = |path: PathBuf| {
            let stamp = Stamp::of(&path);
            found.push((path, stamp));
        };
        [layout.tenant_config(name), layout.host_config(), layout.nic_table()]
            .into_iter()
            .for_each(&mut note);
        let text = profile::load_text(layout, name)?;
        let own = profile::parse(layout, name, &text)?;
        let host = profile::load_host(layout)?;
        let ports = profile::load_nic_table(layout)?;
        let profile_name = profile::profile_of(layout, &own, &host)?;
        layout.profile_paths(&profile_name).into_iter().for_each(&mut note);
        let profile = (profile_name.clone(), profile::load_profile(layout, &profile_name)?);
        Ok(Self { text, own, profile, host, ports, found })
    }

    /// Whether the files are as they were read.
    pub fn is_current(&self) -> bool {
        self.found.iter().all(|(path, stamp)| Stamp::of(path) == *stamp)
    }

    /// The text of the tenant's file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Who boots first of many that are started at once: the greater.
    pub fn start_priority(&self) -> u16 {
        let said = self.own.start_priority.or(self.profile.1.start_priority);
        said.or(defaults().start_priority).unwrap_or_default()
    }

    /// Plans the tenant's start, with its allocation and its image as they are now.
    ///
    /// # Errors
    /// See [`LoadPlanError`].
    pub fn plan(
        &self,
        layout: &Layout,
        name: &TenantName,
        facts: &HostFacts,
        unit_cgroup: Option<&Path>,
        credentials: &[Credential],
    ) -> Result<Plan, LoadPlanError> {
        let Self { own, profile: from, host, ports, .. } = self;
        let defaults = host.default_limits(facts, total_memory());
        let tenant = profile::merge(name, own.clone(), from.clone(), host, ports, &defaults)?;
        let allocation = load_allocation(layout, name)?;
        let manifest = load_manifest(layout, &allocation.pinned, host)?;
        let inputs = Inputs {
            layout,
            tenant: &tenant,
            allocation: &allocation,
            manifest: &manifest,
            host,
            facts,
            unit_cgroup,
            credentials,
        };
        plan(&inputs).map_err(|source| LoadPlanError::Plan { name: name.to_string(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_changed_replaced_or_made_are_not_current_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let name: TenantName = "alice".parse().unwrap();
        assert!(matches!(Sources::read(&layout, &name), Err(LoadError::NoTenant(_))));
        let file = layout.tenant_config(&name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "start_priority = 7\n").unwrap();
        let sources = Sources::read(&layout, &name).unwrap();
        assert_eq!((sources.start_priority(), sources.text()), (7, "start_priority = 7\n"));
        assert!(sources.is_current());
        fs::write(&file, "start_priority = 70\n").unwrap();
        assert!(!sources.is_current());
        let sources = Sources::read(&layout, &name).unwrap();
        fs::write(layout.host_config(), "").unwrap();
        assert!(!sources.is_current());
        let sources = Sources::read(&layout, &name).unwrap();
        let profile = layout.profile_paths(&sources.profile.0).into_iter().next().unwrap();
        fs::create_dir_all(profile.parent().unwrap()).unwrap();
        fs::write(&profile, "kind = \"os\"\n").unwrap();
        assert!(!sources.is_current());
    }
}
