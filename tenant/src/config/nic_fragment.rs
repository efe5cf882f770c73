//! What one `[[nic]]` table says.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::words::{MacvlanMode, NicMode};
use crate::model::{
    host::PoolName,
    net::{Cidr, LinkName, Mac, Route},
};

/// One `[[nic]]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicFragment {
    /// How it is connected.
    pub mode: NicMode,
    /// Its name inside; `eth0`, `eth1`, … if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its MTU in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its hardware address; one that stays the same if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// More names inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altnames: Option<Vec<String>>,
    /// The bridge, the parent, or the host's NIC itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkName>,
    /// Mode of a macvlan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macvlan: Option<MacvlanMode>,
    /// Tag of a VLAN, 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The pool its addresses come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<Cidr>>,
    /// Its default gateways, at most one of each family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<IpAddr>>,
    /// Its routes besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
}

impl NicFragment {
    /// An interface of a mode with nothing else said.
    pub fn new(mode: NicMode) -> Self {
        Self {
            mode,
            name: None,
            mtu: None,
            mac: None,
            altnames: None,
            link: None,
            macvlan: None,
            vlan: None,
            pool: None,
            addresses: None,
            gateways: None,
            routes: None,
        }
    }
}
