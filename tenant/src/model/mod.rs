//! The words of a tenant and of its host: parsed once into types that hold only what is valid, and never checked
//! again.

pub mod allocation;
pub mod apparmor;
pub mod device;
pub mod facts;
pub mod filter;
pub mod follow;
pub mod host;
pub mod identity;
pub mod ids;
pub mod image;
pub mod label;
pub mod limits;
pub mod mountinfo;
pub mod name;
pub mod net;
pub mod nic_table;
pub mod park;
pub mod path;
pub mod pool;
pub mod port;
pub mod quantity;
pub mod recipe;
pub mod reference;
pub mod resource_file;
pub mod snapshot;
pub mod syscall;
mod text;
