//! From a name to a plan: reads every file that [`crate::plan`] needs.

use std::path::Path;

use crate::{
    config::profile::{self, LoadError},
    files::{
        credentials::{self, Credential, CredentialError},
        file_error::FileError,
        layout::Layout,
        record,
    },
    model::{
        allocation::{Allocation, AllocationError},
        facts::{HostFacts, total_memory},
        image::{Manifest, ManifestError},
        name::TenantName,
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
            Self::Config(LoadError::NoProfile(_)) => Some("list the profiles: ls /etc/tenantry/profiles"),
            Self::Config(LoadError::Parse { .. } | LoadError::Invalid { .. }) => {
                Some("correct the file: tenantctl edit NAME")
            }
            Self::Config(LoadError::Host { source, .. }) => Some(source.help()),
            Self::Config(LoadError::Ports { source, .. }) => Some(source.help()),
            Self::NotAllocated(_) => Some("create it through hostd: tenantctl create NAME"),
            Self::NoVersion { .. } => Some("list its versions: rootfsctl list IMAGE"),
            Self::Manifest { .. } => Some("build or import the image again: rootfsctl build"),
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

/// Reads the manifest of the version a tenant is pinned to.
///
/// # Errors
/// [`LoadPlanError::NoVersion`] where the store does not have it.
pub fn load_manifest(layout: &Layout, allocation: &Allocation) -> Result<Manifest, LoadPlanError> {
    let pinned = &allocation.pinned;
    let image = pinned.image.to_string();
    let text = record::read(&layout.manifest(&pinned.image, &pinned.digest)).map_err(|error| match error
        .kind()
    {
        std::io::ErrorKind::NotFound => {
            LoadPlanError::NoVersion { image: image.clone(), digest: pinned.digest.to_string() }
        }
        _ => error.into(),
    })?;
    Manifest::parse(&text).map_err(|source| LoadPlanError::Manifest { image, source })
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

/// Reads everything about a tenant, besides its credentials, and plans its start with these.
///
/// # Errors
/// See [`LoadPlanError`].
pub fn load_plan(
    layout: &Layout,
    name: &TenantName,
    facts: &HostFacts,
    unit_cgroup: Option<&Path>,
    credentials: &[Credential],
) -> Result<Plan, LoadPlanError> {
    let own = profile::load_fragment(layout, name)?;
    let host = profile::load_host(layout)?;
    let (ports, defaults) = (profile::load_ports(layout)?, host.default_limits(facts, total_memory()));
    let tenant = profile::resolve_with(layout, name, own, &host, &ports, &defaults)?;
    let allocation = load_allocation(layout, name)?;
    let manifest = load_manifest(layout, &allocation)?;
    let inputs = Inputs {
        layout,
        tenant: &tenant,
        allocation: &allocation,
        manifest: &manifest,
        host: &host,
        facts,
        unit_cgroup,
        credentials,
    };
    plan(&inputs).map_err(|source| LoadPlanError::Plan { name: name.to_string(), source })
}
