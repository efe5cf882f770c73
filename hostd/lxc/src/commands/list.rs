use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use nix::unistd::Pid;
use tenant::{
    TenantName,
    config::{Fragment, parse_toml},
};
use wire::{Code, ConfigText, Detail, Failure, Summary, TenantState};

use super::{Applet, Common, Lxc, Refused, Result, inside, refused, state::State};

/// List the tenants
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct List {
    /// Print one name on each line
    #[arg(short = '1', long)]
    line: bool,
    /// Print a table
    #[arg(short = 'f', long)]
    fancy: bool,
    /// Print a table of these columns: NAME, STATE, PID, RAM, SWAP, AUTOSTART, GROUPS, INTERFACE, IPV4, IPV6, UNPRIVILEGED
    #[arg(short = 'F', long, value_name = "COLUMNS", value_delimiter = ',', value_enum, ignore_case = true)]
    fancy_format: Vec<Column>,
    /// Only running and frozen tenants
    #[arg(long)]
    active: bool,
    /// Only running tenants
    #[arg(long)]
    running: bool,
    /// Only frozen tenants
    #[arg(long)]
    frozen: bool,
    /// Only stopped tenants
    #[arg(long)]
    stopped: bool,
    /// Accepted: every tenant is defined
    #[arg(long)]
    defined: bool,
    /// Only tenants in all of these groups, separated by commas
    #[arg(short = 'g', long, value_name = "GROUPS", value_delimiter = ',')]
    groups: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Column {
    Name,
    State,
    Pid,
    Ram,
    Swap,
    Autostart,
    Groups,
    Interface,
    Ipv4,
    Ipv6,
    Unprivileged,
}

impl Column {
    const USUAL: [Self; 7] =
        [Self::Name, Self::State, Self::Autostart, Self::Groups, Self::Ipv4, Self::Ipv6, Self::Unprivileged];

    fn title(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Applet for List {
    const REFUSED: &'static [Refused] = &[
        refused(None, "nesting", true, "list nested tenants inside: tenantctl exec NAME lxc-ls"),
        refused(None, "filter", true, "filter with grep: lxc-ls -1 | grep -E REGEX"),
    ];

    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let mut tenants: Vec<Summary> = lxc.wait(lxc.client().get("/v1/tenants"))?;
        tenants.retain(|tenant| self.wants(tenant.state.into()));
        if !self.groups.is_empty() {
            let mut kept = Vec::new();
            for tenant in tenants {
                let group = row(lxc, &tenant.name)?.group;
                // A tenant is in one group at most.
                if self.groups.iter().all(|wanted| Some(wanted) == group.as_ref()) {
                    kept.push(tenant);
                }
            }
            tenants = kept;
        }
        let text = if self.fancy || !self.fancy_format.is_empty() {
            let usual = Column::USUAL.to_vec();
            let columns = if self.fancy_format.is_empty() { usual } else { self.fancy_format.clone() };
            let rows = tenants.iter().map(|tenant| row(lxc, &tenant.name)?.cells(lxc, tenant, &columns));
            table(&columns, &rows.collect::<Result<Vec<_>>>()?)
        } else {
            names(&tenants, self.line || !std::io::IsTerminal::is_terminal(&std::io::stdout()))
        };
        client::output::write(&text);
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    /// Whether a state is among those that are asked for; all are if none is.
    fn wants(&self, state: State) -> bool {
        let up = state != State::Stopped;
        let any = self.active || self.running || self.frozen || self.stopped;
        !any || self.active && up
            || self.running && up && state != State::Frozen
            || self.frozen && state == State::Frozen
            || self.stopped && !up
    }
}

/// The columns of a table that are not in a summary.
struct Row {
    group: Option<String>,
    autostart: bool,
    detail: Detail,
}

fn row(lxc: &Lxc, name: &str) -> Result<Row> {
    let name: TenantName =
        name.parse().map_err(|error: tenant::model::name::InvalidName| Failure::of(Code::Failed, &error))?;
    let ConfigText { text } = lxc.get(&name, "/config")?;
    let own: Fragment = parse_toml(&text).unwrap_or_default();
    let detail = lxc.get(&name, "")?;
    Ok(Row {
        group: own.group.as_ref().map(ToString::to_string),
        autostart: own.autostart.unwrap_or(false),
        detail,
    })
}

impl Row {
    fn cells(&self, lxc: &Lxc, tenant: &Summary, columns: &[Column]) -> Result<Vec<String>> {
        let init = self.detail.init_pid.filter(|_| tenant.state != TenantState::Stopped);
        let (ipv4, ipv6) = init.map(inside::addresses).unwrap_or_default();
        let list = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
        let megabytes = |bytes: u64| format!("{:.2}MB", bytes as f64 / 1_048_576.0);
        let cell = |column: &Column| match column {
            Column::Name => tenant.name.clone(),
            Column::State => State::from(tenant.state).word().to_owned(),
            Column::Pid => init.map_or_else(|| "-".to_owned(), |pid| Pid::from_raw(pid).to_string()),
            Column::Ram => megabytes(tenant.memory_bytes.unwrap_or(0)),
            Column::Swap => megabytes(super::cgroup::swap(lxc, &self.detail)),
            Column::Autostart => u8::from(self.autostart).to_string(),
            Column::Groups => self.group.clone().unwrap_or_else(|| "-".to_owned()),
            Column::Interface => {
                list(init.map(inside::traffic).unwrap_or_default().into_iter().map(|i| i.name).collect())
            }
            Column::Ipv4 => list(ipv4.clone()),
            Column::Ipv6 => list(ipv6.clone()),
            Column::Unprivileged => "true".to_owned(),
        };
        Ok(columns.iter().map(cell).collect())
    }
}

/// Cells padded to the widest of their column, each followed by a blank; nothing at all without rows.
fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let titles: Vec<String> = columns.iter().map(|column| column.title()).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].len()).chain([titles[at].len()]).max().unwrap_or(0);
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        for (at, cell) in row.iter().enumerate() {
            text.push_str(&format!("{cell:<width$} ", width = width(at)));
        }
        text.push('\n');
    }
    text
}

