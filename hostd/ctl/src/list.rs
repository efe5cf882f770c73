use std::{collections::HashMap, process::ExitCode};

use clap::{Args, builder::PossibleValuesParser};

use wire::{MemoryUse, StatList};

use super::{
    Context,
    columns::{self, Column},
    listed::Listed,
    output,
    select::Selection,
};

/// List tenants
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    selection: Selection,
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
    /// Show more columns
    #[arg(long, short, conflicts_with_all = ["columns", "quiet"])]
    wide: bool,
    /// These columns, in this order
    #[arg(long = "columns", short = 'o', value_name = "COLUMN,…", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(columns::names()), hide_possible_values = true)]
    columns: Vec<String>,
    /// Sort by this column: names and words from A, amounts from the largest
    #[arg(long, value_name = "COLUMN", value_parser = PossibleValuesParser::new(columns::names()))]
    sort: Option<String>,
    /// Reverse the order
    #[arg(long, short)]
    reverse: bool,
    /// Leave out the line with the names of the columns
    #[arg(long)]
    no_header: bool,
}

impl List {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let mut tenants = self.selection.choose(context.client.get("/v1/tenants").await?)?;
        let sort = self.sort.as_deref().and_then(columns::named);
        if self.columns().into_iter().chain(sort).any(Column::needs_memory) {
            let StatList { tenants: stats, .. } = context.client.get("/v1/stat").await?;
            let memory: HashMap<String, MemoryUse> =
                stats.into_iter().filter_map(|stat| Some((stat.name, stat.usage.memory?))).collect();
            for tenant in &mut tenants {
                tenant.memory = memory.get(&tenant.summary.name).copied();
            }
        }
        if self.sort.is_some() || self.reverse {
            let key = self.sort.as_deref().unwrap_or("name");
            if let Some(column) = columns::named(key) {
                columns::sort(&mut tenants, column, self.reverse);
            }
        }
        if !context.output.json && !self.quiet {
            output::warnings(&broken(&tenants));
        }
        context.output.print(&tenants, |tenants| {
            if self.quiet {
                return tenants.iter().map(|tenant| output::clean(&tenant.summary.name) + "\n").collect();
            }
            columns::table(tenants, &self.columns(), !self.no_header)
        });
        Ok(ExitCode::SUCCESS)
    }

    fn columns(&self) -> Vec<&'static Column> {
        let names: Vec<&str> = match (&self.columns[..], self.wide) {
            ([], false) => columns::SHORT.to_vec(),
            ([], true) => [columns::SHORT, columns::WIDE].concat(),
            (names, _) => names.iter().map(String::as_str).collect(),
        };
        names.into_iter().filter_map(columns::named).collect()
    }
}

fn broken(tenants: &[Listed]) -> Vec<String> {
    let broken =
        tenants.iter().filter_map(|tenant| Some((&tenant.summary.name, tenant.summary.broken.as_ref()?)));
    broken.map(|(name, reason)| format!("tenant \"{name}\" is broken: {reason}; tenantctl doctor")).collect()
}
