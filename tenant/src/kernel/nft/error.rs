//! Why the packet filter is not as it should be.

/// Why the packet filter is not as it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FilterError {
    /// There is no nft(8).
    #[error("it is not installed")]
    NotInstalled,
    /// A port of the host is forwarded already.
    #[error("it is already forwarded to {0}")]
    Taken(String),
    /// What nft says first.
    #[error("nft: {0}")]
    Said(String),
}

impl FilterError {
    /// The remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotInstalled => {
                "install it: apt-get install nftables; or disable the filter: filter = \"none\" in hostd.toml"
            }
            Self::Taken(_) => "choose another port: tenantctl set NAME ports=HOST:TENANT/tcp",
            Self::Said(_) => "check and repair the tables: tenantctl doctor --repair",
        }
    }
}
