//! nft(8) and our tables.

use tenant::{
    kernel::{
        KernelError,
        nft::{
            FilterError, Nft,
            repair::{self, Findings, Rules},
        },
    },
    model::filter::HostFilter,
};
use wire::{chain, doctor::Finding};

use super::Examination;
use crate::filter;

fn failed(error: &KernelError) -> Finding {
    let finding = Finding::failed(error);
    match FilterError::of(error) {
        Some(fault) => finding.help(fault.help()),
        None => finding,
    }
}

/// The program.
pub(super) fn program(examination: &Examination<'_>) -> Vec<Finding> {
    let found = match filter::of(examination.host.store()) {
        Err(failure) => Finding::fault(failure.message).help(failure.help.unwrap_or_default()),
        Ok(None) => Finding::ok("the packet filter is disabled: filter = \"none\" in hostd.toml"),
        Ok(Some(_)) => match Nft::find() {
            Ok(nft) => Finding::ok(format!("{} is there", nft.path().display())),
            Err(error) => failed(&error),
        },
    };
    vec![found]
}

/// The tables.
pub(super) fn tables(examination: &Examination<'_>) -> Vec<Finding> {
    let Ok(Some(host)) = filter::of(examination.host.store()) else { return Vec::new() };
    // What is told by the check before need not be told again.
    if Nft::find().is_err() {
        return Vec::new();
    }
    let look = if examination.repair { repair::repair } else { repair::inspect };
    match look(&host) {
        Ok(findings) if findings.is_good() => {
            vec![Finding::ok(format!("the tables {} are complete", host.table)), reached(&host)]
        }
        Ok(findings) => told(examination, &host, &findings),
        Err(error) => vec![failed(&error)],
    }
}

/// What tenants reach of the host itself.
fn reached(host: &HostFilter) -> Finding {
    let services: String = host.services.iter().map(|service| format!(", {service}")).collect();
    Finding::ok(format!("tenants can reach on this host: ping{services}"))
}

fn told(examination: &Examination<'_>, host: &HostFilter, findings: &Findings) -> Vec<Finding> {
    let table = &host.table;
    let mut list = Vec::new();
    match &findings.rules {
        Rules::Good => {}
        Rules::Missing => list.push(Finding::fault(format!(
            "the tables {table} are missing: packets of tenants are not filtered"
        ))),
        Rules::Changed(what) => {
            list.push(Finding::fault(format!(
                "another program changed the rules of the tables {table}: {what}"
            )));
        }
    }
    // Without tables nothing of anybody is there.
    let missing = findings.missing.iter().filter(|_| findings.rules != Rules::Missing);
    for (owner, items) in missing {
        let first = items.first().map(ToString::to_string).unwrap_or_default();
        let finding = Finding::fault(format!("{} elements are missing, e.g. {first}", items.len()));
        list.push(match owner {
            Some(tenant) => finding.about(tenant),
            None => finding,
        });
    }
    if let Some(first) = findings.foreign.first() {
        let count = findings.foreign.len();
        list.push(Finding::fault(format!("{count} elements belong to no running tenant, e.g. {first}")));
    }
    let list = list.into_iter().map(Finding::repairable);
    if !examination.repair {
        return list.collect();
    }
    let result = match repair::inspect(host) {
        Ok(now) if now.is_good() => Ok(()),
        Ok(now) => Err(filter::summary(&now)),
        Err(error) => Err(chain(&error)),
    };
    list.map(|finding| finding.with_repair(result.clone())).collect()
}
