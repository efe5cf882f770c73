//! What the kernel is told for a plan, against golden files: access, owners and modes of all that a start makes.
//! `UPDATE_GOLDEN=1` writes the files again.

mod common;

use tenant::{apply, kernel::Fake};

use common::assert_golden;

/// The tenant of each kind, as the plans of `plan.rs` have it.
fn kinds() -> [(&'static str, &'static str); 6] {
    [
        ("shared-os", ""),
        ("os", "profile = \"os\""),
        ("app", common::APP),
        ("app-plus", APP_PLUS),
        ("router", "profile = \"router\"\ntun = true"),
        ("networks", common::ALL_MODES),
    ]
}

const APP_PLUS: &str =
    "profile = \"app-plus\"\ninit = [\"/usr/bin/program\"]\npaths = [\"/usr/bin/program\", \"/bin/sh\"]";

#[test]
fn every_kind_makes_the_calls_it_always_made() {
    for (kind, own) in kinds() {
        let plan = common::plan_of(own).unwrap();
        let kernel = Fake::with_links(&["br0", "eth1", "eth2"]);
        drop(apply::start(&kernel, &plan).unwrap());
        let told: String = kernel.told().iter().map(|line| format!("{line}\n")).collect();
        assert_golden(&format!("calls-{kind}.txt"), &told);
    }
}
