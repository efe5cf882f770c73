//! The host's pool of pseudoterminals. `pts_max` bounds the instance of devpts that a tenant is given; root inside can
//! mount it with another bound, or mount more of them, and the kernel counts for all together. What it keeps for the
//! host is `kernel.pty.reserve`: of those, only instances that were mounted in the first mount namespace can have any.

use std::fs;

use wire::doctor::Finding;

use super::Examination;

/// Logins, and what else of the host needs a terminal while tenants have all others.
const ENOUGH: u64 = 64;

pub(super) fn check(_: &Examination<'_>) -> Vec<Finding> {
    let value =
        |name: &str| fs::read_to_string(format!("/proc/sys/kernel/pty/{name}")).ok()?.trim().parse().ok();
    match (value("max"), value("reserve"), value("nr")) {
        (Some(max), Some(reserve), Some(used)) => vec![judge(max, reserve, used)],
        _ => vec![Finding::degraded(
            "cannot read /proc/sys/kernel/pty, so the number of pseudoterminals is unknown",
        )],
    }
}

fn judge(max: u64, reserve: u64, used: u64) -> Finding {
    let shared = max.saturating_sub(reserve);
    if reserve < ENOUGH {
        let text = format!(
            "tenants can use all pseudoterminals, which prevents logins on the host: kernel.pty.reserve is {reserve}"
        );
        return Finding::degraded(text).help("sysctl -w kernel.pty.reserve=1024");
    }
    if used * 10 >= shared * 9 {
        let text = format!(
            "{used} of the {shared} pseudoterminals shared by tenants and the host are open; the root user of a \
             tenant can exceed `pts_max`"
        );
        return Finding::degraded(text).help("find the tenant and stop it: lsof +c0 /dev/ptmx");
    }
    Finding::ok(format!("{used} of {shared} pseudoterminals are open, {reserve} are reserved for the host"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::doctor::Health;

    #[test]
    fn a_host_that_keeps_no_terminals_for_itself_is_told_of() {
        for (max, reserve, used, health) in [
            (4096, 1024, 40, Health::Ok),
            (4096, 0, 40, Health::Degraded),
            (4096, 1024, 3000, Health::Degraded),
            (10, 1024, 0, Health::Degraded),
        ] {
            assert_eq!(judge(max, reserve, used).health, health, "{max} {reserve} {used}");
        }
    }
}
