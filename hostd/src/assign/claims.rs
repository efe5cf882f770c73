//! What tenants take of the host, and who else takes it: addresses, ports, hardware addresses, NICs.
//!
//! What a tenant's file says is kept in memory as [`Claims`], so that a new tenant is compared with a
//! thousand others without reading a file.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use tenant::{
    Allocation, Tenant, TenantName,
    config::{Attachment, Nic},
    model::{
        host::Pool,
        net::{Cidr, Forward, LinkName, Mac},
        nic_table::NicTable,
    },
};

use super::holding::{Holding, Taken};
use crate::records::StoreError;

/// Where an address, or a hardware address, must be the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Everywhere: the host routes to it.
    Routed,
    /// On a bridge or a NIC that several tenants share.
    Shared(LinkName),
    /// Only the tenant is there.
    Own,
}

/// How much of a NIC is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The NIC itself.
    Whole,
    /// One VLAN of it.
    Vlan(u16),
    /// A bridge, or the parent of a macvlan: others may be there, too.
    Shared,
}

impl Part {
    /// Whether two tenants cannot have both.
    fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Whole, _) | (_, Self::Whole) => true,
            (Self::Vlan(own), Self::Vlan(theirs)) => own == theirs,
            (Self::Shared, _) | (_, Self::Shared) => false,
        }
    }
}

/// What one interface takes of a NIC of the host.
pub fn part(nic: &Nic) -> Option<(&LinkName, Part)> {
    let link = nic.attachment.link()?;
    Some(match &nic.attachment {
        Attachment::Phys { .. } => (link, Part::Whole),
        Attachment::Vlan { id, .. } => (link, Part::Vlan(*id)),
        _ => (link, Part::Shared),
    })
}

fn segment(nic: &Nic) -> Segment {
    match &nic.attachment {
        Attachment::Routed { .. } => Segment::Routed,
        Attachment::Bridge { bridge: link, .. } | Attachment::Macvlan { parent: link, .. } => {
            Segment::Shared(link.clone())
        }
        Attachment::Phys { .. } | Attachment::Vlan { .. } => Segment::Own,
    }
}

/// What a tenant's own file, without the host's table of ports, takes of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    addresses: Vec<(Segment, IpAddr)>,
    macs: Vec<(Segment, Mac)>,
    forwards: Vec<Forward>,
    links: Vec<Use>,
    /// Whether an interface has the addresses of the record.
    home: bool,
}

/// What one interface of a tenant takes of a NIC of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The NIC.
    pub link: LinkName,
    /// How much of it.
    pub part: Part,
    /// The interface's name inside.
    pub name: LinkName,
    /// The addresses that its file gives it.
    pub addresses: Vec<Cidr>,
}

/// Something that is held by a tenant which is not in the records as it is held.
#[derive(Clone, Debug)]
pub struct Held {
    /// The tenant.
    pub holder: TenantName,
    /// What the host assigned to it.
    pub holding: Holding,
    /// What its file takes, where that is not among the claims.
    pub claims: Option<Arc<Claims>>,
    /// Why it is not in the records.
    pub why: &'static str,
}

/// What interfaces take of NICs of the host.
pub fn uses(nics: &[Nic]) -> Vec<Use> {
    let of = |nic: &Nic| {
        let (link, part) = part(nic)?;
        let (name, addresses) = (nic.name.clone(), nic.addresses.clone());
        Some(Use { link: link.clone(), part, name, addresses })
    };
    nics.iter().filter_map(of).collect()
}

impl Claims {
    /// The claims of a tenant that was resolved with a table of ports.
    pub fn of(tenant: &Tenant, ports: &NicTable) -> Self {
        let rows = ports.nic.iter().filter(|row| row.tenant == tenant.name).count();
        let own = &tenant.nics[..tenant.nics.len().saturating_sub(rows)];
        let addresses = own
            .iter()
            .flat_map(|nic| nic.addresses.iter().map(move |address| (segment(nic), address.address)));
        Self {
            addresses: addresses.collect(),
            macs: own.iter().filter_map(|nic| Some((segment(nic), nic.mac?))).collect(),
            forwards: tenant.forwards.clone(),
            links: uses(own),
            home: super::leases::home(own).is_some(),
        }
    }

    /// The addresses that the tenant is reached by, one of each family: those of its record if an interface
    /// has them, else its first lease or the first of its file.
    pub fn shown(&self, record: &Allocation) -> [Option<IpAddr>; 2] {
        if self.home {
            return [Some(record.ipv4.into()), Some(record.ipv6.into())];
        }
        let leased = record.leases.iter().flat_map(super::holding::addresses);
        let all: Vec<_> = leased.chain(self.addresses.iter().map(|(_, address)| *address)).collect();
        [true, false].map(|four| all.iter().find(|address| address.is_ipv4() == four).copied())
    }

