//! The directories of tenants: made from the image, counted, removed.
//!
//! | file | what |
//! |---|---|
//! | `seed` | what a new tenant's directories begin with |
//! | `quota` | what may be stored in them |
//! | `usage` | what is stored in them, where the filesystem does not count it |
//! | `mounts` | what is mounted below them |
//! | `remove`, `trash`, `remains` | trees that go, in the background |

pub mod mounts;
pub mod quota;
pub mod remains;
pub(crate) mod remove;
pub(crate) mod seed;
pub mod trash;
pub mod usage;
