//! Makes what the native tests need of Debian's archive, see `tenantry_tests::debian`. `cargo xtask test` does the
//! same; this is for a test program that is run by hand.

fn main() {
    tenantry_tests::debian::prepare(&tenantry_tests::host::Place::prepared());
}
