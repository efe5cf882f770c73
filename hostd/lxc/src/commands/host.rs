//! hostd, as a command of LXC asks it.

use client::Client;
use tenant::{Layout, TenantName};
use wire::{Code, Detail, Failure};

/// What a command ends in.
pub(super) type Result<T> = std::result::Result<T, Failure>;

/// What a command works with.
pub(super) struct Lxc {
    pub(super) client: Client,
    pub(super) layout: Layout,
    pub(super) runtime: tokio::runtime::Runtime,
}

impl Lxc {
    pub(super) fn new() -> Result<Self> {
        let root = std::env::var_os(Layout::ENV).unwrap_or_else(|| "/".into());
        let root = std::path::absolute(&root).unwrap_or_else(|_| root.into());
        let layout = Layout::new(root);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::of(Code::Failed, &error))?;
        Ok(Self { client: Client::new(layout.clone()), layout, runtime })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn wait<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(future)
    }

    /// The tenant; none where there is no such tenant.
    pub(super) fn find(&self, name: &TenantName) -> Result<Option<Detail>> {
        match self.wait(self.client().get(&client::tenant(name.as_str(), ""))) {
            Ok(detail) => Ok(Some(detail)),
            Err(failure) if failure.code == Code::NoTenant => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The tenant, which must be running.
    pub(super) fn running(&self, name: &TenantName) -> Result<Detail> {
        match self.find(name)? {
            Some(detail) if detail.summary.state.is_up() => Ok(detail),
            _ => Err(not_running(name)),
        }
    }

    pub(super) fn get<T: serde::de::DeserializeOwned>(&self, name: &TenantName, rest: &str) -> Result<T> {
        self.wait(self.client().get(&client::tenant(name.as_str(), rest)))
    }

    pub(super) fn post<T: serde::de::DeserializeOwned>(
        &self,
        name: &TenantName,
        rest: &str,
        body: &impl serde::Serialize,
    ) -> Result<T> {
        self.wait(self.client().post(&client::tenant(name.as_str(), rest), body))
    }
}

pub(super) fn not_running(name: &TenantName) -> Failure {
    Failure::new(Code::NotRunning, format!("{name} is not running"))
        .help(format!("start it: lxc-start -n {name} -d"))
}
