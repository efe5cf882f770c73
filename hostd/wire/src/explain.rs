//! Where each value of a tenant comes from.

use serde::{Deserialize, Serialize};

/// Who decided a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The tenant's own file.
    Tenant,
    /// Its profile.
    Profile,
    /// The image.
    Image,
    /// None: the default.
    Default,
    /// The host's own settings.
    Host,
    /// The host's table of NICs, `nics.toml`.
    Nics,
    /// hostd, when it made the tenant.
    Allocation,
}

impl Source {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Profile => "profile",
            Self::Image => "image",
            Self::Default => "default",
            Self::Host => "host",
            Self::Nics => "nics",
            Self::Allocation => "allocation",
        }
    }
}

/// One value of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explained {
    /// The key, e.g. `memory_max` or `dirs."/etc"`.
    pub key: String,
    /// Its value, as it would be written in a file.
    pub value: String,
    /// Who decided it.
    pub source: Source,
    /// What becomes of it on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
