//! `nics.toml`: reading it together with the tenants' files, and changing single rows of it.

use tenant::{
    TenantName,
    config::profile::{self, LoadError},
    files::record::{self, Durability},
    model::{
        net::{Cidr, LinkName},
        nic_table::{NicRow, NicTable, NicTableError},
    },
};
use wire::Code;

use super::{
    claims::{Part, Use, uses},
    nic_rows::{put, refuse, remove},
};
use crate::records::{Change, Store, StoreError, guard::held};

/// A NIC, or a VLAN of one, and whom it is given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The NIC.
    pub link: LinkName,
    /// How much of it.
    pub part: Part,
    /// The tenant.
    pub tenant: TenantName,
    /// Whether there is such a tenant.
    pub is_known: bool,
    /// Its name inside, where one is said.
    pub name: Option<LinkName>,
    /// The addresses it is given.
    pub addresses: Vec<Cidr>,
    /// Whether it stands in `nics.toml`, not in the tenant's file.
    pub in_table: bool,
}

impl Store {
    /// The table of NICs, read again.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn nic_table(&self) -> Result<NicTable, StoreError> {
        Ok(profile::load_nic_table(&self.layout)?)
    }

    /// Every NIC and VLAN that a tenant has for itself: the rows of the table, then what stands in the
    /// tenants' files, which are read again.
    ///
    /// # Errors
    /// A table that cannot be used.
    pub fn given(&self) -> Result<Vec<Given>, StoreError> {
        let (table, records) = (self.nic_table()?, self.records());
        let mut given: Vec<_> = table
            .nic
            .iter()
            .map(|row| Given {
                link: row.link.clone(),
                part: row.vlan.map_or(Part::Whole, Part::Vlan),
                tenant: row.tenant.clone(),
                is_known: records.contains_key(&row.tenant),
                name: row.name.clone(),
                addresses: row.addresses.clone(),
                in_table: true,
            })
            .collect();
        self.read_all_claims(&records.keys().cloned().collect::<Vec<_>>());
        let claims = self.claims();
        for name in records.keys() {
            let own = claims.get(name).map(|claims| claims.links()).unwrap_or_default();
            given.extend(own.iter().filter(|own| own.part != Part::Shared).map(|own| Given {
                link: own.link.clone(),
                part: own.part,
                tenant: name.clone(),
                is_known: true,
                name: Some(own.name.clone()),
                addresses: own.addresses.clone(),
                in_table: false,
            }));
        }
        Ok(given)
    }

    /// The NICs of the host that a tenant was last started with; those of its configuration where this
    /// hostd has not started it.
    pub fn started_with(&self, name: &TenantName) -> Vec<Use> {
        let known = held(&self.started).get(name).cloned();
        known.unwrap_or_else(|| self.tenant(name).map(|tenant| uses(&tenant.nics)).unwrap_or_default())
    }

    /// Gives a NIC, or a VLAN of one, to a tenant, in the table. `has` tells whether a tenant runs with it.
    ///
    /// # Errors
    /// A process has it, or the tenant would have no valid configuration; nothing is changed then.
    pub fn set_nic(
        &self,
        row: &NicRow,
        has: impl Fn(&TenantName, &LinkName, Part) -> bool,
    ) -> Result<Change, StoreError> {
        let part = row.vlan.map_or(Part::Whole, Part::Vlan);
        self.edit_table(|text, table| {
            let old = table.nic.iter().find(|old| old.link == row.link && old.vlan == row.vlan);
            if let Some(old) = old.filter(|old| *old != row && has(&old.tenant, &row.link, part)) {
                return Err(running(old));
            }
            if old == Some(row) { Ok(None) } else { put(text, row).map(Some) }
        })
    }

    /// Takes a NIC, or a VLAN of one, away from a process that has it, in the table. `has` tells whether a tenant
    /// runs with it.
    ///
    /// # Errors
    /// A running tenant has it; nothing is changed then.
    pub fn unset_nic(
        &self,
        link: &LinkName,
        vlan: Option<u16>,
        has: impl Fn(&TenantName, &LinkName, Part) -> bool,
    ) -> Result<Change, StoreError> {
        let part = vlan.map_or(Part::Whole, Part::Vlan);
        self.edit_table(|text, table| {
            let Some(old) = table.nic.iter().find(|old| old.link == *link && old.vlan == vlan) else {
                return Ok(None);
            };
            if has(&old.tenant, link, part) {
                return Err(running(old));
            }
            remove(text, link, vlan)
        })
    }

    /// Changes the text of the table, checks the new one with every tenant that it names, and writes it.
    fn edit_table(
        &self,
        edit: impl FnOnce(&str, &NicTable) -> Result<Option<String>, StoreError>,
    ) -> Result<Change, StoreError> {
        // The table is one file for all: what it says is decided, and written, by one at a time.
        let writer = self.decide();
        let path = self.layout.nic_table();
        let text = match record::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let old = self.nic_table()?;
        let Some(new) = edit(&text, &old)? else { return Ok(Change::Unchanged) };
        let table = NicTable::parse(&new).map_err(|source| match source {
            NicTableError::Twice { .. } => refuse(source.to_string(), Code::Taken, source.help()),
            source => LoadError::NicTable { file: path.display().to_string(), source }.into(),
        })?;
        let config = self.host_config()?;
        let records = self.records();
        for row in table.nic.iter().filter(|row| !old.nic.contains(row)) {
            if !records.contains_key(&row.tenant) {
                return Err(StoreError::NoTenant(row.tenant.to_string()));
            }
            let text = self.config_text(&row.tenant)?;
            let tenant = self.resolve(&row.tenant, &text, &config, &table)?;
            self.check_claims(&writer, &tenant, &config, &table)?;
        }
        record::write(&path, new.as_bytes(), Durability::Durable)?;
        Ok(Change::Changed)
    }
}

