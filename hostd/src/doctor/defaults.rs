//! What protects the host and the neighbours from a tenant without settings.

use wire::doctor::Finding;

use super::Examination;

pub(super) fn check(examination: &Examination<'_>) -> Vec<Finding> {
    match examination.host.default_limits_missing() {
        Ok(missing) => judge(missing),
        Err(failure) => vec![Finding::fault(failure.message)],
    }
}

fn judge(missing: Vec<String>) -> Vec<Finding> {
    if missing.is_empty() {
        return vec![Finding::ok("all default limits can be enforced")];
    }
    let degraded = |text| Finding::degraded(text).help(HELP);
    missing.into_iter().map(degraded).collect()
}

const HELP: &str = "enable the controller (cgroup_enable=memory on the kernel command line); start hostd in a cgroup \
                    without other processes; tenantctl start --strict refuses tenants without limits";

#[cfg(test)]
mod tests {
    use super::*;
    use wire::doctor::Health;

    #[test]
    fn what_is_not_limited_is_told_by_itself() {
        let healths = |missing: &[&str]| {
            let missing = missing.iter().map(|&text| text.to_owned()).collect();
            judge(missing).into_iter().map(|finding| finding.health).collect::<Vec<_>>()
        };
        assert_eq!(healths(&[]), [Health::Ok]);
        assert_eq!(healths(&["memory_max", "tasks_max"]), [Health::Degraded, Health::Degraded]);
    }
}
