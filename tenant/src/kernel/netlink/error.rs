//! What is wrong with an interface, and what helps.

/// An interface that cannot be used, made or had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is none.
    #[error("there is no interface \"{name}\" on this host")]
    Missing {
        /// The name.
        name: String,
    },
    /// Another tenant has it.
    #[error("NIC \"{nic}\" is in use by tenant \"{tenant}\"")]
    Held {
        /// The NIC.
        nic: String,
        /// Who has it.
        tenant: String,
    },
    /// It is no bridge.
    #[error("\"{name}\" is not a bridge")]
    NotBridge {
        /// The name.
        name: String,
    },
    /// It has as many ports as a bridge can have.
    #[error("bridge \"{name}\" already has 1023 ports, the maximum of the kernel")]
    BridgeFull {
        /// The name.
        name: String,
    },
    /// Another process made an interface with a name of ours.
    #[error("there is already an interface \"{name}\", which does not belong to a tenant")]
    NotOwned {
        /// The name.
        name: String,
    },
    /// A NIC that the host cannot do without, or that is something else.
    #[error("NIC \"{nic}\" cannot be moved to a tenant: {reason}")]
    Unsuitable {
        /// The NIC.
        nic: String,
        /// Why not.
        reason: String,
    },
    /// The kernel was built without it.
    #[error("this kernel does not support {what} ({option})")]
    Unsupported {
        /// What.
        what: &'static str,
        /// Its build option.
        option: &'static str,
    },
    /// The tag is in use.
    #[error("VLAN {id} of \"{parent}\" already exists")]
    VlanTaken {
        /// The NIC.
        parent: String,
        /// The tag.
        id: u16,
    },
    /// The name that it came with is in use now.
    #[error("NIC \"{nic}\" was returned to the host as \"{now}\": another interface has its name")]
    NameTaken {
        /// The NIC.
        nic: String,
        /// Its present name.
        now: String,
    },
}

impl LinkError {
    /// The remedy.
    pub fn help(&self) -> String {
        match self {
            Self::Missing { .. } => {
                "list the interfaces and correct the [[nic]] table: ip link; tenantctl edit NAME".to_owned()
            }
            Self::Held { tenant, .. } => {
                format!("stop that tenant or use another NIC: tenantctl stop {tenant}")
            }
            Self::NotBridge { name } => {
                format!(
                    "name a bridge in the [[nic]] table, or create one: ip link add NEW type bridge; ip link set {name} master NEW"
                )
            }
            Self::BridgeFull { .. } => "use a second bridge, or mode = \"routed\"".to_owned(),
            Self::NotOwned { name } => {
                format!("rename or remove it: ip link set {name} name NEW, or ip link delete {name}")
            }
            Self::Unsuitable { .. } => {
                "name another NIC in the [[nic]] table: tenantctl edit NAME".to_owned()
            }
            Self::Unsupported { .. } => {
                "use another mode, or a kernel that supports it: tenantctl edit NAME".to_owned()
            }
            Self::VlanTaken { parent, id } => {
                format!("find VLAN {id} of {parent} and use another tag: ip -d link show type vlan")
            }
            Self::NameTaken { nic, now } => {
                format!("rename or remove the other one, then: ip link set {now} name {nic}")
            }
        }
    }
}
