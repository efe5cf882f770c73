//! The packet filter: our tables of nftables, by nft(8).
//!
//! The rules are loaded once, from `tenantry.nft`; a tenant is elements of their sets. What is known of a
//! tenant is written to its record before it goes into the tables, and the record goes after it has left
//! them: so whatever happens in between, a stop knows what to remove, and the tables can be made again from
//! the records of the tenants that run.
//!
//! | file | what it handles |
//! |---|---|
//! | `item` | elements, as data and as text |
//! | `listing` | what nft says is there |
//! | `program` | running nft |
//! | `encode`, `transaction` | elements of one tenant, over netlink |
//! | `counters` | what ports sent and received, over netlink |
//! | `trial` | packets over a port that is no tenant's |
//! | `repair` | the tables against the records: loading, comparing, restoring |
//! | `change` | one tenant: in, out, changed while it is running |
//! | `record`, `lock`, `error` | what those rest on |

mod change;
pub mod counters;
mod encode;
mod error;
pub mod item;
pub mod listing;
mod lock;
mod program;
mod record;
pub mod repair;
mod transaction;
pub mod trial;

pub use change::{Change, begin_add, begin_remove, change, finish, forget};
pub use error::FilterError;
pub use program::Nft;
pub use record::known;

#[cfg(test)]
mod tests;
