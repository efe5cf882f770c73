//! The tenant's names, of itself.

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{
    kernel::etc::Etc,
    model::identity::{self, Planned},
    plan::Plan,
};

/// Brings the files of `/etc` in step with the tenant's host name, which it returns. It is called by process 1,
/// inside the tenant, before init runs.
///
/// What cannot be read or written (a full disk, a directory in place of a file) stays as it is: a tenant boots
/// with a stale `/etc/hosts` rather than not at all.
pub(super) fn settle(plan: &Plan) -> String {
    let planned = plan.init.hostname.clone();
    if plan.own_etc().is_none() {
        return planned;
    }
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let Some(etc) = root.ok().and_then(|root| Etc::open(root, "etc").ok()) else { return planned };
    let names = etc.names();
    let known = Planned { tenant: plan.tenant.as_str(), hostname: &planned, uuid: &plan.init.uuid };
    if names.is_seeded(known) {
        etc.remove("hostname");
    }
    let hostname = names.set_inside(known).map_or(planned.clone(), str::to_owned);
    let hosts = names.hosts.and_then(|hosts| identity::follow(&hosts.text, &hostname));
    if let Some(text) = hosts {
        let _full_disk = etc.write_hosts(&text);
    }
    hostname
}
