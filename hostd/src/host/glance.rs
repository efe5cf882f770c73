//! What a list says of each tenant's file. A file is read again only when it, or another one that it comes from, has
//! changed since: a thousand tenants are listed by a few calls of stat(2) each.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tenant::{
    Layout, TenantName,
    config::{Fragment, Kind, parse_toml, profile},
    files::record,
    model::{
        host::GroupName,
        image::{ChannelName, ProfileName},
        label::Labels,
        limits::Limits,
        nic_table::NicTable,
    },
};
use wire::{StatLimits, Waiting};

use crate::{
    quiet::{Moment, Now},
    records::{Store, guard::held, pending::pending, resolver::Resolver, unchanged::Stamp},
};

/// What a tenant's file comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Glance {
    /// Its kind and its profile; none where the file cannot be used.
    pub(crate) of: Option<(Kind, ProfileName)>,
    pub(crate) group: Option<GroupName>,
    pub(crate) labels: Labels,
    pub(crate) limits: Limits,
    /// The channel that it follows.
    pub(crate) follow: Option<ChannelName>,
    /// What takes effect at its next start, while it is up.
    pub(crate) waiting: Vec<Waiting>,
}

/// The limits that a list and `stat` show.
pub(crate) fn stat_limits(limits: &Limits) -> StatLimits {
    StatLimits {
        memory_max_bytes: limits.most("memory_max"),
        cpu_quota_percent: limits.most("cpu_quota").and_then(|percent| percent.try_into().ok()),
        tasks_max: limits.most("tasks_max").and_then(|most| most.try_into().ok()),
        io_weight: limits.most("io_weight").and_then(|weight| weight.try_into().ok()),
    }
}

/// The files that a glance comes from: the tenant's own, the one that it was started with, those of the host, and
/// where its profile can be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sources {
    own: Option<Stamp>,
    started: Option<Stamp>,
    host: [Option<Stamp>; 2],
    profile: [Option<Stamp>; 2],
}

#[derive(Debug)]
struct Seen {
    sources: Sources,
    profile: Option<ProfileName>,
    glance: Arc<Glance>,
    /// Before the tenant's own files were looked at.
    moment: Option<Moment>,
    was_up: bool,
}

/// What the files of all tenants came to when they were last looked at.
#[derive(Debug, Default)]
pub(crate) struct Glances(Mutex<HashMap<TenantName, Seen>>);

/// One look at several tenants: what they have in common is read once.
pub(super) struct FileLook<'a> {
    store: &'a Store,
    now: Now<'a>,
    host: [Option<Stamp>; 2],
    files: Option<(Resolver<'a>, NicTable)>,
    profiles: HashMap<ProfileName, [Option<Stamp>; 2]>,
}

impl Glances {
    /// Forgets the tenants that are not there any more.
    pub(crate) fn forget(&self, is_there: impl Fn(&TenantName) -> bool) {
        held(&self.0).retain(|name, _| is_there(name));
    }

    /// Looks at one of them.
    pub(super) fn one(&self, look: &mut FileLook<'_>, name: &TenantName, is_up: bool) -> Arc<Glance> {
        let host = look.host;
        if let Some(seen) = held(&self.0).get(name)
            && seen.was_up == is_up
            && look.now.is_as_at(seen.moment.as_ref())
            && seen.sources.host == host
            && seen.sources.profile == look.profile_of(seen)
        {
            return seen.glance.clone();
        }
        let layout = look.store.layout();
        let moment = look.now.moment(name);
        let own = Stamp::of(&layout.tenant_config(name));
        let started = is_up.then(|| Stamp::of(&layout.started(name))).flatten();
        // A link that leads nowhere is no file, and that it leads somewhere is not told.
        let is_told = own.is_some_and(|own| own.is_told()) && started.is_none_or(|started| started.is_told());
        let moment = moment.filter(|_| is_told);
        if let Some(seen) = held(&self.0).get_mut(name) {
            let profile = look.profile_of(seen);
            if seen.sources == (Sources { own, started, host, profile }) {
                (seen.moment, seen.was_up) = (moment, is_up);
                return seen.glance.clone();
            }
        }
        // After the stamps were taken: what changes meanwhile is read by the next look.
        let (profile, glance) = look.read(name, is_up);
        let stamps = profile.as_ref().map(|profile| look.profile(profile)).unwrap_or_default();
        let (glance, sources) = (Arc::new(glance), Sources { own, started, host, profile: stamps });
        let seen = Seen { sources, profile, glance: glance.clone(), moment, was_up: is_up };
        held(&self.0).insert(name.clone(), seen);
        glance
    }
}

impl<'a> FileLook<'a> {
    pub(super) fn new(store: &'a Store, now: Now<'a>) -> Self {
        let layout = store.layout();
        let host = [layout.host_config(), layout.nic_table()].map(|path| Stamp::of(&path));
        Self { store, now, host, files: None, profiles: HashMap::new() }
    }

    fn profile_of(&mut self, seen: &Seen) -> [Option<Stamp>; 2] {
        seen.profile.as_ref().map(|profile| self.profile(profile)).unwrap_or_default()
    }

    fn profile(&mut self, name: &ProfileName) -> [Option<Stamp>; 2] {
        let layout: &Layout = self.store.layout();
        if let Some(stamps) = self.profiles.get(name) {
            return *stamps;
        }
        let stamps = layout.profile_paths(name).map(|path| Stamp::of(&path));
        self.profiles.insert(name.clone(), stamps);
        stamps
    }

    /// A tenant's profile and what its file comes to; nothing where that cannot be used.
    fn read(&mut self, name: &TenantName, is_up: bool) -> (Option<ProfileName>, Glance) {
        let store = self.store;
        if self.files.is_none() {
            let ports = profile::load_nic_table(store.layout()).ok();
            self.files = Resolver::new(store).ok().zip(ports);
        }
        let text = record::read(&store.layout().tenant_config(name)).ok();
        let own = text.as_ref().and_then(|text| parse_toml::<Fragment>(text).ok());
        let named = own.as_ref().and_then(|own| own.profile.clone());
        let (Some((resolver, ports)), Some(own)) = (&mut self.files, own) else {
            return (named, Glance::default());
        };
        let Ok(tenant) = resolver.tenant(name, own.clone(), ports) else {
            return (named, Glance::default());
        };
        let started = is_up.then(|| record::read(&store.layout().started(name)).ok()).flatten();
        // Of most tenants nothing was changed since.
        let started = started.filter(|started| Some(started) != text.as_ref());
        let started = started.and_then(|text| parse_toml::<Fragment>(&text).ok());
        let waiting = match (resolver.profile(&own), &started) {
            (Ok((_, base)), Some(started)) => pending(base, started, &own),
            _ => Vec::new(),
        };
        let glance = Glance {
            of: Some((tenant.kind, tenant.profile.clone())),
            group: tenant.group,
            labels: tenant.labels,
            limits: tenant.limits,
            follow: tenant.follow,
            waiting,
        };
        (Some(tenant.profile), glance)
    }
}
