//! Configuration and allocations on disk. hostd is the only writer; a lock sees to it.
//!
//! A tenant exists when `tenants/NAME/allocation.toml` does. [`create`] and [`destroy`] are lists of
//! steps; a crash between any two is finished or undone by [`recover`] when hostd starts again.
//!
//! Everything here blocks on the disk.

pub mod allocate;
pub mod claims;
mod configure;
mod copy;
pub mod create;
pub mod destroy;
pub mod edit;
mod error;
pub mod images;
pub mod leases;
pub mod lock;
pub mod ports;
pub mod quota;
pub mod recover;
mod remove;
mod seed;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rootfs_tools::store::Lock as ImagesLock;
use tenant::{
    Allocation, HostFacts, Layout, Plan, Tenant, TenantName,
    allocation::RecordState,
    config::{self, Fragment},
    credentials::Credential,
    file_error::FileError,
    host::HostConfig,
    image::Manifest,
    kernel::KernelError,
    load,
    plan::{self, Inputs},
    ports::PortTable,
    profile, record,
};

use self::{
    allocate::Cursor,
    claims::{Claims, Use},
    create::Creation,
    destroy::Destruction,
    leases::Cursors,
    lock::StoreLock,
    recover::Finding,
    seed::{Identity, Unsynced},
};
pub use error::StoreError;

/// All records by name; a snapshot that later changes do not touch.
pub type Records = Arc<BTreeMap<TenantName, Allocation>>;

/// What the files of all tenants take of the host; a snapshot like [`Records`].
pub type AllClaims = Arc<BTreeMap<TenantName, Arc<Claims>>>;

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

/// What writers know besides the records.
#[derive(Debug, Default)]
struct Writer {
    cursor: Cursor,
    cursors: Cursors,
}

/// The store of one host.
pub struct Store {
    layout: Layout,
    facts: HostFacts,
    records: Mutex<Records>,
    /// What the file of each tenant takes of the host, as it was last read.
    claims: Mutex<AllClaims>,
    /// The NICs that tenants were last started with.
    started: Mutex<BTreeMap<TenantName, Vec<Use>>>,
    /// Held by every writer for as long as it writes.
    writer: Mutex<Writer>,
    storage: Option<Arc<KernelError>>,
    _lock: StoreLock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("layout", &self.layout).finish_non_exhaustive()
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves a whole value behind at each of its steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        for dir in [layout.tenants(), layout.images()] {
            close_to_users(&dir)?;
        }
        let (records, findings) = recover::recover(&layout)?;
        // Settings that cannot be used are told when somebody needs them.
        let config = profile::load_host(&layout).unwrap_or_default();
        let cursors = Cursors::behind(&config, &records);
        let writer = Writer { cursor: Cursor::behind(&records), cursors };
        let store = Self {
            layout,
            facts,
            records: Mutex::new(Arc::new(records)),
            claims: Mutex::default(),
            started: Mutex::default(),
            writer: Mutex::new(writer),
            storage: storage.err().map(Arc::new),
            _lock: lock,
        };
        let names: Vec<_> = store.records().keys().cloned().collect();
        names.iter().for_each(|name| store.read_claims(name));
        Ok((store, findings))
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

    /// The record of a tenant, in whatever state.
    ///
    /// # Errors
    /// [`StoreError::NoTenant`].
    pub fn record(&self, name: &TenantName) -> Result<Allocation, StoreError> {
        held(&self.records).get(name).cloned().ok_or_else(|| StoreError::NoTenant(name.to_string()))
    }

    /// The record of a tenant that is whole.
    ///
    /// # Errors
    /// [`StoreError::NoTenant`], [`StoreError::HalfRemoved`].
    pub fn ready(&self, name: &TenantName) -> Result<Allocation, StoreError> {
        let allocation = self.record(name)?;
        match allocation.state {
            RecordState::Ready => Ok(allocation),
            RecordState::Creating | RecordState::Destroying => Err(StoreError::HalfRemoved(name.to_string())),
        }
    }

    /// What the files of all tenants take of the host, as they were last read.
    pub fn claims(&self) -> AllClaims {
        held(&self.claims).clone()
    }

    fn put_claims(&self, name: &TenantName, claims: Claims) {
        Arc::make_mut(&mut held(&self.claims)).insert(name.clone(), Arc::new(claims));
    }

