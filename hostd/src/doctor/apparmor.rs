//! The AppArmor profile that tenants are under.

use std::{collections::BTreeSet, fs};

use tenant::{files::facts::apparmor_profiles, model::apparmor::SHIPPED};
use wire::doctor::Finding;

use super::Examination;

pub(super) fn check(_: &Examination<'_>) -> Vec<Finding> {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    // As starts see it now, and not when hostd was started.
    vec![judge(enabled.trim() == "Y", &apparmor_profiles())]
}

fn judge(is_enabled: bool, loaded: &BTreeSet<String>) -> Finding {
    match (is_enabled, loaded.contains(SHIPPED)) {
        (_, true) => Finding::ok(format!("tenants are under the AppArmor profile {SHIPPED}")),
        (true, false) => {
            let text =
                format!("the AppArmor profile {SHIPPED} is not loaded, so tenants are started without one");
            let help = format!("apparmor_parser --replace /etc/apparmor.d/{SHIPPED}");
            Finding::degraded(text).help(help)
        }
        (false, false) => Finding::ok("this host has no AppArmor, so tenants are under no profile of it"),
    }
}

#[cfg(test)]
mod tests {
    use wire::doctor::Health;

    use super::*;

    #[test]
    fn a_profile_that_could_be_loaded_is_missed() {
        let shipped = BTreeSet::from([SHIPPED.to_owned()]);
        assert_eq!(judge(true, &shipped).health, Health::Ok);
        assert_eq!(judge(false, &BTreeSet::new()).health, Health::Ok);
        let missed = judge(true, &BTreeSet::new());
        assert_eq!(missed.health, Health::Degraded);
        assert!(missed.help.unwrap().starts_with("apparmor_parser"));
    }
}
