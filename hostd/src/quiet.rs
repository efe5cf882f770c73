//! Tenants to whose files nothing has happened since they were last looked at, as inotify(7) tells: what is known of these
//! files is what a look at them would find.
//!
//! An event is in the queue before the call that caused it returns. So one who has first taken everything from the queue
//! ([`Now`]) knows of all that was done before. Of some writes there is no event: by mmap(2), by another name of the file, by
//! a mount over it. So files are looked at after [`LASTS`] in any case.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tenant::TenantName;

use crate::records::guard::held;

/// For how long what was found in files is taken for what is in them.
const LASTS: Duration = Duration::from_secs(60);

/// How often something has happened to the files of each tenant that is watched.
#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<HashMap<TenantName, Arc<AtomicU64>>>);

/// How much had happened to the files of one tenant before they were looked at.
#[derive(Debug)]
pub(crate) struct Moment {
    happened: Arc<AtomicU64>,
    count: u64,
    at: Instant,
}

/// A moment up to which everything is known that inotify has told; of no tenant where it is not watched.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now<'a>(Option<(&'a Quiet, Instant)>);

impl Quiet {
    /// A tenant is watched from now on.
    pub(crate) fn watch(&self, name: &TenantName) {
        held(&self.0).entry(name.clone()).or_default().fetch_add(1, Ordering::Release);
    }

    /// Something has happened to a tenant's files.
    pub(crate) fn happened(&self, name: &TenantName) {
        if let Some(count) = held(&self.0).get(name) {
            count.fetch_add(1, Ordering::Release);
        }
    }

    /// A tenant is not watched any more.
    pub(crate) fn leave(&self, name: &TenantName) {
        if let Some(count) = held(&self.0).remove(name) {
            count.fetch_add(1, Ordering::Release);
        }
    }

    /// Something may have happened to the files of every tenant.
    pub(crate) fn happened_to_all(&self) {
        for count in held(&self.0).values() {
            count.fetch_add(1, Ordering::Release);
        }
    }

    /// Its caller has handled everything that inotify had told.
    pub(crate) fn now(&self) -> Now<'_> {
        Now(Some((self, Instant::now())))
    }
}

impl Now<'_> {
    /// Taken before the files of a tenant are looked at; none where nobody tells of them.
    pub(crate) fn moment(self, name: &TenantName) -> Option<Moment> {
        let (quiet, at) = self.0?;
        let happened = held(&quiet.0).get(name)?.clone();
        let count = happened.load(Ordering::Acquire);
        Some(Moment { happened, count, at })
    }

    /// Whether nothing has happened since a moment, so that what was found then is true now.
    pub(crate) fn is_as_at(self, moment: Option<&Moment>) -> bool {
        let (Some((_, now)), Some(Moment { happened, count, at })) = (self.0, moment) else { return false };
        happened.load(Ordering::Acquire) == *count && now.saturating_duration_since(*at) < LASTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_lasts_until_something_happens_or_its_tenant_is_watched_no_more() {
        let quiet = Quiet::default();
        let [alice, bob]: [TenantName; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
        assert!(quiet.now().moment(&alice).is_none(), "nobody would tell");
        quiet.watch(&alice);
        quiet.watch(&bob);
        let lasts = |moment: &Option<Moment>| quiet.now().is_as_at(moment.as_ref());
        let (alices, bobs) = (quiet.now().moment(&alice), quiet.now().moment(&bob));
        assert!(lasts(&alices) && lasts(&bobs) && !lasts(&None));
        assert!(!Now::default().is_as_at(alices.as_ref()), "what was told is not known");
        quiet.happened(&alice);
        assert!(!lasts(&alices) && lasts(&bobs));
        let alices = quiet.now().moment(&alice);
        quiet.happened_to_all();
        assert!(!lasts(&alices) && !lasts(&bobs));
        let alices = quiet.now().moment(&alice);
        quiet.leave(&alice);
        quiet.watch(&alice);
        assert!(!lasts(&alices), "it was not watched for a while");
        let alices = quiet.now().moment(&alice);
        assert!(lasts(&alices));
        let later = Now(Some((&quiet, Instant::now() + LASTS)));
        assert!(!later.is_as_at(alices.as_ref()), "what there is no event of is seen in the end");
    }
}
