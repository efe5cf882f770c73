//! What `tenantctl doctor` is told.

use serde::{Deserialize, Serialize};
use tenant::{cause::chain, kernel::KernelError};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// Something is not available, and tenants that do not need it are not affected.
    Degraded,
    /// Tenants are affected.
    Fault,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// The check.
    pub check: String,
    /// How it is; after a repair, how it was.
    pub health: Health,
    /// The tenant it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Whether it has been repaired.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repaired: bool,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diagnosis {
    /// The worst finding that has not been repaired.
    pub health: Health,
    /// What each check found, in the order of the checks.
    pub findings: Vec<Finding>,
    /// Whether this host is large enough, resource by resource.
    pub capacity: Capacity,
}

impl Finding {
    /// As it should be.
    pub fn ok(message: impl Into<String>) -> Self {
        Self {
            check: String::new(),
            health: Health::Ok,
            tenant: None,
            message: message.into(),
            help: None,
            repaired: false,
        }
    }

    /// Tenants are affected.
    pub fn fault(message: impl Into<String>) -> Self {
        Self { health: Health::Fault, ..Self::ok(message) }
    }

    /// Something is not available.
    pub fn degraded(message: impl Into<String>) -> Self {
        Self { health: Health::Degraded, ..Self::ok(message) }
    }

    /// A check that could not look.
    pub fn failed(error: &KernelError) -> Self {
        Self::fault(chain(error))
    }

    /// With a remedy.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The remedy of most findings.
    #[must_use]
    pub fn repairable(self) -> Self {
        self.help("tenantctl doctor --repair")
    }

    /// With the tenant it is about.
    #[must_use]
    pub fn about(self, tenant: impl ToString) -> Self {
        Self { tenant: Some(tenant.to_string()), ..self }
    }

    /// With what came of its repair; one that failed says why.
    #[must_use]
    pub fn with_repair(self, result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self { repaired: true, help: None, ..self },
            Err(reason) => {
                Self { message: format!("{}, and the repair failed: {reason}", self.message), ..self }
            }
        }
    }
}

/// What an amount counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Pieces.
    #[default]
    Count,
    /// Bytes.
    Bytes,
}

/// Whether there is enough of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// There is.
    Enough,
    /// There is not.
    Short,
    /// This host does not tell.
    Unknown,
}

/// A key of sysctl(8) and the value that it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Setting {
    /// The key, with dots.
    pub key: String,
    /// The least value that will do, rounded up.
    pub value: u64,
}

impl Setting {
    /// The file of a key below `/proc/sys`.
    pub fn file(key: &str) -> String {
        format!("/proc/sys/{}", key.replace('.', "/"))
    }
}

/// One resource: what the tenants need of it and what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Row {
    /// What it is.
    pub resource: String,
    /// What the amounts count.
    pub unit: Unit,
    /// What one tenant takes of it.
    pub each: u64,
    /// What is needed for all, together with what others use already; for a resource that every tenant has an
    /// amount of for itself, what one needs.
    pub need: u64,
    /// What there is; none where this host does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<u64>,
    /// Whether that is enough.
    pub verdict: Verdict,
    /// How bad it is.
    pub health: Health,
    /// What `--fix` sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sysctl: Option<Setting>,
    /// What to do where it is short, or why nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Row {
    /// By how much it is short; 0 if it is not short, or unknown.
    pub fn short_by(&self) -> u64 {
        self.have.map_or(0, |have| self.need.saturating_sub(have))
    }
}

/// The capacity of this host for so many tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Capacity {
    /// For how many tenants in all, those that exist included.
    pub tenants: u32,
    /// Resource by resource.
    pub rows: Vec<Row>,
}

impl Capacity {
    /// What is short.
    pub fn short(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.verdict == Verdict::Short)
    }

    /// What `--fix` can set.
    pub fn settings(&self) -> Vec<Setting> {
        self.short().filter_map(|row| row.sysctl.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_that_failed_says_why_and_keeps_its_remedy() {
        let finding = Finding::fault("the rules are missing").repairable();
        let repaired = finding.clone().with_repair(Ok(()));
        assert!(repaired.repaired && repaired.help.is_none());
        let failed = finding.with_repair(Err("nft is not there".to_owned()));
        assert!(!failed.repaired && failed.help.is_some());
        assert_eq!(failed.message, "the rules are missing, and the repair failed: nft is not there");
    }

    #[test]
    fn the_worst_comes_last() {
        assert!(Health::Ok < Health::Degraded && Health::Degraded < Health::Fault);
    }
}
