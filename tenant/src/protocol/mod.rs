//! What others speak with a supervisor: `console.sock` and `control.sock`.

pub mod control;
pub mod escape;
pub mod socket;
pub mod wire;
