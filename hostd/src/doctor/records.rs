//! Records that are damaged, and files of removed tenants that cannot be removed.

use tenant::TenantName;
use wire::{chain, doctor::Finding, one_line};

use super::Examination;
use crate::{dirs::remains::Remains, records::StoreError};

pub(super) fn check(examination: &Examination<'_>) -> Vec<Finding> {
    let store = examination.host.store();
    let mut findings = Vec::new();
    for (name, broken) in store.broken().iter() {
        let fault = Finding::fault(format!("it is broken: {}", broken.reason)).about(name);
        findings.push(if broken.is_newer {
            newer(fault)
        } else {
            mend(examination, name, fault.repairable())
        });
    }
    for name in store.records().keys() {
        if let Some(problem) = store.record_fault(name) {
            findings.extend(rewrite(examination, name, &problem));
        }
    }
    findings.extend(store.trash().remains().into_iter().map(|remains| remove(examination, remains)));
    if findings.is_empty() {
        let going = store.trash().len();
        let text = "the records of all tenants are readable";
        findings.push(Finding::ok(match going {
            0 => text.to_owned(),
            going => format!("{text}; the files of {going} removed tenants are still being deleted"),
        }));
    }
    findings
}

fn newer(fault: Finding) -> Finding {
    fault.help("use the release of Tenantry that wrote it, or a newer one")
}

/// A tenant that hostd could not read when it started.
fn mend(examination: &Examination<'_>, name: &TenantName, fault: Finding) -> Finding {
    if !examination.repair {
        return fault;
    }
    let host = examination.host;
    let Some(_turn) = host.try_turn(name) else { return fault.with_repair(Err(BUSY.to_owned())) };
    match host.store().mend(name, host.units().is_running(name)) {
        Ok(notes) if notes.is_empty() => fault.with_repair(Ok(())),
        Ok(notes) => {
            let told = Finding { message: format!("{}; now {}", fault.message, notes.join(", ")), ..fault };
            told.with_repair(Ok(()))
        }
        // Its remedy is another one than to try again.
        Err(error) => {
            let help = error.help();
            let failed = fault.with_repair(Err(reason(&error)));
            Finding { help: help.or(failed.help), ..failed }
        }
    }
}

/// A record that was damaged while hostd was running: it knows what it said. Nothing where it has been written meanwhile.
fn rewrite(examination: &Examination<'_>, name: &TenantName, problem: &StoreError) -> Option<Finding> {
    let text = format!("its record is damaged, but hostd still has its content: {}", reason(problem));
    let fault = Finding::fault(text).about(name).repairable();
    if !examination.repair {
        return Some(fault);
    }
    let host = examination.host;
    // Who prepares a start writes the record as well, and has not the tenant's turn.
    let (Some(_turn), Some(_files)) = (host.try_turn(name), host.try_files(name)) else {
        return Some(fault.with_repair(Err(BUSY.to_owned())));
    };
    host.store().record_fault(name)?;
    Some(fault.with_repair(host.store().rewrite(name).map_err(|error| reason(&error))))
}

fn remove(examination: &Examination<'_>, remains: Remains) -> Finding {
    let text = format!("it was removed, but some of its files remain: {}", remains.reason);
    let fault = Finding::fault(text).about(&remains.tenant).help(remains.help.clone());
    if !examination.repair {
        return fault;
    }
    let Some(leaving) = examination.host.store().trash().retry(&remains.path) else {
        return fault.with_repair(Ok(()));
    };
    let removed = examination.runtime.block_on(leaving.gone()).map_err(|error| reason(&error));
    fault.with_repair(removed)
}

/// Why nothing is repaired of a tenant that is being worked on.
const BUSY: &str = "it is being started, stopped or changed";

fn reason(error: &StoreError) -> String {
    one_line(&chain(error))
}