    fn put(&self, allocation: Allocation) {
        Arc::make_mut(&mut held(&self.records)).insert(allocation.name.clone(), allocation);
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

    /// The host's settings, read anew.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed.
    pub fn host_config(&self) -> Result<HostConfig, StoreError> {
        Ok(profile::load_host(&self.layout)?)
    }

    /// Makes a tenant; one that exists already and has what is asked for is left alone.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is changed then.
    pub fn create(&self, name: &TenantName, new: &NewTenant) -> Result<(Allocation, Change), StoreError> {
        let mut writer = held(&self.writer);
        if let Ok(existing) = self.record(name) {
            return self.unchanged(existing, new);
        }
        let config_path = self.layout.tenant_config(name);
        if config_path.exists() {
            return Err(StoreError::StrayConfig { path: config_path });
        }
        let settings = edit::apply("", &new.set, &[]).map_err(StoreError::Setting)?;
        let text = format!("{}{settings}", edit::HEADER);
        let ports = profile::load_ports(&self.layout)?;
        let tenant = self.resolve(name, &text, &ports)?;
        self.check_storage()?;
        let config = self.host_config()?;
        let mut taken = self.check_claims(&tenant, &config, &ports)?;
        let _images = ImagesLock::shared(&self.layout)?;
        let pinned = images::resolve(&self.layout, &tenant.image)?;
        let at = writer.cursor.next(&config, &self.records(), &taken)?;
        taken.extend([(at.ipv4.into(), name.clone()), (at.ipv6.into(), name.clone())]);
        let leases = writer.cursors.fit(&config, &tenant.nics, &[], &taken)?.wanted;
        let allocation = Allocation {
            format_version: Allocation::FORMAT_VERSION,
            generation: 1,
            name: name.clone(),
            // The record becomes a tenant's by the rename that publishes it, whole.
            state: RecordState::Ready,
            uuid: random_uuid()?,
            index: at.index,
            uid_base: at.uid_base,
            ipv4: at.ipv4,
            ipv6: at.ipv6,
            created: now(),
            pinned,
            leases,
        };
        let manifest = load::load_manifest(&self.layout, &allocation)?;
        let plan = self.plan_of(&tenant, &allocation, &manifest, None)?;
        configure::check_binds(&plan)?;
        Creation {
            layout: &self.layout,
            allocation: &allocation,
            config: &text,
            plan: &plan,
            image: images::contents(&self.layout, &manifest)?,
            identity: Identity { host_name: &self.facts.hostname },
            disk: tenant.disk,
            unsynced: Unsynced::default(),
        }
        .run()?;
        self.put(allocation.clone());
        self.put_claims(name, Claims::of(&tenant, &ports));
        Ok((allocation, Change::Created))
    }

    /// An existing tenant as the answer to a request for it.
    fn unchanged(&self, existing: Allocation, new: &NewTenant) -> Result<(Allocation, Change), StoreError> {
        let name = &existing.name;
        if existing.state != RecordState::Ready {
            return Err(StoreError::HalfRemoved(name.to_string()));
        }
        let text = self.config_text(name)?;
        let wanted = edit::apply(&text, &new.set, &[]).map_err(StoreError::Setting)?;
        let same = config::parse_toml::<Fragment>(&text).ok() == config::parse_toml::<Fragment>(&wanted).ok();
        if same { Ok((existing, Change::Unchanged)) } else { Err(StoreError::NameTaken(name.to_string())) }
    }

    /// Removes a tenant that does not run; going on with a removal that failed is fine.
    ///
    /// # Errors
    /// See [`StoreError`]; the record then says that it is being destroyed.
    pub fn destroy(&self, name: &TenantName) -> Result<(), StoreError> {
        let _writer = held(&self.writer);
        let mut allocation = self.record(name)?;
        let result = Destruction { layout: &self.layout, allocation: &mut allocation }.run();
        match result {
            Ok(()) => {
                Arc::make_mut(&mut held(&self.records)).remove(name);
                Arc::make_mut(&mut held(&self.claims)).remove(name);
                held(&self.started).remove(name);
            }
            Err(_) => self.put(allocation),
        }
        result
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

    fn plan_of(
        &self,
        tenant: &Tenant,
        allocation: &Allocation,
        manifest: &Manifest,
        unit_cgroup: Option<&Path>,
    ) -> Result<Plan, StoreError> {
        // What is planned without a unit needs none: its directories are looked at, or it is printed.
        let nowhere = Path::new("/").join(self.layout.instance()).join(tenant.name.as_str());
        let host = self.host_config()?;
        // Not what hostd's own unit was given: that is not for tenants.
        let mut credentials = load::load_credentials(&self.layout, &tenant.name, None)?;
        credentials.iter_mut().for_each(Credential::forget);
        let inputs = Inputs {
            layout: &self.layout,
            tenant,
            allocation,
            manifest,
            host: &host,
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
        self.resolve(name, text, &profile::load_ports(&self.layout)?)
    }

    fn resolve(&self, name: &TenantName, text: &str, ports: &PortTable) -> Result<Tenant, StoreError> {
        let fragment = config::parse_toml::<Fragment>(text)
            .map_err(|source| StoreError::Config { path: self.layout.tenant_config(name), source })?;
        Ok(profile::resolve_with(&self.layout, name, fragment, ports)?)
    }
}

/// Keeps users of the host out of a directory with set-user-ID files of tenants and images, whatever a backup or an
/// admin has made of its mode. One that is not there yet is made so.
fn close_to_users(dir: &Path) -> Result<(), StoreError> {
    let found = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(FileError::when("look at", dir))?,
    };
    if found.uid() == 0 && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    log::warn!("{dir:?} was open to users of the host; it is root's alone again, mode 0700");
    std::os::unix::fs::chown(dir, Some(0), Some(0)).map_err(FileError::when("change the owner of", dir))?;
    Ok(fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .map_err(FileError::when("change the mode of", dir))?)
}

/// 128 random bits as a version 4 UUID without its dashes, as machine-id(5) wants it.
fn random_uuid() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| FileError::new("read", "/dev/urandom", errno))?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The present time, RFC 3339 in UTC.
fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// Makes a directory of the runtime tree, mode 0755.
///
/// # Errors
/// It cannot be made.
pub fn make_runtime_dir(path: &Path) -> Result<(), StoreError> {
    Ok(fs::create_dir_all(path).map_err(FileError::when("make", path))?)
}
