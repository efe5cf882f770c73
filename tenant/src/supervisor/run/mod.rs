//! The life of a running tenant: how it boots, what happens to it, how it ends.
//!
//! Each file uses those below it, and none above.
//!
//! | file | what it handles |
//! |---|---|
//! | `life` | from the first boot to the end of init, and what that means |
//! | `end` | the supervisor's last act |
//! | `boot` | building a tenant |
//! | `events` | the loop: what is due, what came |
//! | `requests`, `conversation` | what is asked over `control.sock`, and the connections |
//! | `stop`, `ending` | asking it to end, and what follows when it does not |
//! | `park` | a tenant that is parked while it is idle |
//! | `away` | one that is stopped then, and boots when it is needed |
//! | `swap` | another version of its image |
//! | `freeze` | processes that come to rest |
//! | `wait`, `signals`, `retry` | what those rest on |
//! | `lifecycle` | which phase follows which; pure |

mod away;
pub(super) mod boot;
pub(super) mod conversation;
mod end;
pub(super) mod ending;
pub(super) mod events;
mod freeze;
pub(super) mod life;
pub mod lifecycle;
mod park;
mod requests;
pub(super) mod retry;
pub(super) mod signals;
mod stop;
mod swap;
mod wait;
