use std::{path::Path, process::ExitCode};

use clap::{Args, value_parser};
use serde::Serialize;
use tenant::model::ids::Index;
use wire::{
    Code, Failure,
    doctor::{Capacity, Diagnosis, Health, Row, Unit, Verdict},
};

use super::{Context, absent, output};
use crate::sysctl::{Fixed, Kernel, fix};

/// Check this host for problems
///
/// Checks the packet filter, leftovers of stopped tenants, interfaces of running tenants, the kernel, systemd
/// and the capacity of the host. The exit code is 1 if there is a fault. If hostd is not running, that is the
/// first finding, and the checks that need no hostd follow.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Show the capacity of this host for N tenants in total
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(Index::MAX)))]
    tenants: Option<u32>,
    /// Raise sysctl values that are too low, now and in /etc/sysctl.d/60-tenantry.conf; requires root
    #[arg(long)]
    fix: bool,
    /// Repair what belongs to Tenantry, without affecting tenants
    #[arg(long)]
    repair: bool,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed: Option<Fixed>,
}

impl Doctor {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        if self.fix && !nix::unistd::geteuid().is_root() {
            let text = "tenantctl doctor --fix requires root: it writes to /etc/sysctl.d and /proc/sys";
            return Err(Failure::new(Code::Forbidden, text).help("sudo tenantctl doctor --fix"));
        }
        let path = match self.tenants {
            Some(tenants) => format!("/v1/doctor?tenants={tenants}"),
            None => "/v1/doctor".to_owned(),
        };
        let examined: std::result::Result<Diagnosis, Failure> = match self.repair {
            true => context.client.post(&path, &()).await,
            false => context.client.get(&path).await,
        };
        let mut diagnosis = match examined {
            Err(failure) if failure.code == Code::NoHostd => return Ok(without_hostd(context, &failure)),
            examined => examined?,
        };
        let mut fixed = None;
        if self.fix {
            let done = fix(&context.layout, Kernel(Path::new("/")), &diagnosis.capacity)
                .map_err(|error| Failure::of(Code::Failed, &error))?;
            if !done.applied.is_empty() {
                let after: Diagnosis = context.client.get(&path).await?;
                // What was repaired before is told as well.
                let repaired = diagnosis.findings.into_iter().filter(|finding| finding.repaired);
                let findings = repaired.chain(after.findings).collect();
                diagnosis = Diagnosis { findings, ..after };
            }
            fixed = Some(done);
        }
        let answer = Answer { diagnosis: &diagnosis, fixed };
        context.output.print(&answer, |answer| {
            let mut text = text(answer.diagnosis, self.tenants.is_none());
            if self.tenants.is_some() {
                text.push('\n');
                text.push_str(&table(&answer.diagnosis.capacity));
            }
            if let Some(fixed) = &answer.fixed {
                text.push('\n');
                text.push_str(&told(fixed));
            }
            text
        });
        Ok(ExitCode::from(u8::from(diagnosis.health == Health::Fault)))
    }
}

/// Prints what can be found out without hostd.
fn without_hostd(context: &Context, failure: &Failure) -> ExitCode {
    let diagnosis = absent::diagnose(&context.layout, failure);
    context
        .output
        .print(&Answer { diagnosis: &diagnosis, fixed: None }, |answer| text(answer.diagnosis, false));
    ExitCode::from(failure.code.exit_code())
}

/// A line for each finding; those of the capacity only where no table shows them.
fn text(diagnosis: &Diagnosis, capacity: bool) -> String {
    let mut text = String::new();
    for finding in diagnosis.findings.iter().filter(|finding| capacity || finding.check != "capacity") {
        let state = match (finding.repaired, finding.health) {
            (true, _) => "repaired",
            (false, Health::Ok) => "ok",
            (false, Health::Degraded) => "degraded",
            (false, Health::Fault) => "fault",
        };
        let tenant = finding.tenant.as_ref().map(|name| format!("tenant {name:?}: ")).unwrap_or_default();
        text.push_str(&format!(
            "{state:<10}{:<11}{}\n",
            finding.check,
            output::clean(&(tenant + &finding.message))
        ));
        if let Some(help) = &finding.help {
            text.push_str(&format!("{:<21}help: {}\n", "", output::clean(help)));
        }
    }
    text
}

