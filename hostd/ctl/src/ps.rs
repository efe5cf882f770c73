use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde::Serialize;
use tenant::files::processes;
use wire::{Code, Detail, Failure};

use super::{Context, many, output, select::Selection};

/// Longest command line that is shown, characters.
const COMMAND: usize = 200;

/// Show the processes of tenants, with their process ids on the host and inside
#[derive(Debug, Args)]
pub(super) struct Ps {
    #[command(flatten)]
    selection: Selection,
}

/// A process of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Process {
    tenant: String,
    /// Its process id on the host.
    pid: u32,
    /// Its process id in the tenant's own namespace.
    inside: u32,
    /// Its user id inside.
    uid: u32,
    /// `R`, `S`, `D`, …, see proc_pid_stat(5).
    state: String,
    /// Resident memory, bytes.
    resident_bytes: u64,
    command: String,
}

impl Ps {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let chosen = self.selection.resolve(&context.client).await?;
        let get = |api: client::Client, name: String| async move {
            api.get::<Detail>(&client::tenant(&name, "")).await
        };
        let outcomes = many::requests(&context.client, &chosen.names, many::LOOKS_AT_ONCE, get, |_| {}).await;
        let (mut processes, mut failures) = (Vec::new(), Vec::new());
        for (name, result) in outcomes {
            match result.and_then(|detail| of(&detail)) {
                Ok(found) => processes.extend(found),
                // Of many, those that are down have none.
                Err(failure) if failure.code == Code::NotRunning && !chosen.is_one => {}
                Err(failure) if chosen.is_one => return Err(failure),
                Err(failure) => failures.push((name, failure)),
            }
        }
        context.output.print(&processes, |processes| table(processes, !chosen.is_one));
        failures.iter().for_each(|(_, failure)| context.output.failure(failure));
        Ok(if failures.is_empty() { ExitCode::SUCCESS } else { many::worst(failures.iter().map(|(_, f)| f)) })
    }
}

/// The processes in the cgroup of a tenant's payload, by their ids inside.
fn of(detail: &Detail) -> Result<Vec<Process>, Failure> {
    let name = &detail.summary.name;
    let Some(cgroup) = detail.cgroup.as_deref().filter(|_| detail.summary.state.is_up()) else {
        let text = format!("cannot list the processes of tenant {name:?}: it is not running");
        return Err(Failure::new(Code::NotRunning, text).help(format!("tenantctl start {name}")));
    };
    let first = detail.uids.split('-').next().and_then(|first| first.trim().parse().ok()).unwrap_or(0);
    let payload = Path::new(cgroup).join("payload");
    let mut found: BTreeMap<u32, Process> = BTreeMap::new();
    for (pid, _) in processes::in_cgroup(&payload) {
        // One that has ended meanwhile is none.
        if let Some(process) = read(Path::new("/proc"), pid, name, first) {
            found.insert(process.inside, process);
        }
    }
    Ok(found.into_values().collect())
}

fn read(proc: &Path, pid: u32, tenant: &str, first_uid: u32) -> Option<Process> {
    let dir: PathBuf = proc.join(pid.to_string());
    let status = fs::read_to_string(dir.join("status")).ok()?;
    let field = |key: &str| {
        status.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned()))
    };
    let word = |key: &str, at: usize| field(key)?.split_whitespace().nth(at).map(str::to_owned);
    let arguments = fs::read(dir.join("cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ");
    let command = match arguments.is_empty() {
        true => format!("[{}]", field("Name").unwrap_or_default()),
        false => arguments,
    };
    Some(Process {
        tenant: tenant.to_owned(),
        pid,
        inside: processes::inside(&status).unwrap_or(pid),
        uid: word("Uid", 1)?.parse::<u32>().ok()?.saturating_sub(first_uid),
        state: word("State", 0).unwrap_or_default(),
        resident_bytes: word("VmRSS", 0).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10,
        command: output::clean(&command).chars().take(COMMAND).collect(),
    })
}

fn table(processes: &[Process], many: bool) -> String {
    let row = |process: &Process| {
        let mut row = if many { vec![output::clean(&process.tenant)] } else { Vec::new() };
        row.extend([
            process.pid.to_string(),
            process.inside.to_string(),
            process.uid.to_string(),
            process.state.clone(),
            output::size(Some(process.resident_bytes)),
            process.command.clone(),
        ]);
        row
    };
    let header = ["TENANT", "PID", "INSIDE", "UID", "STATE", "RESIDENT", "COMMAND"];
    let header = if many { &header[..] } else { &header[1..] };
    let right = [0, 1, 2, 4].map(|column| column + usize::from(many));
    output::table(header, processes.iter().map(row).collect(), &right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_shown_as_the_tenant_sees_it_and_cannot_steer_the_terminal() {
        let dir = tempfile::tempdir().unwrap();
        let proc = dir.path().join("77");
        fs::create_dir(&proc).unwrap();
        let status =
            "Name:\tx\nState:\tS (sleeping)\nUid:\t1000033\t1000033\t0\t0\nNSpid:\t77\t5\nVmRSS:\t  12 kB\n";
        fs::write(proc.join("status"), status).unwrap();
        fs::write(proc.join("cmdline"), b"/bin/x\0--a\x1b[2J\0").unwrap();
        let process = read(dir.path(), 77, "alice", 1_000_000).unwrap();
        let expected = Process {
            tenant: "alice".to_owned(),
            pid: 77,
            inside: 5,
            uid: 33,
            state: "S".to_owned(),
            resident_bytes: 12 << 10,
            command: "/bin/x --a[2J".to_owned(),
        };
        assert_eq!(process, expected);
        fs::write(proc.join("cmdline"), b"").unwrap();
        assert_eq!(read(dir.path(), 77, "alice", 0).unwrap().command, "[x]");
        assert_eq!(read(dir.path(), 78, "alice", 0), None);
    }
}
