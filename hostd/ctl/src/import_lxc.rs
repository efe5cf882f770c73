//! `tenantctl import-lxc`: a container of LXC as a tenant.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use lxc::conf::{Fate, Import, Row};
use lxc::import::{self, Choice};
use serde::Serialize;

use super::{Context, output};

/// Create a tenant from an LXC configuration
///
/// Every line is translated, or listed with the reason why it is not. If the image does not exist and
/// the container's root filesystem is a directory on this host, the image is imported from it first.
#[derive(Debug, Args)]
pub(super) struct ImportLxc {
    /// The configuration: an lxc.conf, or /var/lib/lxc/NAME/config
    file: PathBuf,
    /// Name of the tenant; default: the container's host name
    #[arg(long, short)]
    name: Option<String>,
    /// Image: NAME, NAME:CHANNEL or NAME@VERSION; default: named after the root filesystem
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Profile; default: os where the container has a root filesystem
    #[arg(long)]
    profile: Option<String>,
    /// Print the tenant's file and the report, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of a configuration, as JSON.
#[derive(Debug, Serialize)]
struct Imported<'a> {
    name: &'a str,
    tenant_file: String,
    rows: &'a [Row],
    warnings: usize,
    created: bool,
}

impl ImportLxc {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let choice = Choice {
            name: self.name.as_deref(),
            image: self.image.as_deref(),
            profile: self.profile.as_deref(),
        };
        let import = import::read(&context.layout, &self.file, &choice)?;
        if !self.dry_run {
            if !context.output.json {
                output::write(&report(&import));
            }
            import::create(&context.client, &context.layout, &import).await?;
        }
        let imported = Imported {
            name: import.name.as_str(),
            tenant_file: import.text(),
            rows: &import.rows,
            warnings: import.count(Fate::Warning),
            created: !self.dry_run,
        };
        context.output.print(&imported, |imported| {
            if imported.created {
                return format!("{}: created\n", imported.name);
            }
            let title = format!("# {}\n", context.layout.tenant_config(&import.name).display());
            format!("{title}{}\n{}", imported.tenant_file, report(&import))
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// The report as a table, and what it comes to.
pub(super) fn report(import: &Import) -> String {
    let first = import.rows.first().map(|row| row.file.clone()).unwrap_or_default();
    let row = |row: &Row| {
        let place = match row.line {
            0 => "-".to_owned(),
            line if row.file == first => line.to_string(),
            line => format!("{}:{line}", row.file),
        };
        let fate = match row.fate {
            Fate::Translated => "ok",
            Fate::Note => "note",
            Fate::Warning => "WARNING",
        };
        [place, row.key.clone(), fate.to_owned(), row.text.clone()].map(|cell| output::clean(&cell)).to_vec()
    };
    let rows = import.rows.iter().map(row).collect();
    let mut text = output::table(&["LINE", "KEY", "", "RESULT"], rows, &[]);
    text.push_str(&format!(
        "{} translated, {} notes, {} warnings\n",
        import.count(Fate::Translated),
        import.count(Fate::Note),
        import.count(Fate::Warning)
    ));
    text
}
