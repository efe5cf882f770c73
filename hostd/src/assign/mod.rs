//! What the host assigns: indices, uid ranges, addresses, NICs. No two tenants get the same.
//!
//! | file | what |
//! |---|---|
//! | `allocate` | the next free index and uid range |
//! | `holding` | what a tenant has, whatever came of its record |
//! | `leases` | addresses of the host's pools |
//! | `claims` | what the files of tenants name of the host, and who would collide |
//! | `reserve`, `writer` | what is decided under one lock, and kept for a tenant until its record is written |
//! | `nic_table`, `nic_rows` | the table of NICs that are given to tenants, `nics.toml`; its rows as text |

pub mod allocate;
pub mod claims;
pub mod holding;
pub mod leases;
pub(crate) mod nic_rows;
pub mod nic_table;
pub(crate) mod reserve;
pub(crate) mod writer;
