//! What the host assigns: indices, uid ranges, addresses, NICs. No two tenants get the same.
//!
//! | file | what |
//! |---|---|
//! | `allocate` | the next free index and uid range |
//! | `leases` | addresses of the host's pools |
//! | `claims` | what the files of tenants name of the host, and who would collide |
//! | `reserve` | what is decided under one lock, and kept for a tenant until its record is written |
//! | `nic_table` | the table of NICs that are given to tenants, `ports.toml` |

pub mod allocate;
pub mod claims;
pub mod leases;
pub mod nic_table;
pub(crate) mod reserve;
