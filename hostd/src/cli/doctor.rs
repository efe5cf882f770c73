use std::process::ExitCode;

use clap::Args;

use super::{Context, output};
use crate::doctor::{Diagnosis, Health};

/// Check whether this host is as tenants need it
///
/// Looks at the packet filter, at what tenants that do not run have left behind, at the interfaces of those
/// that do, and at the kernel. Ends with 1 while something is at fault.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Put right what is ours, without touching tenants
    #[arg(long)]
    repair: bool,
}

impl Doctor {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let diagnosis: Diagnosis = match self.repair {
            true => context.client.post("/v1/doctor", &()).await?,
            false => context.client.get("/v1/doctor").await?,
        };
        context.output.print(&diagnosis, text);
        Ok(ExitCode::from(u8::from(diagnosis.health == Health::Fault)))
    }
}

fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for finding in &diagnosis.findings {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;

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
        let printed = text(&Diagnosis { health: Health::Fault, findings: vec![finding, repaired] });
        assert_eq!(
            printed,
            "fault     filter     tenant \"alice\": 3 elements are missing\n\
             \x20                    help: tenantctl doctor --repair\n\
             repaired  filter     tenant \"alice\": 3 elements are missing\n"
        );
    }
}
