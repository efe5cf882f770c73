//! The unit manager of a host whose PID 1 is systemd: a tenant is a unit, `tenant@NAME.service`.
//!
//! hostd asks for jobs and waits for them; what `systemctl` does to the same units is as good. Whether a
//! tenant runs is read from what its supervisor says and from the supervisor itself, because a list of a
//! thousand tenants has no time for conversations.
//!
//! | file | what it handles |
//! |---|---|
//! | `bus` | conversations with PID 1 |
//! | `private` | the socket of PID 1 |
//! | `job` | jobs, awaited |
//! | `properties` | limits as properties of a unit; pure |
//! | `files` | unit files of ours: drop-ins, whether a unit starts with the host |

mod bus;
mod files;
mod job;
mod limits;
mod manager;
mod private;
pub mod properties;
mod report;
mod start;
mod stop;

pub use self::{bus::BusError, limits::Had, manager::Systemd, report::Pending};
