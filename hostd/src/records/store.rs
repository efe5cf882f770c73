//! The store of one host: what it holds, and what is asked of it without changing anything.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use tenant::{
    Allocation, HostFacts, Layout, Plan, Tenant, TenantName,
    config::{self, Fragment, profile},
    files::{credentials::Credential, file_error::FileError, record, shelter, sources},
    kernel::{KernelError, source::View, storage},
    model::{
        allocation::RecordState, host::HostConfig, image::Manifest, limits::Limits, nic_table::NicTable,
    },
    plan::{self, Inputs},
    protocol::socket,
};

use super::{
    broken::Broken,
    compared::Compared,
    error::StoreError,
    guard::held,
    inventories::Inventories,
    lock::StoreLock,
    recover::{self, Finding, Recovered},
};
use crate::{
    assign::{
        allocate::Used,
        claims::{Claims, Use},
        leases::Cursors,
        writer::Writer,
    },
    dirs::trash::Trash,
};

/// All records by name; a snapshot that later changes do not touch.
pub type Records = Arc<BTreeMap<TenantName, Allocation>>;

/// What the files of all tenants take of the host; a snapshot like [`Records`].
pub type AllClaims = Arc<BTreeMap<TenantName, Arc<Claims>>>;

/// Tenants whose records cannot be used; a snapshot like [`Records`].
pub type AllBroken = Arc<BTreeMap<TenantName, Broken>>;

/// What a request changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created,
    /// It was there and differs now.
    Changed,
    /// It was there as asked for.
    Unchanged,
}

/// What is asked of a new tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTenant {
    /// `key=value` pairs of its configuration file.
    pub set: Vec<String>,
}

/// The store of one host.
pub struct Store {
    pub(crate) layout: Layout,
    pub(crate) facts: HostFacts,
    /// Whose view of the host's directories counts for what tenants are given.
    pub(crate) view: View,
    /// The host's memory, bytes.
    pub(crate) memory: u64,
    pub(crate) records: Mutex<Records>,
    /// What the file of each tenant takes of the host, as it was last read.
    pub(crate) claims: Mutex<AllClaims>,
    /// The NICs that tenants were last started with.
    pub(crate) started: Mutex<BTreeMap<TenantName, Vec<Use>>>,
    /// Tenants whose records cannot be used.
    pub(crate) broken: Mutex<AllBroken>,
    /// Held by a process that decides what a tenant may have.
    pub(crate) writer: Mutex<Writer>,
    /// Tenants whose records are being written, and by how many.
    pub(crate) writing: Mutex<BTreeMap<TenantName, usize>>,
    /// What is left of removed tenants.
    pub(crate) trash: Trash,
    /// The old and new names of tenants whose renaming was finished when this was opened.
    pub(crate) renamed: Mutex<Vec<(TenantName, TenantName)>>,
    /// Files of versions, as they were last read.
    pub(crate) inventories: Inventories,
    pub(crate) storage: Option<Arc<KernelError>>,
    pub(crate) compared: Compared,
    pub(crate) _lock: StoreLock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("layout", &self.layout).finish_non_exhaustive()
    }
}

/// Kept by who writes a record, until hostd knows it as it is on the disk.
#[must_use]
pub(crate) struct Writing<'a> {
    store: &'a Store,
    name: TenantName,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut writing = held(&self.store.writing);
        let left = writing.get_mut(&self.name).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            writing.remove(&self.name);
        }
    }
}