/// The names, in columns on a terminal.
fn names(tenants: &[Summary], lines: bool) -> String {
    if lines {
        return tenants.iter().map(|tenant| format!("{}\n", tenant.name)).collect();
    }
    let width = tenants.iter().map(|tenant| tenant.name.len()).max().unwrap_or(0);
    let (_, columns) = tenant::attach::window_size(std::io::stdout());
    let mut text = String::new();
    let mut used = 0;
    for tenant in tenants {
        text.push_str(&format!("{:<width$}", tenant.name));
        used += width;
        let full = used + width >= usize::from(columns).max(80);
        text.push(if full { '\n' } else { ' ' });
        used = if full { 0 } else { used + 1 };
    }
    if used > 0 {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    #[test]
    fn a_table_looks_as_lxc_prints_it() {
        let row = ["foo", "RUNNING", "0", "-", "10.0.0.2", "-", "true"].map(str::to_owned).to_vec();
        assert_eq!(
            table(&Column::USUAL, &[row]),
            "NAME STATE   AUTOSTART GROUPS IPV4     IPV6 UNPRIVILEGED \n\
             foo  RUNNING 0         -      10.0.0.2 -    true         \n"
        );
        assert_eq!(table(&Column::USUAL, &[]), "");
    }

    #[test]
    fn filters_choose_by_state() {
        let wants = |flags: &[&str], state| {
            let words = ["lxc-ls"].iter().chain(flags);
            let matches = super::super::definition::<List>("lxc-ls").try_get_matches_from(words).unwrap();
            List::from_arg_matches(&matches).unwrap().wants(state)
        };
        assert!(wants(&[], State::Stopped) && wants(&["--active"], State::Frozen));
        assert!(!wants(&["--running"], State::Frozen) && !wants(&["--stopped"], State::Running));
        assert!(wants(&["--stopped", "--frozen"], State::Frozen));
    }
}
