//! Where the addresses of interfaces come from, and which interfaces have no plan.

mod common;

use tenant::{
    Allocation, Plan,
    model::{allocation::Lease, host::HostConfig, port::PORT_GROUPS},
    plan::{LinkPlan, NicPlan, PlanError},
};

const HOST: &str = r#"
[[pool]]
name = "lan"
v4 = "10.5.0.0/22"
v6 = "2001:db8:5::/64"
gateways = ["10.5.0.1", "fe80::5"]

[[pool]]
name = "public"
v4 = "192.0.2.0/24"
"#;

fn lease(nic: &str, pool: Option<&str>, ipv4: &str, ipv6: Option<&str>) -> Lease {
    Lease {
        nic: nic.parse().unwrap(),
        pool: pool.map(|pool| pool.parse().unwrap()),
        ipv4: Some(ipv4.parse().unwrap()),
        ipv6: ipv6.map(|ipv6| ipv6.parse().unwrap()),
    }
}

fn plan_with(own: &str, leases: Vec<Lease>) -> Result<Plan, PlanError> {
    let allocation = Allocation { leases, ..common::allocation() };
    common::plan_on(
        own,
        &allocation,
        &common::manifest(),
        &common::facts(),
        &HostConfig::parse(HOST).unwrap(),
    )
}

fn nics(own: &str, leases: Vec<Lease>) -> Vec<NicPlan> {
    plan_with(own, leases).unwrap().nics
}

fn addresses(nic: &NicPlan) -> Vec<String> {
    nic.addresses.iter().map(ToString::to_string).collect()
}

fn gateways(nic: &NicPlan) -> Vec<String> {
    nic.gateways.iter().map(ToString::to_string).collect()
}

fn refused(own: &str, leases: Vec<Lease>) -> String {
    match plan_with(own, leases) {
        Err(error @ PlanError::Nic { .. }) => error.to_string(),
        other => panic!("{own} gave {other:?}"),
    }
}

#[test]
fn the_first_routed_interface_that_asks_for_nothing_has_the_addresses_of_the_record() {
    let own = "nic = [{ mode = \"routed\", addresses = [\"10.9.0.1/24\"] }, { mode = \"routed\" }]";
    let nics = nics(own, Vec::new());
    assert_eq!(addresses(&nics[0]), ["10.9.0.1/32"], "nobody but the host is on its link");
    assert_eq!(addresses(&nics[1]), ["10.115.0.1/32", "fd74:656e:616e:7400::1/128"]);
    assert_eq!(gateways(&nics[0]), ["169.254.1.1"]);
    assert_eq!(gateways(&nics[1]), ["169.254.1.1", "fe80::1"]);
    assert_eq!((nics[0].metric, nics[1].metric), (0, 2001));
}

#[test]
fn a_lease_on_a_bridge_has_the_prefix_and_the_gateways_of_its_pool() {
    let own = "nic = [{ mode = \"bridge\", link = \"br0\", pool = \"lan\" }]";
    let leased = vec![lease("eth0", Some("lan"), "10.5.0.9", Some("2001:db8:5::9"))];
    let bridged = nics(own, leased.clone());
    assert_eq!(addresses(&bridged[0]), ["10.5.0.9/22", "2001:db8:5::9/64"]);
    assert_eq!(gateways(&bridged[0]), ["10.5.0.1", "fe80::5"]);
    // Its own gateway prevails, each family for itself.
    let own = "nic = [{ mode = \"bridge\", link = \"br0\", pool = \"lan\", gateways = [\"10.5.3.254\"] }]";
    assert_eq!(gateways(&nics(own, leased)[0]), ["10.5.3.254", "fe80::5"]);
    // No gateway of a family in which there is no address.
    let four = vec![lease("eth0", Some("lan"), "10.5.0.9", None)];
    let own = "nic = [{ mode = \"macvlan\", link = \"eth1\", pool = \"lan\" }]";
    assert_eq!(gateways(&nics(own, four)[0]), ["10.5.0.1"]);
}

