//! `exec.json`: what processes that join a running tenant are started with. The supervisor writes it at each
//! boot, before init is there; `tenant exec` reads it.
//!
//! It says what init was started with, not what the tenant's files, or a later release of these programs,
//! would start it with today. The filters are recorded as the instructions that init has, so they are the
//! very same.

use std::{collections::BTreeMap, io, path::PathBuf};

use caps::Capability;
use serde::{Deserialize, Serialize};

use super::rlimits::ResourceLimits;
use crate::{
    files::{
        file_error::FileError,
        layout::Layout,
        record::{self, Durability},
    },
    init::confine::Confinement,
    kernel::raw::Instruction,
    model::name::TenantName,
    plan::Plan,
};

/// What a process that joins is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecContext {
    /// The cgroup v2 directory in which the tenant's cgroup namespace starts.
    pub cgroup: PathBuf,
    /// Init's whole environment.
    pub env: BTreeMap<String, String>,
    /// The AppArmor profile.
    pub(super) apparmor: Option<String>,
    pub(super) confinement: Confinement,
    pub(super) limits: ResourceLimits,
}

/// The form on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format_version: u32,
    cgroup: PathBuf,
    env: BTreeMap<String, String>,
    capabilities: Vec<String>,
    /// None of a release that knew nothing of it.
    #[serde(default)]
    apparmor: Option<String>,
    no_new_privs: bool,
    /// Programs of instructions: `code`, `jt`, `jf`, `k` of seccomp(2).
    filters: Vec<Vec<(u16, u8, u8, u32)>>,
    limits: ResourceLimits,
}

impl ExecContext {
    /// The format this release reads and writes.
    pub const FORMAT_VERSION: u32 = 1;

    /// That of a tenant which the calling process starts by a plan. Init inherits the caller's resource limits.
    ///
    /// # Errors
    /// A row of the plan's tables that names something unknown; `/proc/self/limits` that cannot be read.
    pub fn of(plan: &Plan) -> io::Result<Self> {
        Ok(Self {
            cgroup: plan.cgroup.payload.clone(),
            env: plan.init.env.clone(),
            apparmor: plan.security.apparmor.clone(),
            confinement: Confinement::of(&plan.security)?,
            limits: ResourceLimits::of("self")?,
        })
    }

    /// Replaces a tenant's record. Only root may read it: a tenant's environment may hold secrets.
    ///
    /// # Errors
    /// What [`record::write_private`] says.
    pub fn write(&self, layout: &Layout, name: &TenantName) -> Result<(), FileError> {
        let text = serde_json::to_vec(&self.record()).expect("a record has only types that JSON can hold");
        record::write_private(&layout.exec_context(name), &text, Durability::Volatile)
    }

    /// Reads a tenant's record; none where there is none, or it is of another release.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(layout: &Layout, name: &TenantName) -> Result<Option<Self>, FileError> {
        match record::read(&layout.exec_context(name)) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn record(&self) -> Record {
        let is_kept = |capability: &Capability| self.confinement.bounding & capability.bitmask() != 0;
        let mut capabilities: Vec<Capability> = caps::all().into_iter().filter(is_kept).collect();
        capabilities.sort_unstable_by_key(Capability::index);
        let instruction = |one: &Instruction| (one.code, one.jt, one.jf, one.k);
        let program = |program: &Vec<Instruction>| program.iter().map(instruction).collect();
        Record {
            format_version: Self::FORMAT_VERSION,
            cgroup: self.cgroup.clone(),
            env: self.env.clone(),
            capabilities: capabilities.iter().map(Capability::to_string).collect(),
            apparmor: self.apparmor.clone(),
            no_new_privs: self.confinement.no_new_privs,
            filters: self.confinement.filters.iter().map(program).collect(),
            limits: self.limits.clone(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let record: Record = serde_json::from_str(text).ok()?;
        let mask = |mask: u64, name: &String| Some(mask | name.parse::<Capability>().ok()?.bitmask());
        let instruction = |(code, jt, jf, k)| Instruction { code, jt, jf, k };
        let program = |program: Vec<_>| program.into_iter().map(instruction).collect();
        if record.format_version != Self::FORMAT_VERSION {
            return None;
        }
        Some(Self {
            cgroup: record.cgroup,
            env: record.env,
            apparmor: record.apparmor,
            confinement: Confinement {
                bounding: record.capabilities.iter().try_fold(0, mask)?,
                no_new_privs: record.no_new_privs,
                filters: record.filters.into_iter().map(program).collect(),
            },
            limits: record.limits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SecurityPlan;

    fn context() -> ExecContext {
        let security =
            SecurityPlan { capabilities: vec!["CAP_CHOWN", "CAP_SETFCAP"], ..SecurityPlan::shipped(&[]) };
        ExecContext {
            cgroup: "/sys/fs/cgroup/t/payload".into(),
            env: BTreeMap::from([("container".to_owned(), "tenantry".to_owned())]),
            apparmor: Some("tenantry-tenant".to_owned()),
            confinement: Confinement::of(&security).unwrap(),
            limits: ResourceLimits::of("self").unwrap(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_is_roots_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let (layout, name) = (Layout::new(dir.path()), "alice".parse().unwrap());
        std::fs::create_dir_all(layout.runtime(&name)).unwrap();
        assert_eq!(ExecContext::read(&layout, &name).unwrap(), None);
        let context = context();
        context.write(&layout, &name).unwrap();
        assert_eq!(ExecContext::read(&layout, &name).unwrap(), Some(context));
        let mode = std::fs::metadata(layout.exec_context(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_record_that_is_not_understood_is_no_record() {
        let text = serde_json::to_string(&context().record()).unwrap();
        assert!(ExecContext::parse(&text).is_some());
        // Less than all of it, more than is known, a capability or a format of a later release.
        let spoilt = [
            text.replace("\"no_new_privs\":false,", ""),
            text.replace("\"env\"", "\"new\":1,\"env\""),
            text.replace("CAP_CHOWN", "CAP_NEW"),
            text.replace("\"format_version\":1", "\"format_version\":2"),
        ];
        for text in spoilt {
            assert_eq!(ExecContext::parse(&text), None, "{text}");
        }
    }
}
