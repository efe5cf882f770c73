//! Network interfaces: what a `[[nic]]` table may say in each mode.

use std::net::IpAddr;

use super::{
    error::{ConfigError, in_range},
    nic_fragment::NicFragment,
    words::{MacvlanMode, NicMode},
};
use crate::model::{
    host::PoolName,
    net::{Cidr, InvalidWord, LinkName, Mac, Route},
};

/// What an interface is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// The host, which routes.
    Routed {
        /// The pool of its addresses; none means the host's default pool, or none when it has addresses
        /// of its own.
        pool: Option<PoolName>,
    },
    /// A bridge of the host.
    Bridge {
        /// Which.
        bridge: LinkName,
        /// The pool of its addresses.
        pool: Option<PoolName>,
    },
    /// A NIC of the host that it shares.
    Macvlan {
        /// Which.
        parent: LinkName,
        /// Whom it reaches there.
        mode: MacvlanMode,
        /// The pool of its addresses.
        pool: Option<PoolName>,
    },
    /// A NIC of the host that it has for itself.
    Phys {
        /// Which.
        nic: LinkName,
    },
    /// A VLAN of a NIC of the host.
    Vlan {
        /// The NIC.
        parent: LinkName,
        /// The tag, 1 to 4094.
        id: u16,
    },
}

impl Attachment {
    /// The pool that is named.
    pub fn pool(&self) -> Option<&PoolName> {
        match self {
            Self::Routed { pool } | Self::Bridge { pool, .. } | Self::Macvlan { pool, .. } => pool.as_ref(),
            Self::Phys { .. } | Self::Vlan { .. } => None,
        }
    }

    /// The host's interface it needs.
    pub fn link(&self) -> Option<&LinkName> {
        match self {
            Self::Routed { .. } => None,
            Self::Bridge { bridge: link, .. }
            | Self::Macvlan { parent: link, .. }
            | Self::Phys { nic: link }
            | Self::Vlan { parent: link, .. } => Some(link),
        }
    }
}

/// One network interface of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// What it is connected to.
    pub attachment: Attachment,
    /// Its name inside.
    pub name: LinkName,
    /// More names inside, each at most 127 bytes.
    pub altnames: Vec<String>,
    /// Its MTU in bytes, 1280 to 65,535; none is as it comes: 1500 for a veth, else the parent's.
    pub mtu: Option<u32>,
    /// Its hardware address; none is one made from the tenant's uuid, or the NIC's own.
    pub mac: Option<Mac>,
    /// Addresses that are given, not taken from a pool.
    pub addresses: Vec<Cidr>,
    /// Default gateways, at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// Routes besides.
    pub routes: Vec<Route>,
}

/// The interfaces of the fragments; those of mode `none` are left out.
pub(super) fn nics(fragments: Vec<NicFragment>) -> Result<Vec<Nic>, ConfigError> {
    in_range("nic", fragments.len(), 0, 64)?;
    let mut nics: Vec<Nic> = Vec::new();
    for fragment in fragments {
        let key = format!("nic[{}]", nics.len());
        let fallback = format!("eth{}", nics.len());
        if let Some(nic) = nic(&key, &fallback, fragment)? {
            if nics.iter().any(|other| other.name == nic.name) {
                let reason = format!("two interfaces are named \"{}\"", nic.name);
                return Err(ConfigError::new(format!("{key}.name"), reason));
            }
            nics.push(nic);
        }
    }
    Ok(nics)
}

