//! Plans against golden files, and what has no plan. `UPDATE_GOLDEN=1` writes the files anew.

mod common;

use common::assert_golden;

use tenant::{
    model::{allocation::RecordState, facts::KernelVersion, ids::Digest, image::ImageFormat},
    plan::{PlanError, RootStep},
};

#[test]
fn a_shared_os_tenant_has_the_plan_it_always_had() {
    assert_golden("plan-shared-os.txt", &common::plan_of("").unwrap().to_string());
}

#[test]
fn interfaces_of_every_mode_have_the_plan_they_always_had() {
    let plan = common::plan_of(common::ALL_MODES).unwrap().to_string();
    let lines: String =
        plan.lines().filter(|line| line.starts_with("network")).map(|l| format!("{l}\n")).collect();
    assert_golden("plan-networks.txt", &lines);
}

#[test]
fn a_parent_is_mounted_before_what_lies_in_it() {
    let own = r#"
        dirs."/run/cache" = { tmpfs = "1M" }
        dirs."/var/lib/data" = { bind = "/srv/data", writable = true }
    "#;
    let plan = common::plan_of(own).unwrap();
    let order: Vec<&str> = plan.root.iter().filter_map(RootStep::at).collect();
    for (child, parent) in
        [("run/cache", "run"), ("var/lib/data", "var"), ("dev/pts", "dev"), ("sys/fs/cgroup", "sys")]
    {
        let place = |path| order.iter().position(|at| *at == path).unwrap();
        assert!(place(parent) < place(child), "{child} comes before {parent}");
    }
}

#[test]
fn a_link_of_the_image_cannot_have_a_policy() {
    let error = common::plan_of("dirs.\"/bin\" = \"private\"").unwrap_err();
    assert!(matches!(error, PlanError::Directory { .. }), "{error}");
}

#[test]
fn what_cannot_be_started_has_no_plan() {
    let (allocation, manifest, facts) = (common::allocation(), common::manifest(), common::facts());

    let mut half = allocation.clone();
    half.state = RecordState::Creating;
    let error = common::plan_with("", &half, &manifest, &facts).unwrap_err();
    assert!(matches!(error, PlanError::NotReady(RecordState::Creating)));

    let mut old = facts.clone();
    old.kernel = KernelVersion { major: 5, minor: 10 };
    let error = common::plan_with("", &allocation, &manifest, &old).unwrap_err();
    assert_eq!(error.to_string(), "an overlay over idmapped mounts needs Linux 6.1, but this kernel is 5.10");

    old.kernel = KernelVersion { major: 6, minor: 1 };
    let plan = common::plan_with("", &allocation, &manifest, &old).unwrap();
    assert!(plan.attach_layers);
    assert!(plan.to_string().contains("layers attached"), "{plan}");
    let mut erofs = manifest.clone();
    erofs.format = ImageFormat::Erofs;
    let error = common::plan_with("", &allocation, &erofs, &old).unwrap_err();
    assert_eq!(error.to_string(), "an erofs image needs Linux 6.12, but this kernel is 6.1");
    // One with a hash tree is read through a block device.
    erofs.verity = Some(Digest::from_bytes([5; 32]));
    let plan = common::plan_with("", &allocation, &erofs, &old).unwrap();
    assert!(plan.to_string().contains("verified against sha256:0505"), "{plan}");
    let plan = common::plan_with("", &allocation, &manifest, &facts).unwrap();
    assert!(!plan.attach_layers);

    let mut other = manifest.clone();
    other.digest = Digest::from_bytes([9; 32]);
    let error = common::plan_with("", &allocation, &other, &facts).unwrap_err();
    assert!(matches!(error, PlanError::WrongVersion { .. }));

    let mut root = facts.clone();
    root.cgroup.v2_own = "/sys/fs/cgroup/".into();
    let error = common::plan_with("", &allocation, &manifest, &root).unwrap_err();
    assert!(matches!(error, PlanError::RootCgroup));

    let mut bare = facts;
    bare.cgroup.v2_mount = None;
    let error = common::plan_with("", &allocation, &manifest, &bare).unwrap_err();
    assert!(matches!(error, PlanError::NoCgroup2));
}

#[test]
fn an_app_has_a_root_of_listed_paths_and_a_process_1_that_reaps() {
    assert_golden("plan-app.txt", &common::plan_of(common::APP).unwrap().to_string());
}

#[test]
fn an_os_tenant_has_one_writable_root() {
    assert_golden("plan-os.txt", &common::plan_of("profile = \"os\"").unwrap().to_string());
}