#[test]
fn a_routed_lease_is_a_whole_address_behind_the_host() {
    let own =
        "nic = [{ mode = \"routed\", pool = \"public\" }, { mode = \"routed\" }, { mode = \"routed\" }]";
    let leases =
        vec![lease("eth0", Some("public"), "192.0.2.7", None), lease("eth2", None, "10.115.0.9", None)];
    let nics = nics(own, leases);
    assert_eq!(addresses(&nics[0]), ["192.0.2.7/32"]);
    assert_eq!(addresses(&nics[1])[0], "10.115.0.1/32");
    assert_eq!(addresses(&nics[2]), ["10.115.0.9/32"]);
}

#[test]
fn an_interface_without_the_address_that_it_should_have_has_no_plan() {
    let said = refused("nic = [{ mode = \"routed\", pool = \"public\" }]", Vec::new());
    assert_eq!(said, "interface \"eth0\": it has not been assigned an address from pool \"public\" yet");
    let said = refused("nic = [{ mode = \"routed\" }, { mode = \"routed\" }]", Vec::new());
    assert_eq!(said, "interface \"eth1\": it has not been assigned an address from the default pool yet");
    // A lease of another pool, or of another interface, is not it.
    let other =
        vec![lease("eth0", Some("lan"), "10.5.0.9", None), lease("eth1", Some("public"), "192.0.2.1", None)];
    refused("nic = [{ mode = \"routed\", pool = \"public\" }]", other);
    let gone = vec![lease("eth0", Some("gone"), "10.5.0.9", None)];
    let said = refused("nic = [{ mode = \"bridge\", link = \"br0\", pool = \"gone\" }]", gone);
    assert_eq!(said, "interface \"eth0\": there is no pool \"gone\" in hostd.toml");
}

#[test]
fn a_host_without_ipv6_gives_none_and_refuses_what_was_written_down() {
    let mut facts = common::facts();
    facts.ipv6 = false;
    let plan = |own: &str| common::plan_with(own, &common::allocation(), &common::manifest(), &facts);
    let nics = plan("").unwrap().nics;
    assert_eq!(
        (addresses(&nics[0]), gateways(&nics[0])),
        (vec!["10.115.0.1/32".to_owned()], vec!["169.254.1.1".to_owned()])
    );
    let own = "nic = [{ mode = \"bridge\", link = \"br0\", addresses = [\"2001:db8::2/64\"] }]";
    let error = plan(own).unwrap_err().to_string();
    assert!(error.contains("2001:db8::2/64") && error.contains("IPv6 is disabled"), "{error}");
}

#[test]
fn every_port_has_names_of_its_own_and_the_group_of_its_root() {
    let nics = nics(common::ALL_MODES, Vec::new());
    let ports: Vec<_> = nics.iter().filter_map(NicPlan::port).collect();
    let names: Vec<_> =
        ports.iter().flat_map(|port| [port.host_name.as_str(), port.altname.as_str()]).collect();
    assert_eq!(names, ["t1-0", "ve-alice", "t1-1", "ve-alice.1", "t1-2", "ve-alice.2"]);
    assert!(ports.iter().all(|port| port.group == ports[0].group && PORT_GROUPS.contains(&port.group)));
    let macs: std::collections::BTreeSet<_> =
        ports.iter().map(|port| port.host_mac).chain(nics.iter().filter_map(|nic| nic.mac)).collect();
    assert_eq!(macs.len(), 7, "three host ends, three peers and a macvlan; phys and vlan keep theirs");
}

#[test]
fn a_nic_has_an_index_that_no_other_tenant_and_no_kernel_gives() {
    let own = "nic = [{ mode = \"phys\", link = \"eth2\" }, { mode = \"phys\", link = \"eth3\" }]";
    let index = |tenant: u32, nic: usize| {
        let allocation = Allocation { index: tenant.try_into().unwrap(), ..common::allocation() };
        let plan = common::plan_with(own, &allocation, &common::manifest(), &common::facts()).unwrap();
        match plan.nics[nic].link {
            LinkPlan::Phys { index, .. } => index,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!((index(1, 0), index(1, 1), index(2, 0)), (1_000_000_100, 1_000_000_101, 1_000_000_200));
}