    /// What the file takes of NICs of the host.
    pub fn links(&self) -> &[Use] {
        &self.links
    }
}

/// Why something is held: its holder's record is damaged.
pub const BROKEN: &str = ", whose record is damaged";
/// Its holder is removed.
pub const GOING: &str = ", which was removed and whose files are still being deleted";
/// Its holder is being made, or changed.
pub const COMING: &str = ", which is being created or changed";

/// The other tenants, as one of them looks at the host.
#[derive(Clone, Copy, Debug)]
pub struct Others<'a> {
    /// The tenant that looks.
    pub name: &'a TenantName,
    /// All records.
    pub records: &'a BTreeMap<TenantName, Allocation>,
    /// What every file takes.
    pub claims: &'a BTreeMap<TenantName, Arc<Claims>>,
    /// What is held besides: by tenants that are being made, changed or removed, or whose records are damaged.
    pub held: &'a [Held],
    /// The table of NICs.
    pub ports: &'a NicTable,
    /// All pools, the default one first.
    pub pools: &'a [Pool],
}

/// A thing of the host that another process has.
fn held(what: String, holder: &TenantName, place: &'static str, help: String) -> StoreError {
    StoreError::Held { what, holder: holder.clone(), place, help }
}

impl<'a> Others<'a> {
    fn claims(&self) -> impl Iterator<Item = (&'a TenantName, &'a Claims)> + use<'a> {
        let name = self.name;
        let others = self.claims.iter().filter(move |(other, _)| *other != name);
        let held = self.held.iter().filter_map(|held| Some((&held.holder, held.claims.as_deref()?)));
        others.map(|(other, claims)| (other, claims.as_ref())).chain(held)
    }

    /// Whether there is such a tenant: one whose record is damaged is one, too.
    fn is_known(&self, name: &TenantName) -> bool {
        self.records.contains_key(name)
            || self.held.iter().any(|held| held.holder == *name && held.why == BROKEN)
    }

    /// Why the holder of an address is not to be found in the records, if it is not.
    fn why(&self, address: IpAddr) -> &'static str {
        let held = self.held.iter().find(|held| held.holding.addresses.contains(&address));
        held.map_or("", |held| held.why)
    }

    fn pool(&self, address: IpAddr) -> Option<&'a Pool> {
        self.pools.iter().find(|pool| pool.contains(address))
    }

    /// The addresses of pools that others have, whatever state their records are in.
    pub fn taken(&self) -> Taken {
        let mut taken = Taken::with_capacity(self.records.len() * 2);
        for (name, claims) in self.claims() {
            let pooled = claims.addresses.iter().filter(|(_, address)| self.pool(*address).is_some());
            taken.extend(pooled.map(|(_, address)| (*address, name.clone())));
        }
        for row in self.rows() {
            taken.extend(row.addresses.iter().map(|address| (address.address, row.tenant.clone())));
        }
        for (name, record) in self.records.iter().filter(|(other, _)| *other != self.name) {
            taken.insert(record.ipv4.into(), name.clone());
            taken.insert(record.ipv6.into(), name.clone());
            let leased = record.leases.iter().flat_map(super::holding::addresses);
            taken.extend(leased.map(|address| (address, name.clone())));
        }
        for held in self.held {
            taken.extend(held.holding.addresses.iter().map(|address| (*address, held.holder.clone())));
        }
        taken
    }

    /// Rows of the table that count: those of other tenants that exist.
    fn rows(&self) -> impl Iterator<Item = &'a tenant::model::nic_table::NicRow> + use<'a> {
        let own = *self;
        self.ports.nic.iter().filter(move |row| row.tenant != *own.name && own.is_known(&row.tenant))
    }

    /// Looks whether a tenant asks for something that is not there or not free.
    ///
    /// # Errors
    /// [`StoreError::Held`] with the holder, [`StoreError::Address`].
    pub fn check(&self, tenant: &Tenant, taken: &Taken) -> Result<(), StoreError> {
        for nic in &tenant.nics {
            self.check_link(tenant, nic)?;
            self.check_mac(nic)?;
            for address in &nic.addresses {
                self.check_address(nic, address.address, taken)?;
            }
        }
        let mut addresses: Vec<IpAddr> = Vec::new();
        if let Some(record) =
            self.records.get(self.name).filter(|_| super::leases::home(&tenant.nics).is_some())
        {
            addresses.extend([IpAddr::V4(record.ipv4), IpAddr::V6(record.ipv6)]);
        }
        addresses.extend(tenant.nics.iter().flat_map(|nic| nic.addresses.iter().map(|own| own.address)));
        for (number, address) in addresses.iter().enumerate() {
            if addresses[..number].contains(address) && self.pool(*address).is_some() {
                let reason = "another interface of this tenant uses it".to_owned();
                return Err(StoreError::Address { address: *address, reason });
            }
        }
        for forward in &tenant.forwards {
            let same =
                |other: &&Forward| (other.protocol, other.host_port) == (forward.protocol, forward.host_port);
            if let Some((holder, _)) =
                self.claims().find(|(_, claims)| claims.forwards.iter().any(|f| same(&f)))
            {
                let what = format!("port {}/{} of the host", forward.host_port, forward.protocol);
                return Err(held(what, holder, "", "forward another port of the host".to_owned()));
            }
        }
        Ok(())
    }

    fn check_link(&self, tenant: &Tenant, nic: &Nic) -> Result<(), StoreError> {
        let Some((link, own)) = part(nic) else { return Ok(()) };
        let what = |theirs: Part| match (own, theirs) {
            (Part::Vlan(id), Part::Vlan(_)) => format!("VLAN {id} of NIC \"{link}\""),
            (_, Part::Vlan(id)) => format!("NIC \"{link}\" (its VLAN {id})"),
            _ => format!("NIC \"{link}\""),
        };
        for (holder, claims) in self.claims() {
            let clash = claims.links.iter().find(|theirs| theirs.link == *link && own.excludes(theirs.part));
            if let Some(theirs) = clash {
                let help = format!("remove it from that tenant's file first: tenantctl edit {holder}");
                return Err(held(what(theirs.part), holder, "", help));
            }
        }
        for row in self.rows().filter(|row| row.link == *link) {
            let theirs = row.vlan.map_or(Part::Whole, Part::Vlan);
            if own.excludes(theirs) {
                let vlan = row.vlan.map(|id| format!(".{id}")).unwrap_or_default();
                let help = format!("unassign it first: tenantctl nics unset {link}{vlan}");
                return Err(held(what(theirs), &row.tenant, " in nics.toml", help));
            }
        }
        let own_links = tenant.nics.iter().filter_map(part).filter(|(other, _)| *other == link);
        if own_links.filter(|(_, other)| own.excludes(*other)).count() > 1 {
            let help = "list it only once: tenantctl edit NAME; show the host's table: tenantctl nics";
            return Err(held(what(own), self.name, " already", help.to_owned()));
        }
        Ok(())
    }

    fn check_mac(&self, nic: &Nic) -> Result<(), StoreError> {
        let Some(mac) = nic.mac else { return Ok(()) };
        let segment = segment(nic);
        if segment == Segment::Own {
            return Ok(());
        }
        let same =
            |claims: &Claims| claims.macs.iter().any(|(place, other)| *other == mac && *place == segment);
        match self.claims().find(|(_, claims)| same(claims)) {
            Some((holder, _)) => {
                let what = format!("hardware address {mac}");
                Err(held(what, holder, "", "choose another `mac`, or omit it".to_owned()))
            }
            None => Ok(()),
        }
    }

    fn check_address(&self, nic: &Nic, address: IpAddr, taken: &Taken) -> Result<(), StoreError> {
        let refuse = |reason| Err(StoreError::Address { address, reason });
        let pool = self.pool(address);
        let holder = match pool {
            Some(pool) => {
                if let Some(why) = pool.reserves(address) {
                    // A router's NIC may well be the gateway of a network.
                    if segment(nic) != Segment::Own || why != "is the gateway" {
                        return refuse(format!("it {why} of pool {:?}", pool.name.as_str()));
                    }
                }
                taken.get(&address)
            }
            None if segment(nic) == Segment::Routed => {
                let pools = self.pools.iter();
                let pools: Vec<_> =
                    pools.map(|pool| format!("{:?} ({})", pool.name.as_str(), pool.networks())).collect();
                return refuse(format!("it is not in any pool of this host: {}", pools.join(", ")));
            }
            None => {
                let here = |claims: &Claims| {
                    claims.addresses.iter().any(|(place, other)| *other == address && *place == segment(nic))
                };
                let shared = segment(nic) != Segment::Own;
                self.claims().find(|(_, claims)| shared && here(claims)).map(|(holder, _)| holder)
            }
        };
        match holder {
            Some(holder) => {
                let help = format!(
                    "choose another address; show those of the other tenant: tenantctl show {holder}"
                );
                Err(held(format!("address {address}"), holder, self.why(address), help))
            }
            None => Ok(()),
        }
    }
}
