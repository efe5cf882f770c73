//! What is wrong with an interface, and what helps.

/// An interface that cannot be used, made or had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is none.
    #[error("this host has no interface \"{name}\"")]
    Missing {
        /// The name.
        name: String,
    },
    /// Another tenant has it.
    #[error("tenant \"{tenant}\" has the NIC \"{nic}\"")]
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
    #[error("bridge \"{name}\" has 1023 ports already, the most the kernel gives a bridge")]
    BridgeFull {
        /// The name.
        name: String,
    },
    /// Somebody else made an interface with a name of ours.
    #[error("there is an interface \"{name}\" already, which this host's tenants did not make")]
    Stranger {
        /// The name.
        name: String,
    },
    /// A NIC that the host cannot do without, or that is something else.
    #[error("\"{nic}\" cannot be given to a tenant: {reason}")]
    Unsuitable {
        /// The NIC.
        nic: String,
        /// Why not.
        reason: String,
    },
    /// The kernel was built without it.
    #[error("this kernel has no {what} ({option})")]
    Unsupported {
        /// What.
        what: &'static str,
        /// Its build option.
        option: &'static str,
    },
    /// The tag is in use.
    #[error("\"{parent}\" has its VLAN {id} already")]
    VlanTaken {
        /// The NIC.
        parent: String,
        /// The tag.
        id: u16,
    },
    /// The name that it came with is in use now.
    #[error("the NIC \"{nic}\" is back as \"{now}\": another interface has its name")]
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
                "see what there is, and correct the [[nic]] table: ip link; tenantctl edit NAME".to_owned()
            }
            Self::Held { tenant, .. } => {
                format!("stop that tenant, or give each a NIC of its own: tenantctl stop {tenant}")
            }
            Self::NotBridge { name } => {
                format!(
                    "name a bridge in the [[nic]] table, or make one: ip link add NEW type bridge; ip link set {name} master NEW"
                )
            }
            Self::BridgeFull { .. } => "use a second bridge, or mode = \"routed\"".to_owned(),
            Self::Stranger { name } => {
                format!("rename or remove it: ip link set {name} name NEW, or ip link delete {name}")
            }
            Self::Unsuitable { .. } => {
                "name another NIC in the [[nic]] table: tenantctl edit NAME".to_owned()
            }
            Self::Unsupported { .. } => {
                "use another mode, or a kernel that has it: tenantctl edit NAME".to_owned()
            }
            Self::VlanTaken { parent, id } => {
                format!(
                    "see who has it, and use another tag: ip -d link show type vlan; VLAN {id} of {parent}"
                )
            }
            Self::NameTaken { nic, now } => {
                format!("rename or remove the other one, then: ip link set {now} name {nic}")
            }
        }
    }
}
