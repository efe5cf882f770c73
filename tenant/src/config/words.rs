//! The words that values of a tenant's file may be.

use serde::{Deserialize, Serialize};

/// The kind of use a tenant is made for; a profile is of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl Kind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SharedOs => "shared-os",
            Self::Os => "os",
            Self::App => "app",
            Self::AppPlus => "app-plus",
            Self::Router => "router",
        }
    }
}

/// Whether systemd starts a tenant again after its end, see `Restart=` in systemd.service(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Unless it powered off, or was stopped.
    #[default]
    OnFailure,
    /// Never.
    No,
    /// Also after it powered off; not after it was stopped.
    Always,
}

/// How the tenant's `/` is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootMode {
    /// A small tmpfs with one mount per top-level directory.
    Skeleton,
    /// One writable overlay over the whole image.
    Overlay,
    /// A small tmpfs with only the paths of the image that are listed.
    Paths,
}

/// How a network interface is connected, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NicMode {
    /// A veth pair with host routes.
    Routed,
    /// A veth pair whose host end is a port of a bridge.
    Bridge,
    /// A macvlan on a NIC of the host.
    Macvlan,
    /// A NIC of the host, moved in.
    Phys,
    /// A tagged sub-interface of a NIC of the host, moved in.
    Vlan,
    /// Loopback only.
    None,
}

/// Whom a macvlan reaches on its own parent, see ip-link(8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// The other macvlans of the parent.
    #[default]
    Bridge,
    /// None of them.
    Private,
    /// Those that an outer switch sends back.
    Vepa,
}

impl NicMode {
    /// As a tenant's file writes it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Phys => "phys",
            Self::Vlan => "vlan",
            Self::None => "none",
        }
    }
}
