//! The configuration of a tenant, in three types: a [`Fragment`] is what one file says, two of them
//! are merged, and a [`Tenant`] is what came out valid. After that no code checks again.

mod fragment;
mod parse;
mod policy;
mod validate;

use std::{collections::BTreeMap, time::Duration};

pub use fragment::{Fragment, NicFragment};
pub use parse::{ParseError, parse_toml, set};
pub use policy::Policy;
pub use validate::{ConfigError, Signal};

use crate::{
    image::{ImageRef, ProfileName, Ready},
    limits::Limits,
    name::TenantName,
    path::TenantPath,
};

/// The kind of use a tenant is made for; a profile is of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A whole system over the shared root.
    SharedOs,
    /// A separate install: the image is only the seed.
    Os,
    /// One application and the files it needs.
    App,
    /// An application with a minimal system around it.
    AppPlus,
    /// A tenant that forwards packets between its NICs.
    Router,
}

/// How the tenant's `/` is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootMode {
    /// A small tmpfs with one mount per top-level directory.
    Skeleton,
    /// One writable overlay over the whole image.
    Overlay,
}

/// How a network interface is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NicMode {
    /// A veth pair with host routes.
    Routed,
    /// Loopback only.
    None,
}

/// One network interface of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// How it is connected; never [`NicMode::None`].
    pub mode: NicMode,
    /// Its name inside, 1 to 15 bytes.
    pub name: String,
    /// Its MTU in bytes, 1280 to 65,535.
    pub mtu: u32,
}

/// A validated tenant: profile and tenant file merged, every value in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// The profile it was merged with.
    pub profile: ProfileName,
    /// The kind of that profile.
    pub kind: Kind,
    /// The image it wants; the allocation says which version it has.
    pub image: ImageRef,
    /// Its host name, see hostname(7).
    pub hostname: String,
    /// Whether it starts with the host.
    pub autostart: bool,
    /// Argument vector of init; none means the image's.
    pub init: Option<Vec<String>>,
    /// Environment of init, besides what `CONTAINER_INTERFACE` demands.
    pub env: BTreeMap<String, String>,
    /// Signal that asks init to power off; none means the image's.
    pub stop_signal: Option<Signal>,
    /// How long init has to end after it.
    pub stop_timeout: Duration,
    /// How long init has until it is ready.
    pub start_timeout: Duration,
    /// When it counts as started; none means as the image says.
    pub ready: Option<Ready>,
    /// Number of ttys besides the console, 0 to 63.
    pub ttys: u8,
    /// Most pseudoterminals inside, its console and ttys included.
    pub pts_max: u32,
    /// Login program for ttys; none means the image's.
    pub getty: Option<Vec<String>>,
    /// Largest size of a console log, bytes.
    pub console_log: u64,
    /// How `/` is put together.
    pub root: RootMode,
    /// What each directory is; directories of the image that are not named here are `shared`.
    pub dirs: BTreeMap<TenantPath, Policy>,
    /// Its limits.
    pub limits: Limits,
    /// Most cgroups inside.
    pub cgroups_max: u32,
    /// Its interfaces, in order.
    pub nics: Vec<Nic>,
}