fn amount(row: &Row, amount: u64) -> String {
    match row.unit {
        // fs.file-max, where no process has set it.
        Unit::Count if amount >= i64::MAX as u64 => "no limit".to_owned(),
        Unit::Count => amount.to_string(),
        Unit::Bytes => output::size(Some(amount)),
    }
}

fn table(capacity: &Capacity) -> String {
    let row = |row: &Row| {
        let verdict = match row.verdict {
            Verdict::Enough => "enough".to_owned(),
            Verdict::Short => format!("short by {}", amount(row, row.short_by())),
            Verdict::Unknown => "unknown".to_owned(),
        };
        vec![
            output::clean(&row.resource),
            amount(row, row.each),
            amount(row, row.need),
            row.have.map_or("-".to_owned(), |have| amount(row, have)),
            verdict,
            row.remedy.as_ref().map(|text| output::clean(text)).unwrap_or_default(),
        ]
    };
    let need = format!("FOR {}", capacity.tenants);
    let header = ["RESOURCE", "EACH", &need, "HAVE", "VERDICT", "REMEDY"];
    output::table(&header, capacity.rows.iter().map(row).collect(), &[1, 2, 3])
}

fn told(fixed: &Fixed) -> String {
    let mut text = String::new();
    for applied in &fixed.applied {
        let was = applied.was.map_or("-".to_owned(), |was| was.to_string());
        text.push_str(&format!("set       {} {was} -> {}\n", applied.key, applied.value));
    }
    for refused in &fixed.refused {
        text.push_str(&format!("refused   {}: {}\n", refused.key, output::clean(&refused.reason)));
    }
    let file = fixed.file.display();
    text.push_str(&match (fixed.written, fixed.elsewhere) {
        (true, false) => format!("written   {file}\n"),
        (true, true) => format!("written   {file}; nothing was set: this root is not the machine's own\n"),
        (false, _) if fixed.is_change() => format!("unchanged {file}\n"),
        (false, _) => "unchanged\n".to_owned(),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::doctor::{Finding, Setting};

    fn row(resource: &str, need: u64, have: Option<u64>, verdict: Verdict) -> Row {
        Row {
            resource: resource.to_owned(),
            unit: Unit::Count,
            each: 8,
            need,
            have,
            verdict,
            health: Health::Ok,
            sysctl: Some(Setting { key: "kernel.pty.max".to_owned(), value: 16_384 }),
            remedy: (verdict == Verdict::Short).then(|| "kernel.pty.max = 16384".to_owned()),
        }
    }

    #[test]
    fn a_fault_is_printed_with_its_remedy() {
        let finding = Finding {
            check: "filter".to_owned(),
            health: Health::Fault,
            tenant: Some("alice".to_owned()),
            message: "3 elements are missing".to_owned(),
            help: Some("tenantctl doctor --repair".to_owned()),
            repaired: false,
        };
        let repaired = Finding { repaired: true, help: None, ..finding.clone() };
        let capacity = Capacity { tenants: 1, rows: Vec::new() };
        let printed =
            text(&Diagnosis { health: Health::Fault, findings: vec![finding, repaired], capacity }, true);
        assert_eq!(
            printed,
            "fault     filter     tenant \"alice\": 3 elements are missing\n\
             \x20                    help: tenantctl doctor --repair\n\
             repaired  filter     tenant \"alice\": 3 elements are missing\n"
        );
    }

    #[test]
    fn the_table_says_by_how_much_and_what_to_do() {
        let memory = Row {
            unit: Unit::Bytes,
            each: 1 << 20,
            ..row("memory", 1 << 30, Some(1 << 32), Verdict::Enough)
        };
        let rows = vec![
            row("terminals", 9_025, Some(4_096), Verdict::Short),
            memory,
            row("neighbours", 4, None, Verdict::Unknown),
        ];
        let printed = table(&Capacity { tenants: 1000, rows });
        assert_eq!(
            printed,
            "RESOURCE    EACH  FOR 1000  HAVE  VERDICT        REMEDY\n\
             terminals      8      9025  4096  short by 4929  kernel.pty.max = 16384\n\
             memory      1.0M      1.0G  4.0G  enough\n\
             neighbours     8         4     -  unknown\n"
        );
    }
}
