use std::process::ExitCode;

use clap::{Args, Subcommand};
use client::segment;
use hyper::Method;
use wire::{Code, Done, Failure, HostNic, HostNicState, HostNics as Answer, NicAssignment, Source};

use super::{Context, candidates, many, output};

/// Show which NICs and VLANs of the host are assigned to which tenants
///
/// The table is /etc/tenantry/nics.toml; `set` and `unset` change single rows of it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Nics {
    /// Also show unassigned NICs
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    change: Option<Change>,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Assign a NIC, or a VLAN of one, to a tenant; takes effect at its next start
    Set {
        /// The NIC, or NIC.VLAN, e.g. eth2.100
        #[arg(value_name = "LINK[.VLAN]", add = candidates::of(candidates::nics))]
        nic: String,
        /// Name of the tenant
        #[arg(add = candidates::of(candidates::tenants))]
        tenant: String,
        /// Its name inside, e.g. wan
        #[arg(long)]
        name: Option<String>,
        /// Address with prefix length, e.g. 192.0.2.1/24 (repeatable)
        #[arg(long, value_name = "ADDRESS")]
        address: Vec<String>,
    },
    /// Remove the assignment of a NIC, or of a VLAN of one
    Unset {
        /// The NIC, or NIC.VLAN
        #[arg(value_name = "LINK[.VLAN]")]
        nic: String,
    },
}

impl Nics {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let done: Done = match &self.change {
            None => {
                let path = if self.all { "/v1/nics?all=true" } else { "/v1/nics" };
                let answer: Answer = context.client.get(path).await?;
                context.output.print(&answer, |answer| {
                    output::warnings(&answer.warnings);
                    table(&answer.nics)
                });
                return Ok(ExitCode::SUCCESS);
            }
            Some(Change::Set { nic, tenant, name, address }) => {
                let (link, vlan) = split(nic)?;
                let row = NicAssignment {
                    link: link.to_owned(),
                    vlan,
                    tenant: tenant.clone(),
                    name: name.clone(),
                    addresses: address.clone(),
                };
                context.client.request(Method::PUT, "/v1/nics", &row).await?
            }
            Some(Change::Unset { nic }) => {
                let (link, vlan) = split(nic)?;
                let vlan = vlan.map(|vlan| format!("&vlan={vlan}")).unwrap_or_default();
                let path = format!("/v1/nics?link={}{vlan}", segment(link));
                context.client.request(Method::DELETE, &path, &()).await?
            }
        };
        let verb = if matches!(self.change, Some(Change::Set { .. })) { "given" } else { "taken" };
        context.output.print(&done, |done| many::sentence(done, verb));
        Ok(ExitCode::SUCCESS)
    }
}

/// `eth1`, or `eth1.100`: digits behind the last dot are a VLAN.
fn split(nic: &str) -> Result<(&str, Option<u16>), Failure> {
    let Some((link, tag)) = nic.rsplit_once('.') else { return Ok((nic, None)) };
    if tag.is_empty() || !tag.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok((nic, None));
    }
    match tag.parse() {
        Ok(vlan @ 1..=4094) => Ok((link, Some(vlan))),
        _ => Err(Failure::new(Code::Invalid, format!("VLAN {tag} is outside 1 to 4094"))
            .help("write e.g. eth2.100 for VLAN 100 of eth2")),
    }
}

fn table(nics: &[HostNic]) -> String {
    let row = |nic: &HostNic| {
        let vlan = nic.vlan.map_or("-".to_owned(), |vlan| vlan.to_string());
        let state = match nic.state {
            HostNicState::Held => "held",
            HostNicState::Waiting => "waiting",
            HostNicState::Free => "free",
            HostNicState::Missing => "missing",
        };
        let from = match nic.source {
            Some(Source::Nics) => "nics.toml",
            Some(_) => "its file",
            None => "-",
        };
        let dash = |text: Option<&String>| text.map_or("-".to_owned(), |text| output::clean(text));
        let addresses = if nic.addresses.is_empty() { "-".to_owned() } else { nic.addresses.join(" ") };
        vec![
            output::clean(&nic.link),
            vlan,
            state.to_owned(),
            dash(nic.tenant.as_ref()),
            dash(nic.name.as_ref()),
            addresses,
            from.to_owned(),
        ]
    };
    let header = ["LINK", "VLAN", "STATE", "TENANT", "NAME", "ADDRESSES", "FROM"];
    output::table(&header, nics.iter().map(row).collect(), &[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_behind_the_last_dot_are_a_vlan() {
        assert_eq!(split("eth1").unwrap(), ("eth1", None));
        assert_eq!(split("eth2.100").unwrap(), ("eth2", Some(100)));
        assert_eq!(split("br.lan.7").unwrap(), ("br.lan", Some(7)));
        assert_eq!(split("br.lan").unwrap(), ("br.lan", None));
        assert!(split("eth2.4095").is_err());
        assert!(split("eth2.99999").is_err());
    }
}