#[test]
fn a_host_without_ipv6_has_none_of_its_sysctls() {
    let mut facts = common::facts();
    facts.ipv6 = false;
    let plan = common::plan_with("profile = \"router\"", &common::allocation(), &common::manifest(), &facts)
        .unwrap();
    assert_eq!(plan.init.sysctl.keys().collect::<Vec<_>>(), ["net.ipv4.ip_forward"]);
}

#[test]
fn paths_that_cannot_be_shown_are_named() {
    for (own, path) in [
        ("paths = [\"/proc/self\"]", "/proc/self"),
        ("paths = [\"/run/x\"]", "/run/x"),
        ("paths = [\"/srv/x\"]\ndirs.\"/srv\" = \"tmpfs\"", "/srv/x"),
        ("paths = [\"/usr\"]\ndirs.\"/bin\" = \"private\"", "/bin"),
    ] {
        let own = format!("profile = \"app\"\ninit = [\"/usr/x\"]\n{own}");
        let error = common::plan_of(&own).unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
    }
    let error = common::plan_of("profile = \"app\"\npaths = [\"/usr\"]").unwrap_err();
    assert!(matches!(error, PlanError::NoProgram), "{error}");
}

#[test]
fn an_image_without_an_init_boots_no_system_but_runs_a_program() {
    let mut manifest = common::manifest();
    manifest.boot.init.clear();
    let plan = |own: &str| common::plan_with(own, &common::allocation(), &manifest, &common::facts());
    let error = plan("profile = \"os\"").unwrap_err();
    assert!(matches!(error, PlanError::NoInit(_)) && error.help().contains("--profile app"), "{error}");
    plan("profile = \"os\"\ninit = [\"/bin/sh\"]").unwrap();
    plan("profile = \"app\"\ninit = [\"/usr/x\"]\npaths = [\"/usr\"]").unwrap();
}

#[test]
fn a_tenant_that_is_stopped_when_it_is_parked_has_a_stand_in_for_routed_interfaces_and_no_others() {
    let stop = "idle = \"park\"\npark = \"stop\"\n";
    let plan = common::plan_of(stop).unwrap();
    let stand_in = plan.stand_in.as_ref().unwrap();
    let ports = plan.filter.as_ref().unwrap().tenant.ports.iter();
    let ports: Vec<&str> = ports.map(|port| port.name.as_str()).collect();
    assert_eq!(ports, [plan.nics[0].port().unwrap().host_name.as_str(), &stand_in.name]);
    assert!(stand_in.name.len() <= 15 && stand_in.group == plan.nics[0].port().unwrap().group);
    let text = plan.to_string();
    assert!(text.contains(&format!("parked      stopped, {} in its place\n", stand_in.name)), "{text}");
    let without = common::plan_of(&format!("{stop}nic = []\n")).unwrap();
    assert!(without.stand_in.is_some() && without.filter.is_none());
    let bridged =
        format!("{stop}[[nic]]\nmode = \"bridge\"\nlink = \"br0\"\naddresses = [\"192.0.2.7/24\"]\n");
    let error = common::plan_of(&bridged).unwrap_err();
    assert!(matches!(error, PlanError::Park { .. }), "{error}");
    assert!(common::plan_of(stop.trim_end_matches("park = \"stop\"\n")).unwrap().stand_in.is_none());
}

#[test]
fn a_tenant_is_under_the_apparmor_profile_that_the_host_has_or_the_one_it_names() {
    let mut facts = common::facts();
    let plan =
        |facts: &_, own: &str| common::plan_with(own, &common::allocation(), &common::manifest(), facts);
    let profile = |facts: &_, own: &str| plan(facts, own).map(|plan| plan.security.apparmor);
    assert_eq!(profile(&facts, "").unwrap(), None, "no AppArmor");
    facts.apparmor = ["shop", "tenantry-tenant"].map(str::to_owned).into();
    assert_eq!(profile(&facts, "").unwrap().as_deref(), Some("tenantry-tenant"));
    assert_eq!(profile(&facts, "apparmor = \"shop\"").unwrap().as_deref(), Some("shop"));
    assert_eq!(profile(&facts, "apparmor = \"unconfined\"").unwrap(), None);
    let text = plan(&facts, "").unwrap().to_string();
    assert!(text.contains("what the AppArmor profile tenantry-tenant allows"), "{text}");
    let error = profile(&facts, "apparmor = \"web\"").unwrap_err();
    assert!(
        error.to_string().contains("no AppArmor profile \"web\"")
            && error.help().contains("--unset apparmor")
    );
    facts.apparmor.clear();
    assert!(profile(&facts, "apparmor = \"shop\"").is_err(), "what is asked for by name holds or is told");
}
