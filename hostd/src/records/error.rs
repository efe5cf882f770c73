//! Why the store cannot do something, and the remedy.

use std::{io, path::PathBuf, sync::Arc};

use rootfs_tools::{Explain as _, Outcome};
use tenant::{
    TenantName,
    apply::remedy,
    config::{self, ConfigError, ParseError, profile::LoadError},
    files::{file_error::FileError, sources::LoadPlanError},
    kernel::{KernelError, source::SourceError},
    model::{
        allocation::{AllocationError, Illegal},
        image::ManifestError,
        path::TenantPath,
    },
    plan::PlanError,
};
use wire::{Code, Failure, chain};

use super::{broken::Broken, copies::CopyError};
use crate::{
    dirs::{mounts, quota::QuotaError, remains::Remains},
    drift::error::DriftError,
};

/// A request that the store refuses or cannot fulfil.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another hostd runs.
    #[error("another hostd is using the store{}", if pid.is_empty() { String::new() } else { format!(" (pid {pid})") })]
    Locked {
        /// Its pid, as far as known.
        pid: String,
    },
    /// No such tenant.
    #[error("there is no tenant {0:?}")]
    NoTenant(String),
    /// The name is in use.
    #[error("tenant {0:?} already exists, with other settings")]
    NameTaken(String),
    /// The record is not whole.
    #[error("tenant {0:?} is only partly removed")]
    HalfRemoved(String),
    /// The record says two names.
    #[error("tenant {0:?} is half renamed")]
    HalfRenamed(String),
    /// Another change of it is under way.
    #[error("tenant {0:?} is being changed by another request")]
    Changing(String),
    /// Its record cannot be used.
    #[error("tenant {tenant:?} is broken: {}", broken.reason)]
    Broken {
        /// The tenant.
        tenant: String,
        /// What is known of it.
        broken: Broken,
    },
    /// The record of a broken tenant cannot be made again.
    #[error("cannot rebuild the record of tenant {tenant:?}: {reason}")]
    Unmendable {
        /// The tenant.
        tenant: String,
        /// Why.
        reason: String,
        /// The remedy; `NAME` stands for the tenant.
        help: &'static str,
    },
    /// The record on the disk is not the one that hostd wrote.
    #[error("{path:?} was changed by another program than hostd")]
    Altered {
        /// The file.
        path: PathBuf,
    },
    /// The host has mounted something in its directories.
    #[error(
        "cannot destroy tenant {tenant:?}: a filesystem is mounted in its directories, at {}",
        mounts::list(points)
    )]
    Mounted {
        /// The tenant.
        tenant: String,
        /// Where.
        points: Vec<PathBuf>,
    },
    /// A tenant is gone, and some of its files are not.
    #[error("tenant {:?} was removed, but some of its files remain", .0.tenant)]
    Remains(#[from] Remains),
    /// hostd ends before all files of a removed tenant are gone.
    #[error("tenant {0:?} was removed; the deletion of its files continues at the next start of hostd")]
    RemovalGoesOn(String),
    /// A configuration file without a tenant.
    #[error("{path:?} already exists, but there is no such tenant")]
    StrayConfig {
        /// The file.
        path: PathBuf,
    },
    /// Credentials without a tenant.
    #[error("there are credentials without a tenant in the way: {path:?}")]
    StrayCredentials {
        /// Their directory.
        path: PathBuf,
    },
    /// The file changed under the caller's hands.
    #[error("the configuration of tenant {0:?} was changed in the meantime")]
    Conflict(String),
    /// A `key=value` that cannot be.
    #[error("cannot {} of {tenant:?}: {}", what_to_set(fault), fault.reason())]
    Setting {
        /// The tenant.
        tenant: String,
        /// What is wrong, and with which key.
        fault: ParseError,
    },
    /// A text that is no configuration.
    #[error("{path:?} is malformed")]
    Config {
        /// The file.
        path: PathBuf,
        /// Its first fault.
        #[source]
        source: ParseError,
    },
    /// A configuration that cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What a plan is made of cannot be used.
    #[error(transparent)]
    LoadPlan(#[from] LoadPlanError),
    /// There is no plan.
    #[error("tenant {tenant:?} cannot be planned")]
    Plan {
        /// The tenant.
        tenant: String,
        /// Why.
        #[source]
        source: PlanError,
    },
    /// An image, a channel or a version that is not available.
    #[error(transparent)]
    Image(#[from] rootfs_tools::store::StoreError),
    /// The manifest of a version is unusable.
    #[error("cannot read the manifest {path:?}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// Something of the host belongs to another tenant.
    #[error("{what} is in use by tenant {:?}{place}", holder.as_str())]
    Held {
        /// What.
        what: String,
        /// Who has it.
        holder: TenantName,
        /// Where that is written down, if not in the tenant's file.
        place: &'static str,
        /// The remedy.
        help: String,
    },
    /// An address that no tenant, or not this one, can have.
    #[error("cannot assign address {address}: {reason}")]
    Address {
        /// The address.
        address: std::net::IpAddr,
        /// Why.
        reason: String,
    },
    /// An interface names a pool that it cannot have.
    #[error("interface \"{nic}\": {reason}")]
    NoPool {
        /// Its name inside.
        nic: String,
        /// Why.
        reason: String,
    },
    /// The table of NICs cannot be changed so.
    #[error("{what}")]
    Port {
        /// What is wrong.
        what: String,
        /// Its kind.
        code: Code,
        /// The remedy.
        help: String,
    },
    /// A pool is used up.
    #[error("{what} are in use")]
    PoolFull {
        /// Which.
        what: String,
    },
    /// The state directory cannot hold tenants.
    #[error("{dir:?} is on a filesystem that does not support tenants (idmapped overlay upper directories)")]
    Storage {
        /// The directory.
        dir: PathBuf,
        /// The step that failed.
        #[source]
        source: Arc<KernelError>,
    },
    /// A version of another image.
    #[error("it is a tenant of image \"{has}\", and {wanted} is a version of another image")]
    OtherImage {
        /// The image that it has.
        has: String,
        /// The version that it would get.
        wanted: String,
    },
    /// It has had no other version.
    #[error("it has had no other version than {0}")]
    NoPrevious(String),
    /// Its root is an install of its own.
    #[error("it has an install of its own, which its image was only the seed of")]
    OwnInstall,
    /// Two versions cannot be compared.
    #[error("cannot compare the versions")]
    Compare(#[source] rootfs_tools::diff::ContentError),
    /// A file of a tenant's own.
    #[error(transparent)]
    Drift(#[from] DriftError),
    /// A copy of a tenant.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// No words for a version, and why.
    #[error("{text:?} does not name a version: {reason}")]
    #[allow(missing_docs)]
    Target { text: String, reason: String },
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A record that cannot be read.
    #[error("cannot use {path:?}")]
    Allocation {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: AllocationError,
    },
    /// A record of another tenant.
    #[error("{path:?} contains the record of tenant {name:?}")]
    Misplaced {
        /// The directory.
        path: PathBuf,
        /// Whose record it is.
        name: String,
    },
    /// A record's state does not admit the request.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The directories cannot be made.
    #[error("cannot create the directories of tenant {tenant:?}")]
    Create {
        /// The tenant.
        tenant: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directories cannot be removed.
    #[error("cannot remove tenant {tenant:?}")]
    Destroy {
        /// The tenant.
        tenant: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory of the host that cannot be given to a tenant.
    #[error("cannot bind a directory of the host at {at}")]
    Bind {
        /// Where the tenant would have it.
        at: TenantPath,
        /// Why not.
        #[source]
        source: SourceError,
    },
    /// What a tenant may store cannot be limited.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// A file cannot be read, written, made or removed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What a pair was to do.
fn what_to_set(fault: &ParseError) -> String {
    fault.key.as_ref().map_or("change the settings".to_owned(), |key| format!("set {key}"))
}

impl StoreError {
    /// A setting that cannot be a tenant's.
    pub(crate) fn setting(tenant: &TenantName) -> impl FnOnce(ParseError) -> Self {
        let tenant = tenant.to_string();
        move |fault| Self::Setting { tenant, fault }
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Create { source, .. } | Self::Destroy { source, .. } => Some(source.kind()),
            Self::Remains(remains) => Some(remains.kind),
            Self::Kernel(source) => Some(source.source.kind()),
            Self::Storage { source, .. } => Some(source.source.kind()),
            Self::File(source) => Some(source.kind()),
            _ => None,
        }
    }

    /// Its machine-readable kind.
    pub fn code(&self) -> Code {
        match self {
            Self::Locked { .. } => Code::Locked,
            Self::NoTenant(_) | Self::Load(LoadError::NoTenant(_)) => Code::NoTenant,
            Self::Load(LoadError::NoProfile { .. }) => Code::NoProfile,
            Self::NameTaken(_) | Self::StrayConfig { .. } | Self::StrayCredentials { .. } => Code::NameTaken,
            Self::HalfRemoved(_) | Self::HalfRenamed(_) | Self::Changing(_) | Self::Mounted { .. } => {
                Code::Busy
            }
            Self::OtherImage { .. } => Code::OtherImage,
            Self::OwnInstall => Code::OwnInstall,
            Self::Drift(error) => error.code(),
            Self::Copy(error) => error.code(),
            Self::Broken { .. } | Self::Unmendable { .. } => Code::Broken,
            Self::Conflict(_) => Code::Conflict,
            Self::Setting { .. } | Self::Config { .. } | Self::Load(_) => Code::Invalid,
            Self::Plan { source: PlanError::Directory { .. } | PlanError::Filter { .. }, .. } => {
                Code::Invalid
            }
            Self::Plan { source: PlanError::Kernel { .. } | PlanError::NoCgroup2, .. } => Code::Unenforceable,
            Self::LoadPlan(LoadPlanError::NoVersion { .. }) | Self::NoPrevious(_) => Code::NoImage,
            Self::LoadPlan(LoadPlanError::Signature(error)) if error.is_refusal() => Code::Untrusted,
            Self::Image(rootfs_tools::store::StoreError::Signature(error)) if error.is_refusal() => {
                Code::Untrusted
            }
            Self::Image(error) => match error.outcome() {
                Outcome::NotFound => Code::NoImage,
                Outcome::Refused => Code::Invalid,
                Outcome::Failed => Code::Failed,
            },
            Self::PoolFull { .. } => Code::PoolFull,
            Self::Held { .. } => Code::Taken,
            Self::Address { .. } | Self::NoPool { .. } | Self::Bind { .. } | Self::Target { .. } => {
                Code::Invalid
            }
            Self::Port { code, .. } => *code,
            Self::Quota(QuotaError::Unenforceable { .. }) => Code::Unenforceable,
            Self::Quota(QuotaError::Running) => Code::Running,
            _ if self.is_full() => Code::DiskFull,
            _ => Code::Failed,
        }
    }

    /// The remedy.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Locked { .. } => "stop it first: systemctl stop hostd",
            Self::NoTenant(_) => "list the tenants: tenantctl list",
            Self::NameTaken(name) => {
                return Some(format!("choose another name, or change it: tenantctl set {name} KEY=VALUE"));
            }
            Self::HalfRemoved(name) => {
                return Some(format!("complete the removal: tenantctl destroy {name}"));
            }
            Self::HalfRenamed(_) => "finish it: start hostd again (systemctl restart hostd)",
            Self::StrayCredentials { .. } => "move the directory away",
            Self::Changing(_) => "try again in a moment",
            Self::Broken { broken, .. } if broken.is_newer => {
                "use the release of Tenantry that wrote it, or a newer one"
            }
            Self::Broken { tenant, .. } => {
                return Some(format!(
                    "rebuild its record: tenantctl doctor --repair; or remove the tenant and its data: \
                     tenantctl destroy {tenant} --force"
                ));
            }
            Self::Unmendable { tenant, help, .. } => return Some(help.replace("NAME", tenant)),
            Self::Mounted { points, .. } => return Some(mounts::remedy(points)),
            Self::Remains(remains) => return Some(remains.help.clone()),
            Self::RemovalGoesOn(_) => "start it: systemctl start hostd",
            Self::StrayConfig { .. } => "move the file away, and pass its settings to tenantctl create --set",
            Self::OtherImage { .. } => "give it that image all the same: --cross-image",
            Self::OwnInstall => "update it from inside, with its own package manager: tenantctl shell NAME",
            Self::NoPrevious(_) => "name a version: tenantctl rebase NAME --to VERSION",
            Self::Target { .. } => {
                "name it as :CHANNEL, IMAGE:CHANNEL, IMAGE@DIGITS or at least 6 hex digits of it"
            }
            Self::Conflict(_) => "reload the configuration and repeat the change",
            Self::Load(LoadError::NoProfile { .. }) => {
                "choose a shipped profile: app, app-plus, os, router, shared-os"
            }
            Self::Load(LoadError::Host { source, .. }) => source.help(),
            Self::Load(LoadError::NicTable { source, .. }) => source.help(),
            Self::Bind { source, .. } => return Some(source.help()),
            Self::Held { help, .. } | Self::Port { help, .. } => return Some(help.clone()),
            Self::Address { .. } => {
                "choose another address, or add a [[pool]] with its network to hostd.toml"
            }
            Self::NoPool { .. } => "correct the [[nic]], or add a [[pool]] of that name to hostd.toml",
            Self::Setting { fault: ParseError { key: Some(key), .. }, .. }
            | Self::Config { source: ParseError { key: Some(key), .. }, .. }
            | Self::Load(LoadError::Invalid { source: ConfigError { key, .. }, .. })
                if config::key(key).is_some() =>
            {
                return config::key(key).map(|known| format!("{} takes {}", known.name, known.range.forms()));
            }
            Self::Setting { .. } | Self::Config { .. } | Self::Load(_) => {
                "see tenant.toml(5) for the keys, and tenantctl explain NAME for the values"
            }
            Self::LoadPlan(error) => return error.help().map(str::to_owned),
            Self::Plan { source, .. } => source.help(),
            Self::Image(error) => return error.help(),
            Self::Drift(error) => return error.help(),
            Self::Copy(error) => return error.help(),
            Self::Quota(error) => error.help(),
            Self::PoolFull { .. } => "destroy tenants, or enlarge the pool in hostd.toml",
            Self::Storage { .. } => "move it to ext4, xfs, btrfs or tmpfs, or choose another --root",
            Self::Manifest { .. } => "check the image: rootfsctl verify",
            Self::Destroy { .. } => "remove the cause and try again: tenantctl destroy",
            Self::Kernel(error) => {
                return remedy(error).or_else(|| self.io_help().map(str::to_owned));
            }
            _ => self.io_help()?,
        };
        Some(text.to_owned())
    }

    fn is_full(&self) -> bool {
        matches!(self.io_kind(), Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    fn io_help(&self) -> Option<&'static str> {
        match self.io_kind()? {
            _ if self.is_full() => {
                Some("nothing was changed; free space or inodes on that filesystem (df, df -i) and try again")
            }
            io::ErrorKind::PermissionDenied => Some("run hostd as root"),
            _ => None,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { code: error.code(), message: chain(&error), help: error.help(), console: Vec::new() }
    }
}