impl Store {
    /// Takes the lock, reads all records and sets right what a crash left. `storage` is what a check of
    /// the state directory's filesystem said; one that is not fit lets no tenant be made.
    ///
    /// # Errors
    /// Another hostd has the store, or it cannot be read.
    pub fn open(
        layout: Layout,
        facts: HostFacts,
        storage: Result<(), KernelError>,
    ) -> Result<(Self, Vec<Finding>), StoreError> {
        let lock = StoreLock::take(&layout.state())?;
        shelter::close_state(&layout)?;
        storage::clear(&layout.state());
        shelter::close_names(&layout, socket::group())?;
        let Recovered { records, broken, trash, renamed, findings } = recover::recover(&layout)?;
        // Settings that cannot be used are told when a process needs them.
        let config = profile::load_host(&layout).unwrap_or_default();
        let cursors = Cursors::behind(&config, &records);
        let held = broken.values().map(|broken| &broken.holding);
        let used = Used::of(&records, held.chain(trash.iter().map(|item| &item.holding)));
        let writer = Writer::behind(&used, cursors);
        let tenants = layout.tenants();
        let trash = Trash::begin(tenants.clone(), trash).map_err(FileError::when("empty", &tenants))?;
        let store = Self {
            layout,
            facts,
            view: View::Own,
            memory: tenant::files::facts::total_memory(),
            records: Mutex::new(Arc::new(records)),
            broken: Mutex::new(Arc::new(broken)),
            trash,
            renamed: Mutex::new(renamed),
            claims: Mutex::default(),
            started: Mutex::default(),
            writer: Mutex::new(writer),
            writing: Mutex::default(),
            inventories: Inventories::default(),
            storage: storage.err().map(Arc::new),
            compared: Compared::default(),
            _lock: lock,
        };
        let names: Vec<_> = store.records().keys().chain(store.broken().keys()).cloned().collect();
        store.read_all_claims(&names);
        Ok((store, findings))
    }

    /// Looks at what tenants are given of the host as another process sees it: the one that starts their supervisors.
    #[must_use]
    pub fn seeing(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What this host can do.
    pub fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// All records.
    pub fn records(&self) -> Records {
        held(&self.records).clone()
    }

    /// All tenants whose records cannot be used.
    pub fn broken(&self) -> AllBroken {
        held(&self.broken).clone()
    }

    /// The old and new names of tenants whose renaming this start has finished, for once.
    pub(crate) fn take_renamed(&self) -> Vec<(TenantName, TenantName)> {
        std::mem::take(&mut held(&self.renamed))
    }

    /// What is left of removed tenants.
    pub fn trash(&self) -> &Trash {
        &self.trash
    }

    /// The record of a tenant, in whatever state.
    ///
    /// # Errors
    /// [`StoreError::NoTenant`], [`StoreError::Broken`].
    pub fn record(&self, name: &TenantName) -> Result<Allocation, StoreError> {
        if let Some(record) = held(&self.records).get(name) {
            return Ok(record.clone());
        }
        match held(&self.broken).get(name) {
            Some(broken) => Err(StoreError::Broken { tenant: name.to_string(), broken: broken.clone() }),
            None => Err(StoreError::NoTenant(name.to_string())),
        }
    }

    /// Whether there is such a tenant, with a record that can be used or without.
    pub fn has(&self, name: &TenantName) -> bool {
        held(&self.records).contains_key(name) || held(&self.broken).contains_key(name)
    }

    /// The record of a tenant that is whole.
    ///
    /// # Errors
    /// [`StoreError::NoTenant`], [`StoreError::Broken`], [`StoreError::HalfRemoved`].
    pub fn ready(&self, name: &TenantName) -> Result<Allocation, StoreError> {
        let allocation = self.record(name)?;
        match allocation.state {
            RecordState::Ready => Ok(allocation),
            RecordState::Renaming => Err(StoreError::HalfRenamed(name.to_string())),
            RecordState::Creating | RecordState::Destroying => Err(StoreError::HalfRemoved(name.to_string())),
        }
    }

    /// What the files of all tenants take of the host, as they were last read.
    pub fn claims(&self) -> AllClaims {
        held(&self.claims).clone()
    }

    pub(crate) fn put_claims(&self, name: &TenantName, claims: Claims) {
        Arc::make_mut(&mut held(&self.claims)).insert(name.clone(), Arc::new(claims));
    }

    /// Takes up a record that is on the disk. From before it is written until then [`Store::writing`] is held.
    pub(crate) fn put(&self, allocation: Allocation) {
        Arc::make_mut(&mut held(&self.records)).insert(allocation.name.clone(), allocation);
    }

    /// Says, as long as that is kept, that a tenant's record on the disk may be another one than hostd knows.
    pub(crate) fn writing(&self, name: &TenantName) -> Writing<'_> {
        *held(&self.writing).entry(name.clone()).or_default() += 1;
        Writing { store: self, name: name.clone() }
    }

