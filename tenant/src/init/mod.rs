//! The program that runs between a tenant's clone and the exec of its init.
//!
//! The supervisor's side is [`crate::apply`]. Both are copies of one process that has a single thread, and speak over
//! the gate. It is told what to do by the plan, and its root has been put together for it.
//!
//! | file | what it handles |
//! |---|---|
//! | `assemble` | the order: root, terminals, names, network, powers, exec |
//! | `terminals` | the console and the ttys, the notify socket |
//! | `limits` | the files in which it sees its limits |
//! | `names` | the host name, and the tenant's own files that say it |
//! | `network` | its side of the interfaces, its sysctls |
//! | `confine`, `seccomp/` | capabilities and system calls |
//! | `reaper`, `execute` | process 1 of an application; the tenant's own init |

mod assemble;
pub mod confine;
mod execute;
mod limits;
mod names;
pub(crate) mod network;
mod reaper;
mod seccomp;
mod terminals;

pub use assemble::Program;
