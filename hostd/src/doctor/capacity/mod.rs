//! Whether this host is large enough for N tenants: what they need against what there is, resource by
//! resource.
//!
//! [`table`] is pure: [`Demand`] says what N tenants take, after the files of those that exist, [`Limits`] what
//! this host has, read once. What one tenant takes is in [`figures`], with where each figure comes from; a
//! test measures it on running tenants.
//!
//! | file | what |
//! |---|---|
//! | `figures` | what one tenant takes |
//! | `demand` | what N tenants like those of this host take |
//! | `limits` | what this host has |
//! | `rows` | the table: one function for each kind of resource |

pub mod demand;
pub mod figures;
pub mod limits;
mod rows;
#[cfg(test)]
mod tests;

pub use self::{demand::Demand, limits::Limits, rows::table};
