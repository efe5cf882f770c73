use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::{
    Context, candidates, output,
    transfer::{Target, exists},
};

/// Write a tenant to an archive
///
/// Its configuration, its directories and which version of its image they lie over; its credentials are not in it. A
/// tenant that is running is frozen while it is read.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Name of the tenant
    #[arg(add = candidates::of(candidates::tenants))]
    name: String,
    /// The archive: NAME.tar.zst if absent, not packed if it ends in .tar, - for standard output
    file: Option<PathBuf>,
    /// Read it while it is running, and do not freeze it: each file as it is at some moment
    #[arg(long)]
    live: bool,
    /// Replace a file that is there
    #[arg(long, short)]
    force: bool,
}

impl Export {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let path = self.file.clone().unwrap_or_else(|| format!("{}.tar.zst", self.name).into());
        let target = match path.as_os_str() == "-" {
            true => Target::Output,
            false => Target::File { path: path.clone(), replaces: self.force },
        };
        // Before anything is frozen for nothing.
        if !self.force && matches!(target, Target::File { .. }) && path.exists() {
            return Err(exists(&path));
        }
        let query = if self.live { "/export?live=true" } else { "/export" };
        let answer = context.client.download(&client::tenant(&self.name, query)).await?;
        let bytes = target.take("exporting", answer).await?;
        if let Target::File { path, .. } = target {
            let done = json!({ "name": self.name, "file": path, "bytes": bytes });
            context.output.print(&done, |_| {
                let (name, path) = (output::clean(&self.name), path.to_string_lossy().into_owned());
                format!("{name}: exported to {}\n", output::clean(&path))
            });
        }
        Ok(ExitCode::SUCCESS)
    }
}
