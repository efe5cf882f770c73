//! `/etc/tenantry/nics.toml`: which tenant holds which NIC or VLAN of the host.
//!
//! One table for the whole host, so that a NIC is visibly in one place. Its rows become interfaces of the
//! tenant they name, behind those of its own file.

use serde::{Deserialize, Serialize};

use crate::{
    config::{NicFragment, NicMode, ParseError, parse_toml},
    model::{
        name::TenantName,
        net::{Cidr, LinkName},
    },
};

/// One row: a NIC, or one VLAN of it, and who has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicRow {
    /// The NIC of the host.
    pub link: LinkName,
    /// Only this VLAN of it, 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The tenant.
    pub tenant: TenantName,
    /// Its name inside; the next free `ethN` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<LinkName>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Cidr>,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NicTable {
    /// Its rows, in the order in which tenants get them. Earlier releases called them `port`.
    #[serde(alias = "port")]
    pub nic: Vec<NicRow>,
}

/// A table that gives something twice.
#[derive(Debug, thiserror::Error)]
pub enum NicTableError {
    /// Not such a file.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Two rows for the same NIC or VLAN, or a VLAN of a NIC that is given away whole.
    #[error("{link} is assigned to both {first:?} and {second:?}")]
    Twice {
        /// NIC or NIC and tag.
        link: String,
        /// The tenant of the earlier row.
        first: String,
        /// The tenant of the later row.
        second: String,
    },
    /// A tag that does not exist.
    #[error("VLAN {0} is outside 1 to 4094")]
    Vlan(u16),
}

impl NicTableError {
    /// The remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Parse(_) => "correct the file, see nics.toml(5)",
            Self::Twice { .. } => {
                "remove one of the two rows: a NIC or VLAN can be assigned to one tenant only"
            }
            Self::Vlan(_) => "correct the row; without `vlan` it assigns the whole NIC",
        }
    }
}

impl NicRow {
    /// What is given: `eth1`, or `eth1 VLAN 100`.
    pub fn what(&self) -> String {
        match self.vlan {
            Some(vlan) => format!("{} VLAN {vlan}", self.link),
            None => self.link.to_string(),
        }
    }

    /// The row as an interface of its tenant.
    pub fn nic(&self) -> NicFragment {
        NicFragment {
            name: self.name.as_ref().map(ToString::to_string),
            link: Some(self.link.clone()),
            vlan: self.vlan,
            addresses: Some(self.addresses.clone()),
            ..NicFragment::new(if self.vlan.is_some() { NicMode::Vlan } else { NicMode::Phys })
        }
    }
}

impl NicTable {
    /// Parses `nics.toml`.
    ///
    /// # Errors
    /// See [`NicTableError`].
    pub fn parse(text: &str) -> Result<Self, NicTableError> {
        let table: Self = parse_toml(text)?;
        for (number, row) in table.nic.iter().enumerate() {
            if let Some(vlan) = row.vlan.filter(|vlan| !(1..=4094).contains(vlan)) {
                return Err(NicTableError::Vlan(vlan));
            }
            let clashes = |other: &&NicRow| {
                other.link == row.link
                    && (other.vlan == row.vlan || other.vlan.is_none() || row.vlan.is_none())
            };
            if let Some(other) = table.nic[..number].iter().find(clashes) {
                return Err(NicTableError::Twice {
                    link: row.what(),
                    first: other.tenant.to_string(),
                    second: row.tenant.to_string(),
                });
            }
        }
        Ok(table)
    }

    /// The interfaces of one tenant, in order.
    pub fn nics(&self, tenant: &TenantName) -> Vec<NicFragment> {
        self.nic.iter().filter(|row| row.tenant == *tenant).map(NicRow::nic).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gives_each_nic_to_one_tenant() {
        let table = NicTable::parse(
            "[[nic]]\nlink = \"eth1\"\ntenant = \"edge\"\nname = \"wan\"\n\
             [[nic]]\nlink = \"eth2\"\nvlan = 100\ntenant = \"edge\"\n\
             [[nic]]\nlink = \"eth2\"\nvlan = 200\ntenant = \"core\"\n",
        )
        .unwrap();
        let edge: Vec<_> =
            table.nics(&"edge".parse().unwrap()).iter().map(|nic| (nic.mode, nic.vlan)).collect();
        assert_eq!(edge, [(NicMode::Phys, None), (NicMode::Vlan, Some(100))]);
    }

    #[test]
    fn the_old_key_of_the_rows_is_accepted() {
        let row = "link = \"eth1\"\ntenant = \"edge\"\n";
        let new = NicTable::parse(&format!("[[nic]]\n{row}")).unwrap();
        assert_eq!(NicTable::parse(&format!("[[port]]\n{row}")).unwrap(), new);
        assert_eq!(new.nic.len(), 1);
    }

    #[test]
    fn what_is_given_twice_is_refused() {
        for second in ["vlan = 100\n", ""] {
            let text = format!(
                "[[nic]]\nlink = \"eth2\"\nvlan = 100\ntenant = \"a\"\n[[nic]]\nlink = \"eth2\"\n{second}tenant = \"b\"\n"
            );
            let error = NicTable::parse(&text).unwrap_err();
            assert!(error.to_string().contains("is assigned to both \"a\" and \"b\""), "{error}");
        }
        assert!(NicTable::parse("[[nic]]\nlink = \"e\"\nvlan = 0\ntenant = \"a\"\n").is_err());
    }
}
