//! The verbs in which calls fail: a row for each.

use tenantry_tests::{Output, Run};

use crate::scene::{Scene, VICTIM};

/// One verb.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// What its errors name.
    pub(crate) object: &'static str,
    /// Whether the victim is started and destroyed after it.
    pub(crate) is_about_tenants: bool,
    /// What there must be before it.
    pub(crate) prepare: fn(&Scene),
    /// Itself.
    pub(crate) act: fn(&Scene) -> Run,
    /// What must hold after it, whatever it said.
    pub(crate) check: fn(&Scene, &Output) -> Result<(), String>,
}

/// What the victim has of what a tenant can have.
const OPTIONS: &[&str] = &[
    "--image",
    "busybox:one",
    "--set",
    "start_timeout_sec=10",
    "--set",
    "stop_timeout_sec=5",
    "--set",
    "show_limits=true",
];

pub(crate) const TABLE: &[Verb] = &[
    Verb { name: "create", object: VICTIM, is_about_tenants: true, prepare: |_| (), act: create_run, check: anything },
    Verb {
        name: "start",
        object: VICTIM,
        is_about_tenants: true,
        prepare: create,
        act: |scene| scene.victim().ctl("start", &[]),
        check: anything,
    },
    Verb {
        name: "stop",
        object: VICTIM,
        is_about_tenants: true,
        prepare: boot,
        act: |scene| scene.victim().ctl("stop", &[]),
        check: anything,
    },
    Verb {
        name: "destroy",
        object: VICTIM,
        is_about_tenants: true,
        prepare: boot,
        act: |scene| scene.victim().ctl("destroy", &["--force", "--yes"]),
        check: anything,
    },
];

fn create_run(scene: &Scene) -> Run {
    scene.victim().ctl("create", OPTIONS)
}

pub(crate) fn create(scene: &Scene) {
    create_run(scene).ok();
}

fn boot(scene: &Scene) {
    create(scene);
    scene.victim().start();
}

fn anything(_: &Scene, _: &Output) -> Result<(), String> {
    Ok(())
}