fn nic(key: &str, fallback: &str, fragment: NicFragment) -> Result<Option<Nic>, ConfigError> {
    let error = |part: &str, reason: String| ConfigError::new(format!("{key}.{part}"), reason);
    let Some(attachment) = attachment(key, &fragment)? else { return Ok(None) };
    let name = match &fragment.name {
        Some(name) => name.parse().map_err(|bad: InvalidWord| error("name", bad.to_string()))?,
        None => fallback.parse().expect("a numbered name is valid"),
    };
    let mtu = fragment.mtu.map(|mtu| in_range(&format!("{key}.mtu"), mtu, 1280, 65_535)).transpose()?;
    let altnames = fragment.altnames.unwrap_or_default();
    in_range(&format!("{key}.altnames"), altnames.len(), 0, 8)?;
    for altname in &altnames {
        let good = (1..=127).contains(&altname.len())
            && altname.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !good {
            return Err(error("altnames", format!("{altname:?} is not a name for an interface")));
        }
    }
    let addresses = fragment.addresses.unwrap_or_default();
    in_range(&format!("{key}.addresses"), addresses.len(), 0, 32)?;
    for (number, address) in addresses.iter().enumerate() {
        let ip = address.address;
        if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
            return Err(error("addresses", format!("{ip} cannot be used as the address of an interface")));
        }
        if addresses[..number].iter().any(|other| other.address == ip) {
            return Err(error("addresses", format!("{ip} is listed twice")));
        }
    }
    if attachment.pool().is_some()
        && !addresses.is_empty()
        && !matches!(attachment, Attachment::Routed { .. })
    {
        return Err(error("addresses", "`pool` and `addresses` exclude each other".to_owned()));
    }
    let gateways = fragment.gateways.unwrap_or_default();
    let routes = fragment.routes.unwrap_or_default();
    if gateways.iter().filter(|gateway| gateway.is_ipv4()).count() > 1
        || gateways.iter().filter(|gateway| gateway.is_ipv6()).count() > 1
    {
        return Err(error("gateways", "only one default gateway per address family is possible".to_owned()));
    }
    if matches!(attachment, Attachment::Routed { .. }) && !gateways.is_empty() {
        return Err(error("gateways", "on a routed interface the gateway is always the host".to_owned()));
    }
    in_range(&format!("{key}.routes"), routes.len(), 0, 64)?;
    let mac = fragment.mac;
    Ok(Some(Nic { attachment, name, altnames, mtu, mac, addresses, gateways, routes }))
}

fn attachment(key: &str, fragment: &NicFragment) -> Result<Option<Attachment>, ConfigError> {
    let mode = fragment.mode;
    let stray = |part: &str, present: bool| match present {
        true => Err(ConfigError::new(
            format!("{key}.{part}"),
            format!("it cannot be used with mode = \"{}\"", mode.word()),
        )),
        false => Ok(()),
    };
    let link = || {
        let what = match mode {
            NicMode::Bridge => "the bridge of the host",
            NicMode::Phys => "the NIC of the host",
            _ => "the parent NIC of the host",
        };
        fragment
            .link
            .clone()
            .ok_or_else(|| ConfigError::new(format!("{key}.link"), format!("it is required: {what}")))
    };
    stray("macvlan", fragment.macvlan.is_some() && mode != NicMode::Macvlan)?;
    stray("vlan", fragment.vlan.is_some() && mode != NicMode::Vlan)?;
    stray("link", fragment.link.is_some() && matches!(mode, NicMode::Routed | NicMode::None))?;
    let no_pool = matches!(mode, NicMode::Phys | NicMode::Vlan | NicMode::None);
    stray("pool", fragment.pool.is_some() && no_pool)?;
    let pool = fragment.pool.clone();
    Ok(Some(match mode {
        NicMode::Routed => Attachment::Routed { pool },
        NicMode::Bridge => Attachment::Bridge { bridge: link()?, pool },
        NicMode::Macvlan => {
            Attachment::Macvlan { parent: link()?, mode: fragment.macvlan.unwrap_or_default(), pool }
        }
        NicMode::Phys => Attachment::Phys { nic: link()? },
        NicMode::Vlan => {
            let id = fragment.vlan.ok_or_else(|| {
                ConfigError::new(format!("{key}.vlan"), "it is required: the VLAN tag, 1 to 4094")
            })?;
            Attachment::Vlan { parent: link()?, id: in_range(&format!("{key}.vlan"), id, 1, 4094)? }
        }
        NicMode::None => return Ok(None),
    }))
}
