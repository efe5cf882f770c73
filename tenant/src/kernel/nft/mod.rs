//! The packet filter: our tables of nftables, by nft(8).
//!
//! The rules are loaded once, from `tenantry.nft`; a tenant is elements of their sets. What is known of a
//! tenant is written to its record before it goes into the tables, and the record goes after it has left
//! them: so whatever happens in between, it is known what to remove, and the tables can be made again from
//! the records of the tenants that run. A tenant that ends stays in the tables until hostd takes it out.
//!
//! | file | what it handles |
//! |---|---|
//! | `item` | elements, as data and as text |
//! | `listing` | what nft says is there |
//! | `program` | running nft |
//! | `encode`, `transaction` | elements of tenants, over netlink |
//! | `dump`, `elements` | what is in the sets, over netlink |
//! | `counters` | what ports sent and received, over netlink |
//! | `trial` | packets over a port that is no tenant's |
//! | `repair` | the tables against the records: loading, comparing, restoring |
//! | `change` | one tenant: in, changed while it is running |
//! | `remove` | tenants that have ended: out |
//! | `record`, `lock`, `error` | what those rest on |

mod change;
pub mod counters;
mod dump;
mod elements;
mod encode;
mod error;
pub mod item;
pub mod listing;
mod lock;
mod program;
mod record;
mod remove;
pub mod repair;
mod transaction;
pub mod trial;

pub use change::{add, change};
pub use error::FilterError;
pub use program::Nft;
pub use record::known;
pub use remove::Remover;

#[cfg(test)]
mod tests;
