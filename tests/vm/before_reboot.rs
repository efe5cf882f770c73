//! The last program before the machine is rebooted: makes what is to come back.

use tenantry_tests::machine::{Unit, systemctl};

/// So many tenants of the Debian image start with the machine.
const CROWD: usize = 20;
/// All of them on an emulated processor take their time.
const PATIENT: &str = "start_timeout_sec=300";

#[test]
fn twenty_tenants_are_enabled() {
    for number in 1..=CROWD {
        let unit = Unit::create(&format!("crowd{number}"), &["--image", "debian", "--set", PATIENT]);
        if number == CROWD {
            unit.ctl("set", &["start_priority=900"]).ok();
        }
        unit.systemctl("enable").ok();
        unit.keep();
    }
    let one = Unit::create("one", &["--image", "debian", "--set", PATIENT]);
    systemctl(&["enable", "--now", &one.unit()]).ok();
    assert_eq!(one.says("systemctl is-active multi-user.target"), "active");
    one.says("echo before the reboot > /root/kept");
    one.keep();
}
