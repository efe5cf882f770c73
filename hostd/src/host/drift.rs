//! Files of tenants that hide files of their images. What a running tenant's overlays show is changed by a process inside
//! it, which has no more power than its root: overlayfs must not be changed beneath.

use std::{process::Stdio, sync::Arc, time::Duration};

use tenant::TenantName;
use tokio::time::timeout;
use wire::{Code, Drift, DriftMerge, DriftMergeRequest, DriftMerged, DriftView, Failure};

use super::{Host, Result, blocking, inside};
use crate::{
    drift::lineage::Boot,
    records::{Placement, Placing, StoreError},
};

/// How long a process inside may take to put a file in its place.
const LIMIT: Duration = Duration::from_secs(10);

/// What the process inside does, and says where it cannot. A link that stands in for a directory on the way leads nowhere
/// else, and a name that was made meanwhile is not written through.
const SCRIPT: &str = r#"set -euC
what=$1 dir=$2 name=$3 mode=$4 owner=$5 kept=$6 target=$7
cd -- "$dir" && [ "$(pwd -P)" = "$dir" ] || { echo "$dir is not the directory that it was" >&2; exit 1; }
if [ "$what" = metadata ]; then
    chown -- "$owner" "./$name"
    chmod -- "$mode" "./$name"
    exit
fi
if [ -d "./$name" ] && [ ! -L "./$name" ]; then echo "$dir/$name is a directory by now" >&2; exit 1; fi
new=./.tenantctl-$$.new
trap 'rm -f -- "$new"' EXIT
umask 077
case $what in
file) cat > "$new"; chown -- "$owner" "$new"; chmod -- "$mode" "$new" ;;
link) ln -s -- "$target" "$new"; chown -h -- "$owner" "$new" ;;
esac
if [ -n "$kept" ]; then rm -f -- "./$kept"; ln -- "./$name" "./$kept"; fi
if [ "$what" = nothing ] || [ -L "./$name" ]; then rm -f -- "./$name"; fi
if [ "$what" != nothing ]; then mv -f -- "$new" "./$name"; fi
"#;

fn named(verb: &str, name: &TenantName) -> impl Fn(StoreError) -> Failure {
    let (verb, name) = (verb.to_owned(), name.clone());
    move |error| match error {
        StoreError::OwnInstall => {
            let failure = Failure::from(error);
            Failure {
                message: format!("cannot {verb} tenant {:?}: {}", name.as_str(), failure.message),
                help: failure.help.map(|help| help.replace("NAME", name.as_str())),
                ..failure
            }
        }
        error => error.into(),
    }
}

impl Host {
    /// The boot of a tenant that is under way.
    pub(super) fn boot(&self, name: &TenantName) -> Option<Boot> {
        let said = self.units.state(name).filter(|_| self.units.is_running(name))?;
        Some(Boot { digest: said.booted()?, since_ms: said.started_ms })
    }

    /// The files of a tenant that hide files of its image.
    ///
    /// # Errors
    /// [`Code::OwnInstall`]; it cannot be looked at.
    pub(crate) async fn drift(self: &Arc<Self>, name: &TenantName) -> Result<Drift> {
        let _look = self.drift_looks.take(name).await;
        let (host, own) = (self.clone(), name.clone());
        let drift = blocking(move || host.store.drift(&own, host.boot(&own))).await?;
        drift.map_err(named("look at the files of", name))
    }

    /// Three views of a path.
    ///
    /// # Errors
    /// It hides nothing; those of [`Self::drift`].
    pub(crate) async fn drift_view(self: &Arc<Self>, name: &TenantName, path: &str) -> Result<DriftView> {
        let _look = self.drift_looks.take(name).await;
        let (host, own, path) = (self.clone(), name.clone(), path.to_owned());
        let view = blocking(move || host.store.drift_view(&own, &path, host.boot(&own))).await?;
        view.map_err(named("look at the files of", name))
    }

    /// Merges a file of a tenant's own with its image's.
    ///
    /// # Errors
    /// It hides nothing, or another file is there by now; [`Code::Running`] for what cannot be done beneath a running
    /// tenant; what the process inside says.
    pub(crate) async fn merge(
        self: &Arc<Self>,
        name: &TenantName,
        request: DriftMergeRequest,
    ) -> Result<DriftMerged> {
        let _turn = self.turns.take(name).await;
        let keeps = request.how == DriftMerge::Mine;
        let is_running = self.units.is_running(name) && !keeps;
        if !keeps && self.is_starting(name) {
            let text = format!("cannot merge files of tenant {:?}: it is being started", name.as_str());
            return Err(Failure::new(Code::Busy, text).help("try again when it is running"));
        }
        let (host, own) = (self.clone(), name.clone());
        let begun = blocking(move || host.store.begin_merge(&own, &request, (host.boot(&own), is_running)));
        let mut merge = begun.await?.map_err(named("merge files of", name))?;
        if let Some(placement) = merge.placement.take() {
            self.place(name, placement).await?;
        }
        let host = self.clone();
        Ok(blocking(move || host.store.end_merge(merge)).await??)
    }

    /// Puts a file in its place in a running tenant.
    async fn place(&self, name: &TenantName, placement: Placement) -> Result<()> {
        let Placement { path, what, mode, owner: [uid, gid], kept } = placement;
        let failed = |code, reason: String| {
            let text = format!("cannot merge {path:?} in tenant {:?}: {reason}", name.as_str());
            Failure::new(code, text).help(format!("stop it first: tenantctl stop {name}"))
        };
        let (dir, base) = path.rsplit_once('/').unwrap_or(("", &path));
        let dir = if dir.is_empty() { "/" } else { dir };
        let mut target = String::new();
        let (word, stdin) = match what {
            Placing::Nothing => ("nothing", Stdio::null()),
            Placing::File(file) => ("file", Stdio::from(file)),
            Placing::Metadata => ("metadata", Stdio::null()),
            Placing::Link(to) => {
                target = to.to_str().map(str::to_owned).ok_or_else(|| {
                    failed(Code::Running, "the image's link leads to a name that is no UTF-8".to_owned())
                })?;
                ("link", Stdio::null())
            }
        };
        let (mode, owner, kept) = (format!("{mode:04o}"), format!("{uid}:{gid}"), kept.unwrap_or_default());
        let words =
            ["/bin/sh", "-c", SCRIPT, "tenantctl merge", word, dir, base, &mode, &owner, &kept, &target];
        let running = inside::exec_with(self.layout(), name.as_str(), &words, stdin);
        match timeout(LIMIT, running).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(reason)) => Err(failed(Code::Failed, format!("the command inside: {reason}"))),
            Err(_) => {
                Err(failed(Code::Timeout, format!("the command inside took more than {} s", LIMIT.as_secs())))
            }
        }
    }
}
