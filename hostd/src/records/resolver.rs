//! Files of several tenants, resolved one after the other: what they have in common is read once.

use std::{collections::HashMap, sync::Arc};

use tenant::{
    Tenant, TenantName,
    config::{self, Fragment, profile},
    files::record,
    model::{host::HostConfig, image::ProfileName, limits::DefaultLimits, nic_table::NicTable},
};

use super::{Store, StoreError, guard::held};
use crate::{assign::claims::Claims, parts::in_parts};

/// One look at the files of several tenants.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    store: &'a Store,
    config: HostConfig,
    defaults: DefaultLimits,
    profiles: HashMap<ProfileName, Fragment>,
}

impl<'a> Resolver<'a> {
    /// Reads the host's settings.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn new(store: &'a Store) -> Result<Self, StoreError> {
        let config = store.host_config()?;
        let defaults = config.default_limits(&store.facts, store.memory);
        Ok(Self { store, config, defaults, profiles: HashMap::new() })
    }

    /// The profile of a tenant's file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn profile(&mut self, own: &Fragment) -> Result<(ProfileName, &Fragment), StoreError> {
        let layout = &self.store.layout;
        let name = profile::profile_of(layout, own, &self.config)?;
        if !self.profiles.contains_key(&name) {
            self.profiles.insert(name.clone(), profile::load_profile(layout, &name)?);
        }
        let fragment = &self.profiles[&name];
        Ok((name, fragment))
    }

    /// The tenant that a file stands for.
    ///
    /// # Errors
    /// The profile cannot be read, or it makes no sense.
    pub(crate) fn tenant(
        &mut self,
        name: &TenantName,
        own: Fragment,
        ports: &NicTable,
    ) -> Result<Tenant, StoreError> {
        let (profile_name, fragment) = self.profile(&own)?;
        let of = (profile_name, fragment.clone());
        Ok(profile::merge(name, own, of, &self.config, ports, &self.defaults)?)
    }

    /// What a tenant's file takes of the host. One whose file cannot be used takes nothing, and cannot be started.
    pub(crate) fn claims(&mut self, name: &TenantName) -> Claims {
        let ports = NicTable::default();
        // Not asking for its record: a damaged one takes nothing away.
        let text = record::read(&self.store.layout.tenant_config(name)).ok();
        let own = text.and_then(|text| config::parse_toml::<Fragment>(&text).ok());
        let tenant = own.and_then(|own| self.tenant(name, own, &ports).ok());
        tenant.map(|tenant| Claims::of(&tenant, &ports)).unwrap_or_default()
    }
}

impl Store {
    /// Reads what a tenant's file takes of the host.
    pub(crate) fn read_claims(&self, name: &TenantName) {
        self.read_all_claims(std::slice::from_ref(name));
    }

    /// [`Store::read_claims`] of several tenants.
    pub(crate) fn read_all_claims(&self, names: &[TenantName]) {
        let parts = in_parts(names, |part| {
            let mut resolver = Resolver::new(self).ok();
            let mut of = |name| resolver.as_mut().map(|resolver| resolver.claims(name)).unwrap_or_default();
            part.iter().map(|name| (name.clone(), Arc::new(of(name)))).collect::<Vec<_>>()
        });
        Arc::make_mut(&mut held(&self.claims)).extend(parts.into_iter().flatten());
    }
}
