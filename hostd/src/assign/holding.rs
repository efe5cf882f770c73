//! What a tenant has of the host by its record: numbers and addresses.

use std::{collections::HashMap, net::IpAddr};

use tenant::{
    Allocation, TenantName,
    model::{
        allocation::Lease,
        ids::{Index, UidRange},
    },
};

/// What a record assigns by number, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The tenant's number.
    pub index: Option<Index>,
    /// Its uid range.
    pub uid_base: Option<UidRange>,
    /// Its addresses, leases included.
    pub addresses: Vec<IpAddr>,
}

impl Holding {
    /// What a record that can be read assigns.
    pub fn of(record: &Allocation) -> Self {
        let leased = record.leases.iter().flat_map(addresses);
        Self {
            index: Some(record.index),
            uid_base: Some(record.uid_base),
            addresses: [record.ipv4.into(), record.ipv6.into()].into_iter().chain(leased).collect(),
        }
    }
}

/// Who has which address.
pub type Taken = HashMap<IpAddr, TenantName>;

/// The addresses of a lease.
pub fn addresses(lease: &Lease) -> impl Iterator<Item = IpAddr> + use<> {
    lease.ipv4.map(IpAddr::V4).into_iter().chain(lease.ipv6.map(IpAddr::V6))
}