fn running(row: &NicRow) -> StoreError {
    let what = format!("{} is in use by tenant {:?}, which is running", row.what(), row.tenant.as_str());
    refuse(what, Code::Running, format!("stop it first: tenantctl stop {}", row.tenant))
}

#[cfg(test)]
mod tests {
    use super::{super::nic_rows::HEADER, *};

    fn row(link: &str, vlan: Option<u16>, tenant: &str, name: Option<&str>, addresses: &[&str]) -> NicRow {
        NicRow {
            link: link.parse().unwrap(),
            vlan,
            tenant: tenant.parse().unwrap(),
            name: name.map(|name| name.parse().unwrap()),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn rows_come_and_go_and_comments_stay() {
        let text = "# ours\n\n[[nic]]\nlink = \"eth1\" # left\ntenant = \"edge\" # the first\n";
        let changed = put(text, &row("eth1", None, "core", Some("wan"), &["10.0.0.1/24"])).unwrap();
        assert_eq!(
            changed,
            "# ours\n\n[[nic]]\nlink = \"eth1\" # left\ntenant = \"core\" # the first\nname = \"wan\"\n\
             addresses = [\"10.0.0.1/24\"]\n"
        );
        let added = put(text, &row("eth2", Some(100), "core", None, &[])).unwrap();
        assert!(added.starts_with(text), "{added}");
        let table = NicTable::parse(&added).unwrap();
        assert_eq!(table.nic[1], row("eth2", Some(100), "core", None, &[]));
        let link: LinkName = "eth2".parse().unwrap();
        assert_eq!(remove(&added, &link, None).unwrap(), None);
        assert_eq!(remove(&added, &link, Some(100)).unwrap().unwrap(), text);
        let plain = put(&changed, &row("eth1", None, "core", None, &[])).unwrap();
        assert!(!plain.contains("wan") && !plain.contains("addresses"), "{plain}");
    }

    #[test]
    fn a_file_with_the_old_key_keeps_it() {
        let old = "[[port]]\nlink = \"eth1\"\ntenant = \"edge\"\n";
        let added = put(old, &row("eth2", None, "core", None, &[])).unwrap();
        assert!(added.starts_with(old) && !added.contains("[[nic]]"), "{added}");
        assert_eq!(NicTable::parse(&added).unwrap().nic.len(), 2);
        assert_eq!(remove(&added, &"eth2".parse().unwrap(), None).unwrap().unwrap(), old);
    }

    #[test]
    fn the_first_row_makes_a_table_and_the_last_one_leaves_none() {
        let one = put("", &row("eth1", None, "edge", None, &[])).unwrap();
        assert_eq!(NicTable::parse(&one).unwrap().nic.len(), 1);
        let none = remove(&one, &"eth1".parse().unwrap(), None).unwrap().unwrap();
        assert!(NicTable::parse(&none).unwrap().nic.is_empty(), "{none}");
        assert!(none.starts_with(HEADER), "{none}");
        assert!(put("port = [{ link = \"e\", tenant = \"t\" }]", &row("x", None, "t", None, &[])).is_err());
    }
}
