//! Rollouts over a host that is not there: what its tenants do, when hostd dies, what is answered and when is in the
//! hand of the test.

mod crashes;
mod fake;
mod faults;
mod requests;
