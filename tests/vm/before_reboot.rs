//! The last program before the machine is rebooted: makes what is to come back.

use tenantry_tests::machine::{Unit, systemctl, tenantctl};

/// So many tenants of the Debian image start with the machine.
const CROWD: usize = 20;
/// All of them on an emulated processor take their time.
const PATIENT: &str = "start_timeout_sec=300";

#[test]
fn twenty_tenants_are_enabled() {
    let names: Vec<String> = (1..=CROWD).map(|number| format!("crowd{number}")).collect();
    tenantctl(&["create", "--image", "debian", "--set", PATIENT]).args(&names).ok();
    tenantctl(&["set", &names[CROWD - 1], "start_priority=900"]).ok();
    systemctl(&["enable"]).args(names.iter().map(|name| format!("tenant@{name}.service"))).ok();
    let one = Unit::create("one", &["--image", "debian", "--set", PATIENT]);
    systemctl(&["enable", "--now", &one.unit()]).ok();
    assert_eq!(one.says("systemctl is-active multi-user.target"), "active");
    one.says("echo before the reboot > /root/kept");
    one.keep();
}
