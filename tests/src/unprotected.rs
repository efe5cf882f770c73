//! Hosts whose supervisors leave protections out: what a test of a protection must fail with.

use std::fs;

use crate::Host;

/// Directory, below a root, of a supervisor that lacks protections.
const UNPROTECTED: &str = "unprotected";

impl Host {
    /// A host with images and a running hostd whose supervisors lack protections: those that
    /// [`Self::leave_out`] names last.
    ///
    /// # Panics
    /// When any of it cannot be had.
    pub fn unprotected() -> Self {
        let mut host = Self::bare();
        host.share_images();
        let dir = host.path(UNPROTECTED);
        fs::create_dir(&dir).expect("a directory can be made");
        fs::copy(host.program("unprotected"), dir.join("tenant"))
            .expect("the program `unprotected` was built: cargo build --package unprotected");
        host.leave_out(&[]);
        host.start_hostd_behind(&["env", &format!("TENANTRY_LIBEXEC={}", dir.display())]);
        host
    }

    /// Which protections the tenants of a host lack that are started from now on; see the program `unprotected`.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn leave_out(&self, protections: &[&str]) {
        let list = self.path(UNPROTECTED).join("without");
        fs::write(list, protections.join(" ")).expect("the list can be written");
    }
}
