use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use wire::{Copied, RestoreRequest, SnapshotInfo, SnapshotRequest};

use super::{Context, candidates, output};

/// Keep a tenant's directories as they are now
///
/// A tenant that is running is frozen meanwhile. Where the filesystem can (btrfs, xfs), files share their blocks with the
/// snapshot until they are changed; elsewhere they are copied.
#[derive(Debug, Args)]
pub(super) struct Take {
    /// Name of the tenant
    #[arg(value_name = "TENANT", add = candidates::of(candidates::tenants))]
    tenant: String,
    /// Name of the snapshot; the moment if absent
    name: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Copy while it is running, and do not freeze it: each file as it is at some moment
    #[arg(long)]
    live: bool,
}

/// List the snapshots of a tenant, or remove some
#[derive(Debug, Args)]
pub(super) struct Snapshots {
    /// Name of the tenant
    #[arg(value_name = "TENANT", add = candidates::of(candidates::tenants))]
    tenant: String,
    /// Remove this one (repeatable)
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
}

/// Put a snapshot in the place of a tenant's directories
///
/// The tenant has to be down. It gets the version of its image back that it had when the snapshot was taken.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// Name of the tenant
    #[arg(value_name = "TENANT", add = candidates::of(candidates::tenants))]
    tenant: String,
    /// Name of the snapshot
    name: String,
    /// Leave the tenant the version of its image that it has now
    #[arg(long)]
    keep_base: bool,
}

/// `12 entries, 1.2M, 2 left out`
pub(super) fn amount(entries: u64, bytes: u64, left_out: u64) -> String {
    let left = match left_out {
        0 => String::new(),
        count => format!(", {count} left out"),
    };
    format!("{entries} entries, {}{left}", output::size(Some(bytes)))
}

/// `bob: cloned from alice, 12 files, 1.2M (0.004 s)`
pub(super) fn sentence(done: &Copied, what: &str) -> String {
    let (name, took) = (output::clean(&done.name), done.took_us as f64 / 1e6);
    let amount = amount(done.entries, done.bytes, done.left_out);
    format!("{name}: {what}, {amount} ({took:.3} s)\n")
}

impl Take {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let request =
            SnapshotRequest { name: self.name.clone(), comment: self.comment.clone(), live: self.live };
        let done: Copied = context.client.post(&client::tenant(&self.tenant, "/snapshots"), &request).await?;
        context.output.print(&done, |done| sentence(done, &format!("snapshot of {}", self.tenant)));
        Ok(ExitCode::SUCCESS)
    }
}

impl Snapshots {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        for name in &self.remove {
            let path = client::tenant(&self.tenant, &format!("/snapshots/{}", client::segment(name)));
            let done: Copied = context.client.request(Method::DELETE, &path, &()).await?;
            context.output.print(&done, |done| format!("{}: removed\n", output::clean(&done.name)));
        }
        if !self.remove.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let all: Vec<SnapshotInfo> = context.client.get(&client::tenant(&self.tenant, "/snapshots")).await?;
        context.output.print(&all, |all| {
            let row = |snapshot: &SnapshotInfo| {
                let base = if snapshot.is_present_base { String::new() } else { snapshot.base.clone() };
                let note = snapshot.problem.as_ref().or(snapshot.comment.as_ref()).cloned();
                let cells = [
                    snapshot.name.clone(),
                    snapshot.taken.clone(),
                    output::size(Some(snapshot.bytes)),
                    if snapshot.live { "live".to_owned() } else { String::new() },
                    base,
                    note.unwrap_or_default(),
                ];
                cells.iter().map(|cell| output::clean(cell)).collect()
            };
            let header = ["NAME", "TAKEN", "SIZE", "STATE", "OTHER BASE", "COMMENT"];
            output::table(&header, all.iter().map(row).collect(), &[2])
        });
        Ok(ExitCode::SUCCESS)
    }
}

impl Restore {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let request = RestoreRequest { snapshot: self.name.clone(), keep_base: self.keep_base };
        let done: Copied = context.client.post(&client::tenant(&self.tenant, "/restore"), &request).await?;
        context.output.print(&done, |done| sentence(done, &format!("restored {}", self.name)));
        Ok(ExitCode::SUCCESS)
    }
}
