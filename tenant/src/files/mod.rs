//! What is read from the host's disk and written to it: where each file lies, how it is replaced, what is in it.

pub mod applied;
pub mod claim;
pub mod credentials;
pub mod facts;
pub mod file_error;
pub mod layout;
pub mod processes;
pub mod record;
pub mod shelter;
pub mod sources;
pub mod state;
