//! The life of a running tenant: how it boots, what happens to it, how it ends.
//!
//! | file | what it handles |
//! |---|---|
//! | `lifecycle` | which phase follows which; pure |
//! | `boot` | building a tenant and taking it down |
//! | `events` | the loop |
//! | `conversation` | connections to `control.sock` |
//! | `stop` | asking it to end, and what follows when it does not |
//! | `signals`, `retry` | what those rest on |

pub(super) mod boot;
pub(super) mod conversation;
pub(super) mod events;
pub mod lifecycle;
pub(super) mod retry;
pub(super) mod signals;
pub(super) mod stop;
