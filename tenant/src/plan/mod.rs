//! The plan: every kernel step that will start a tenant, in order, as data.
//!
//! [`plan`] is pure. What it returns can be printed (`tenantctl plan NAME`), compared with a golden
//! file, applied by [`crate::apply`], and undone.

mod cgroup;
mod devices;
mod error;
mod filter;
mod idle;
mod init;
mod inputs;
mod network;
mod paths;
mod render;
mod root;
mod security;
mod stand_in;
mod step;
pub mod swap;
mod sysctl;

use std::path::PathBuf;

use serde::Serialize;

pub use cgroup::CgroupPlan;
pub use devices::DevicePlan;
pub use error::PlanError;
pub use filter::FilterPlan;
pub use idle::IdlePlan;
pub use init::{FirstProcess, InitPlan, NOTIFY_SOCKET, OpenFiles, StopProcedure};
pub use inputs::Inputs;
pub use network::{LinkPlan, NicPlan, PortPlan, host_link, port_group, stand_in_link, trial_nic};

pub use security::{Answer, Condition, Deny, SecurityPlan, Test, Value};
pub use stand_in::{StandInPlan, StoodFor, stood_for};
pub use step::{CREDENTIALS, DevNode, INACCESSIBLE, LIMITS, OwnEtc, RootStep, TopDir, store_name};
pub use sysctl::RefusedSysctl;

use crate::{
    files::credentials::Credential,
    model::{
        allocation::RecordState,
        device::Driver,
        facts::KernelVersion,
        ids::{Digest, UidRange},
        image::{ImageFormat, ImageName, ImageSource},
        limits::Limits,
        name::TenantName,
    },
};

/// Everything that will be done to start one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The tenant.
    pub tenant: TenantName,
    /// The image it boots.
    pub image_name: ImageName,
    /// The version of it.
    pub digest: Digest,
    /// Its cgroups.
    pub cgroup: CgroupPlan,
    /// What it may use of the host at most; the unit manager sees to it.
    pub limits: Limits,
    /// The device nodes it may use.
    pub devices: DevicePlan,
    /// What it needs of the host besides the nodes in its `/dev`.
    pub drivers: Vec<Driver>,
    /// The sysctls it may not write: the kernel would let it.
    pub refused_sysctls: Vec<RefusedSysctl>,
    /// The ids of its user namespace.
    pub uids: UidRange,
    /// How many namespaces of each kind may be made in there, its own among them.
    pub namespaces_max: u32,
    /// Where the image is.
    pub image: ImageSource,
    /// Directory of what the tenant stores.
    pub dirs: PathBuf,
    /// How its root is put together, in order.
    pub root: Vec<RootStep>,
    /// Whether the layers of its overlays are attached, in a mount namespace of the supervisor's, while the
    /// overlays are made: an older kernel takes none that is mounted nowhere.
    pub attach_layers: bool,
    /// Whether it gets a time namespace in which it has just booted.
    pub time_namespace: bool,
    /// Its interfaces besides loopback.
    pub nics: Vec<NicPlan>,
    /// Whether the host forwards IPv6 for it, all of the host or nothing; then the file that says what it did before.
    pub forwarding6: Option<PathBuf>,
    /// What the packet filter holds for it; nothing without a port, or where the admin has another filter.
    pub filter: Option<FilterPlan>,
    /// Where the host's NICs that tenants have are noted.
    pub claims: PathBuf,
    /// Its pseudoterminals: the console and this many ttys.
    pub ttys: u8,
    /// What it may not do.
    pub security: SecurityPlan,
    /// What becomes of it when it is idle; nothing unless it is to be parked then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdlePlan>,
    /// What stands for it while it is parked; nothing unless it is stopped then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<StandInPlan>,
    /// The process that all this is for.
    pub init: InitPlan,
}

impl Plan {
    /// Whether init is killed when its supervisor dies. Not where it has a NIC of the host, which would be lost with the
    /// tenant's network namespace: hostd brings that home first, and then ends the tenant.
    pub fn ends_with_supervisor(&self) -> bool {
        !self.nics.iter().any(|nic| matches!(nic.link, LinkPlan::Phys { .. }))
    }

    /// Where the tenant's `/etc` is stored; none where it is not the tenant's own.
    pub fn own_etc(&self) -> Option<OwnEtc<'_>> {
        OwnEtc::of(&self.root)
    }

    /// Whether it sees its limits in the files that tell of a machine's size.
    pub fn shows_limits(&self) -> bool {
        self.root.contains(&RootStep::Limits)
    }

    /// Lets go of the contents of its credentials.
    pub fn forget_secrets(&mut self) {
        for step in &mut self.root {
            if let RootStep::Credentials { files } = step {
                files.iter_mut().for_each(Credential::forget);
            }
        }
    }
}

/// Overlays over trees with shifted owners, and all before it: nothing stands in for these.
const OLDEST_KERNEL: KernelVersion = KernelVersion { major: 6, minor: 1 };
/// erofs from a plain file, without a block device.
const EROFS_FILES: KernelVersion = KernelVersion { major: 6, minor: 12 };

/// Decides how a tenant is started. Does no I/O.
///
/// # Errors
/// See [`PlanError`].
pub fn plan(inputs: &Inputs<'_>) -> Result<Plan, PlanError> {
    let Inputs { layout, tenant, allocation, manifest, facts, unit_cgroup, credentials, .. } = *inputs;
    if allocation.state != RecordState::Ready {
        return Err(PlanError::NotReady(allocation.state));
    }
    // One with a hash tree is on a block device.
    let is_mounted_file = manifest.format == ImageFormat::Erofs && manifest.verity.is_none();
    let erofs = is_mounted_file.then_some(("an erofs image", EROFS_FILES));
    for (feature, need) in [("an overlay over idmapped mounts", OLDEST_KERNEL)].into_iter().chain(erofs) {
        if facts.kernel < need {
            return Err(PlanError::Kernel { feature, need, have: facts.kernel });
        }
    }
    if allocation.pinned.digest != manifest.digest {
        let (pinned, found) = (allocation.pinned.digest, manifest.digest);
        return Err(PlanError::WrongVersion { pinned, found });
    }
    let nics = network::plan(inputs)?;
    let stand_in = stand_in::plan(inputs, &nics)?;
    Ok(Plan {
        tenant: tenant.name.clone(),
        image_name: manifest.image.clone(),
        digest: manifest.digest,
        cgroup: cgroup::plan(tenant, allocation, facts, unit_cgroup)?,
        limits: tenant.limits.clone(),
        devices: devices::plan(tenant.devices.as_deref(), tenant.features),
        drivers: tenant.features.wireguard.then_some(Driver::WireGuard).into_iter().collect(),
        refused_sysctls: sysctl::plan(),
        uids: allocation.uid_base,
        namespaces_max: tenant.namespaces_max,
        image: ImageSource::of(layout, manifest),
        dirs: layout.dirs(&tenant.name),
        root: root::plan(tenant, manifest, facts, credentials)?,
        attach_layers: !facts.kernel.takes_detached_layers(),
        time_namespace: facts.time_namespaces,
        forwarding6: network::forwarding6(layout, &nics),
        filter: filter::plan(inputs, &nics, stand_in.as_ref())?,
        nics,
        claims: layout.nic_claims(),
        ttys: tenant.ttys,
        security: security::plan(tenant, facts)?,
        idle: idle::plan(tenant),
        stand_in,
        init: init::plan(inputs)?,
    })
}