    pub(crate) fn is_being_written(&self, name: &TenantName) -> bool {
        held(&self.writing).contains_key(name)
    }

    /// Whether the state directory can hold tenants.
    ///
    /// # Errors
    /// [`StoreError::Storage`] with the step that its filesystem refuses.
    pub fn check_storage(&self) -> Result<(), StoreError> {
        match &self.storage {
            None => Ok(()),
            Some(source) => Err(StoreError::Storage { dir: self.layout.state(), source: source.clone() }),
        }
    }

    /// The host's settings, read again.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed.
    pub fn host_config(&self) -> Result<HostConfig, StoreError> {
        Ok(profile::load_host(&self.layout)?)
    }

    /// The text of a tenant's configuration file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn config_text(&self, name: &TenantName) -> Result<String, StoreError> {
        self.record(name)?;
        Ok(record::read(&self.layout.tenant_config(name))?)
    }

    /// A tenant as its file says.
    ///
    /// # Errors
    /// [`StoreError::NoTenant`] or an invalid configuration.
    pub fn tenant(&self, name: &TenantName) -> Result<Tenant, StoreError> {
        let text = self.config_text(name)?;
        self.resolve_text(name, &text)
    }

    pub(crate) fn plan_of(
        &self,
        tenant: &Tenant,
        allocation: &Allocation,
        manifest: &Manifest,
        config: &HostConfig,
        unit_cgroup: Option<&Path>,
    ) -> Result<Plan, StoreError> {
        // What is planned without a unit needs none: its directories are looked at, or it is printed.
        let nowhere = Path::new("/").join(self.layout.instance()).join(tenant.name.as_str());
        // Not what hostd's own unit was given: that is not for tenants.
        let mut credentials = sources::load_credentials(&self.layout, &tenant.name, None)?;
        credentials.iter_mut().for_each(Credential::forget);
        let inputs = Inputs {
            layout: &self.layout,
            tenant,
            allocation,
            manifest,
            host: config,
            facts: &self.facts,
            unit_cgroup: unit_cgroup.or(Some(&nowhere)),
            credentials: &credentials,
        };
        plan::plan(&inputs).map_err(|source| StoreError::Plan { tenant: tenant.name.to_string(), source })
    }

    /// The tenant that a configuration text stands for.
    ///
    /// # Errors
    /// The text is malformed or makes no sense.
    pub fn resolve_text(&self, name: &TenantName, text: &str) -> Result<Tenant, StoreError> {
        self.resolve(name, text, &self.host_config()?, &profile::load_nic_table(&self.layout)?)
    }

    /// [`Store::resolve_text`] with the host's files as they were read before.
    pub(crate) fn resolve(
        &self,
        name: &TenantName,
        text: &str,
        config: &HostConfig,
        ports: &NicTable,
    ) -> Result<Tenant, StoreError> {
        let fragment = config::parse_toml::<Fragment>(text)
            .map_err(|source| StoreError::Config { path: self.layout.tenant_config(name), source })?;
        let defaults = config.default_limits(&self.facts, self.memory);
        Ok(profile::resolve_with(&self.layout, name, fragment, config, ports, &defaults)?)
    }

    /// The limits of a tenant without settings; with systemd they are its unit's.
    ///
    /// # Errors
    /// `hostd.toml` cannot be used.
    pub fn default_limits(&self) -> Result<Limits, StoreError> {
        let mut limits = Limits::default();
        limits.fill(&self.host_config()?.default_limits(&self.facts, self.memory));
        Ok(limits)
    }
}

/// Makes a directory of the runtime tree, mode 0755.
///
/// # Errors
/// It cannot be made.
pub fn make_runtime_dir(path: &Path) -> Result<(), StoreError> {
    Ok(fs::create_dir_all(path).map_err(FileError::when("make", path))?)
}
