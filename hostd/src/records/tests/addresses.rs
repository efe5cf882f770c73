//! Addresses, ports, hardware addresses and NICs: each is one tenant's, whatever the order of things.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::Path,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tenant::{Allocation, Plan, TenantName};

use super::*;
use crate::assign::{claims::Part, holding};

const LAN: &str = "nic=[{mode=\"bridge\",link=\"br0\",pool=\"lan\"}]";
const HOST: &str = "[[pool]]\nname = \"lan\"\nv4 = \"192.168.7.0/24\"\ngateways = [\"192.168.7.1\"]\n\
                    [[pool]]\nname = \"public\"\nv4 = \"203.0.113.0/28\"\nv6 = \"2001:db8:7::/64\"\n";

fn trial() -> Trial {
    let trial = Trial::new();
    fs::create_dir_all(trial.layout.etc()).unwrap();
    fs::write(trial.layout.host_config(), HOST).unwrap();
    trial
}

fn made(store: &Store, tenant: &str, pairs: &[&str]) -> Allocation {
    store.create(&name(tenant), &with(pairs)).unwrap_or_else(|error| panic!("{tenant}: {error}")).0
}

fn set(store: &Store, tenant: &str, pairs: &[&str], is_running: bool) -> Result<Change, StoreError> {
    let base = store.config_text(&name(tenant)).unwrap();
    let pairs: Vec<_> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
    let text = edit::apply(&base, &pairs, &[]).unwrap();
    store.configure(&name(tenant), &base, &text, is_running)
}

fn leased(store: &Store, tenant: &str) -> Vec<String> {
    let record = store.record(&name(tenant)).unwrap();
    let of = |lease: &tenant::model::allocation::Lease| {
        holding::addresses(lease).map(|address| address.to_string()).collect::<Vec<_>>()
    };
    record.leases.iter().flat_map(of).collect()
}

/// Starts a tenant as far as the store is concerned.
fn start(store: &Store, tenant: &str) -> Result<Plan, StoreError> {
    store.prepare_start(&name(tenant), Path::new("/tenantry/x")).map(|adopted| adopted.plan)
}

#[test]
fn leases_are_made_with_the_tenant_and_stay() {
    let trial = trial();
    let store = trial.open();
    made(&store, "alice", &[LAN]);
    assert_eq!(leased(&store, "alice"), ["192.168.7.2"]);
    set(&store, "alice", &["ttys=3"], false).unwrap();
    start(&store, "alice").unwrap();
    drop(store);
    let store = trial.open();
    start(&store, "alice").unwrap();
    assert_eq!(leased(&store, "alice"), ["192.168.7.2"]);
    made(&store, "bob", &[LAN]);
    assert_eq!(leased(&store, "bob"), ["192.168.7.3"]);
    // A tenant without them has a record as it always was.
    made(&store, "carol", &[]);
    let text = fs::read_to_string(trial.layout.allocation(&name("carol"))).unwrap();
    assert!(!text.contains("lease"), "{text}");
}

#[test]
fn what_is_not_wanted_any_more_is_given_back_and_comes_last() {
    let trial = trial();
    let store = trial.open();
    made(&store, "alice", &[LAN]);
    made(&store, "bob", &[LAN]);
    set(&store, "alice", &["nic=[]"], false).unwrap();
    assert!(leased(&store, "alice").is_empty());
    made(&store, "carol", &[LAN]);
    assert_eq!(leased(&store, "carol"), ["192.168.7.4"]);
    // Also where the address was given back to another hostd than handed it out.
    made(&store, "dave", &[LAN]);
    drop(store);
    let store = trial.open();
    store.destroy(&name("dave")).unwrap().wait().unwrap();
    made(&store, "erin", &[LAN]);
    assert_eq!(leased(&store, "erin"), ["192.168.7.6"]);
    // A running tenant speaks with its addresses until it is started again.
    set(&store, "bob", &["nic=[{mode=\"routed\",pool=\"public\"}]"], true).unwrap();
    assert_eq!(leased(&store, "bob"), ["203.0.113.1", "2001:db8:7::1", "192.168.7.3"]);
    assert_eq!(start(&store, "bob").unwrap().nics[0].addresses.len(), 2);
    assert_eq!(leased(&store, "bob"), ["203.0.113.1", "2001:db8:7::1"]);
}

#[test]
fn an_edited_file_or_table_gets_its_addresses_at_the_start() {
    let trial = trial();
    let store = trial.open();
    made(&store, "alice", &[]);
    let file = trial.layout.tenant_config(&name("alice"));
    fs::write(
        &file,
        "[[nic]]\nmode = \"routed\"\n[[nic]]\nmode = \"bridge\"\nlink = \"br0\"\npool = \"lan\"\n",
    )
    .unwrap();
    let planned = store.plan(&name("alice"), None).unwrap().1;
    assert!(leased(&store, "alice").is_empty(), "a plan that is only looked at takes nothing");
    let started = start(&store, "alice").unwrap();
    assert_eq!(planned.nics, started.nics);
    assert_eq!(leased(&store, "alice"), ["192.168.7.2"]);
    fs::write(trial.layout.nic_table(), "[[nic]]\nlink = \"x1\"\ntenant = \"alice\"\nname = \"wan\"\n")
        .unwrap();
    assert_eq!(start(&store, "alice").unwrap().nics.len(), 3);
    fs::write(&file, "").unwrap();
    start(&store, "alice").unwrap();
    assert!(leased(&store, "alice").is_empty());
}

#[test]
fn a_crash_between_record_and_file_loses_no_address() {
    let trial = trial();
    let store = trial.open();
    made(&store, "alice", &[LAN]);
    let file = fs::read_to_string(trial.layout.tenant_config(&name("alice"))).unwrap();
    // What the record says while it is written must do for the old file and for the new one.
    let new = "nic=[{mode=\"routed\",pool=\"public\"}]";
    set(&store, "alice", &[new], true).unwrap();
    drop(store);
    fs::write(trial.layout.tenant_config(&name("alice")), file).unwrap();
    let store = trial.open();
    assert_eq!(leased(&store, "alice"), ["203.0.113.1", "2001:db8:7::1", "192.168.7.2"]);
    start(&store, "alice").unwrap();
    assert_eq!(leased(&store, "alice"), ["192.168.7.2"]);
}

#[test]
fn no_tenant_gets_what_another_one_has() {
    let trial = trial();
    let store = trial.open();
    let alice = made(
        &store,
        "alice",
        &[
            "ports=2222:22",
            "nic=[{mode=\"routed\"},{mode=\"bridge\",link=\"br0\",addresses=[\"10.9.0.5/24\",\"192.168.7.9/24\"],mac=\"02:00:00:00:00:07\"},{mode=\"phys\",link=\"x1\"},{mode=\"vlan\",link=\"x2\",vlan=7}]",
        ],
    );
    fs::write(
        trial.layout.nic_table(),
        "[[nic]]\nlink = \"x3\"\ntenant = \"alice\"\n[[nic]]\nlink = \"x4\"\ntenant = \"nobody\"\n",
    )
    .unwrap();
    made(&store, "bob", &[LAN]);
    assert_eq!(leased(&store, "bob"), ["192.168.7.10"], "behind the highest one in use");
    let of_alice = format!("nic=[{{mode=\"routed\",addresses=[\"{}\"]}}]", alice.ipv4);
    for (pair, code, says) in [
        (of_alice.as_str(), Code::Taken, "is in use by tenant \"alice\""),
        (
            "nic=[{mode=\"routed\",addresses=[\"192.168.7.9\"]}]",
            Code::Taken,
            "address 192.168.7.9 is in use by tenant \"alice\"",
        ),
        (
            "nic=[{mode=\"macvlan\",link=\"y\",addresses=[\"192.168.7.10/24\"]}]",
            Code::Taken,
            "in use by tenant \"bob\"",
        ),
        (
            "nic=[{mode=\"bridge\",link=\"br0\",addresses=[\"10.9.0.5/16\"]}]",
            Code::Taken,
            "in use by tenant \"alice\"",
        ),
        (
            "nic=[{mode=\"bridge\",link=\"br0\",mac=\"02:00:00:00:00:07\"}]",
            Code::Taken,
            "hardware address 02:00:00:00:00:07",
        ),
        ("nic=[{mode=\"phys\",link=\"x1\"}]", Code::Taken, "NIC \"x1\" is in use by tenant \"alice\""),
        ("nic=[{mode=\"phys\",link=\"x2\"}]", Code::Taken, "NIC \"x2\" (its VLAN 7)"),
        ("nic=[{mode=\"vlan\",link=\"x1\",vlan=9}]", Code::Taken, "NIC \"x1\" is in use"),
        ("nic=[{mode=\"vlan\",link=\"x2\",vlan=7}]", Code::Taken, "VLAN 7 of NIC \"x2\""),
        ("nic=[{mode=\"macvlan\",link=\"x1\"}]", Code::Taken, "NIC \"x1\""),
        ("nic=[{mode=\"vlan\",link=\"x3\",vlan=7}]", Code::Taken, "\"alice\" in nics.toml"),
        ("nic=[{mode=\"phys\",link=\"y\"},{mode=\"phys\",link=\"y\"}]", Code::Taken, "\"carol\" already"),
        ("ports=2222:80", Code::Taken, "port 2222/tcp of the host is in use by tenant \"alice\""),
        (
            "nic=[{mode=\"routed\",addresses=[\"10.9.0.5\"]}]",
            Code::Invalid,
            "not in any pool of this host: \"default\" (10.115.0.0/16, ",
        ),
        (
            "nic=[{mode=\"routed\",addresses=[\"192.168.7.1\"]}]",
            Code::Invalid,
            "is the gateway of pool \"lan\"",
        ),
        ("nic=[{mode=\"routed\",addresses=[\"192.168.7.255\"]}]", Code::Invalid, "first or last"),
        (
            "nic=[{mode=\"routed\",pool=\"wan\"}]",
            Code::Invalid,
            "no pool \"wan\" on this host; its pools are \"default\", \"lan\", \"public\"",
        ),
        ("nic=[{mode=\"bridge\",link=\"b\",pool=\"default\"}]", Code::Invalid, "only routed interfaces"),
        (
            "nic=[{mode=\"routed\",addresses=[\"192.168.7.8\"]},{mode=\"bridge\",link=\"b\",addresses=[\"192.168.7.8/24\"]}]",
            Code::Invalid,
            "another interface of this tenant",
        ),
    ] {
        let failure = Failure::from(store.create(&name("carol"), &with(&[pair])).expect_err(pair));
        assert_eq!(failure.code, code, "{pair}: {failure}");
        assert!(failure.message.contains(says), "{pair}: {failure}");
        assert!(failure.help.is_some(), "{pair}: {failure}");
    }
    // What looks alike and is none of it.
    for (number, pair) in [
        "nic=[{mode=\"bridge\",link=\"br1\",addresses=[\"10.9.0.5/24\"],mac=\"02:00:00:00:00:07\"}]",
        "nic=[{mode=\"vlan\",link=\"x2\",vlan=8},{mode=\"macvlan\",link=\"x2\"}]",
        "ports=2222:80/udp",
        "nic=[{mode=\"phys\",link=\"x4\"}]",
        "nic=[{mode=\"routed\",addresses=[\"192.168.7.77\"]}]",
    ]
    .into_iter()
    .enumerate()
    {
        made(&store, &format!("t{number}"), &[pair]);
    }
    // The same holds for a change, which changes nothing when it is refused.
    let before = store.config_text(&name("bob")).unwrap();
    assert_eq!(
        set(&store, "bob", &["nic=[{mode=\"phys\",link=\"x1\"}]"], false).unwrap_err().code(),
        Code::Taken
    );
    assert_eq!(store.config_text(&name("bob")).unwrap(), before);
    assert_eq!(leased(&store, "bob"), ["192.168.7.10"]);
}

#[test]
fn what_an_edited_file_gives_up_is_free_at_once() {
    let trial = trial();
    let store = trial.open();
    made(&store, "alice", &["ports=2222:22"]);
    store.create(&name("bob"), &with(&["ports=2222:22"])).unwrap_err();
    fs::write(trial.layout.tenant_config(&name("alice")), "").unwrap();
    made(&store, "bob", &["ports=2222:22"]);
    // And what one takes is seen when it starts.
    fs::write(trial.layout.tenant_config(&name("alice")), "ports = \"2222:80\"\n").unwrap();
    assert_eq!(start(&store, "alice").unwrap_err().code(), Code::Taken);
    start(&store, "bob").unwrap();
}

#[test]
fn of_two_who_ask_for_one_address_at_once_one_gets_it() {
    let trial = trial();
    let store = trial.open();
    for round in 0..8 {
        let both = Barrier::new(2);
        let ask = |tenant: String| {
            let address = format!("nic=[{{mode=\"routed\",addresses=[\"192.168.7.{}\"]}}]", 20 + round);
            both.wait();
            store.create(&name(&tenant), &with(&[&address])).map_err(|error| error.code())
        };
        let results = thread::scope(|scope| {
            let asked = ["a", "b"].map(|who| scope.spawn(move || ask(format!("{who}{round}"))));
            asked.map(|thread| thread.join().unwrap())
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert!(results.iter().any(|result| matches!(result, Err(Code::Taken))), "{results:?}");
    }
}

/// Every address of every record and of every static list, and who has it.
fn holders(store: &Store) -> BTreeMap<IpAddr, Vec<String>> {
    let mut all: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    for (name, record) in store.records().iter() {
        let tenant = store.tenant(name).unwrap();
        let leased = record.leases.iter().flat_map(holding::addresses);
        let own = tenant.nics.iter().flat_map(|nic| nic.addresses.iter().map(|own| own.address));
        for address in leased.chain(own).chain([record.ipv4.into(), record.ipv6.into()]) {
            all.entry(address).or_default().push(name.to_string());
        }
    }
    all
}

#[test]
fn no_address_is_ever_two_tenants() {
    let trial = trial();
    let mut store = trial.open();
    let nics = [
        "nic=[]",
        LAN,
        "nic=[{mode=\"routed\"},{mode=\"routed\"},{mode=\"routed\",pool=\"public\"}]",
        "nic=[{mode=\"routed\",pool=\"public\"},{mode=\"bridge\",link=\"b\",pool=\"lan\",name=\"x\"}]",
        "nic=[{mode=\"routed\",addresses=[\"192.168.7.3\",\"203.0.113.2\"]}]",
        "nic=[{mode=\"bridge\",link=\"b\",addresses=[\"192.168.7.4/24\"]}]",
    ];
    // A generator of the kind of Lehmer: the same steps in every run.
    let mut seed: u64 = 7;
    let mut random = |below: usize| {
        seed = seed * 48_271 % 0x7fff_ffff;
        usize::try_from(seed).unwrap() % below
    };
    let mut done = [0; 4];
    for _ in 0..400 {
        let tenant = format!("t{}", random(12));
        let nic = nics[random(nics.len())];
        let exists = store.record(&name(&tenant)).is_ok();
        let (kind, result) = match (random(8), exists) {
            (_, false) => (0, store.create(&name(&tenant), &with(&[nic])).map(drop)),
            (0, true) => (1, store.destroy(&name(&tenant)).and_then(Leaving::wait)),
            (1..=3, true) => (2, start(&store, &tenant).map(drop)),
            (number, true) => (3, set(&store, &tenant, &[nic], number > 5).map(drop)),
        };
        match result {
            Ok(()) => done[kind] += 1,
            Err(error) => assert!(matches!(error.code(), Code::Taken | Code::PoolFull), "{error}"),
        }
        if random(40) == 0 {
            drop(store);
            store = trial.open();
        }
        let shared: Vec<_> = holders(&store).into_iter().filter(|(_, holders)| holders.len() > 1).collect();
        assert!(shared.is_empty(), "{shared:?}");
    }
    assert!(done.iter().all(|count| *count > 20), "{done:?}");
}

#[test]
fn the_table_is_changed_row_by_row() {
    let trial = trial();
    let store = trial.open();
    made(&store, "edge", &["nic=[{mode=\"phys\",link=\"x9\"}]"]);
    made(&store, "core", &["nic=[]"]);
    let row = |link: &str, vlan, tenant: &str| tenant::model::nic_table::NicRow {
        link: link.parse().unwrap(),
        vlan,
        tenant: name(tenant),
        name: None,
        addresses: Vec::new(),
    };
    let nobody = |_: &TenantName, _: &tenant::model::net::LinkName, _| false;
    let edge = |tenant: &TenantName, _: &tenant::model::net::LinkName, _| tenant.as_str() == "edge";
    assert_eq!(store.set_nic(&row("x1", None, "edge"), nobody).unwrap(), Change::Changed);
    assert_eq!(store.set_nic(&row("x1", None, "edge"), edge).unwrap(), Change::Unchanged);
    for (asked, code, says) in [
        (row("x1", None, "core"), Code::Running, "x1 is in use by tenant \"edge\", which is running"),
        (row("x1", Some(5), "core"), Code::Taken, "is assigned to both \"edge\" and \"core\""),
        (row("x9", None, "core"), Code::Taken, "NIC \"x9\" is in use by tenant \"edge\""),
        (row("x2", Some(0), "core"), Code::Invalid, "VLAN 0"),
        (row("x2", None, "ghost"), Code::NoTenant, "no tenant \"ghost\""),
    ] {
        let failure = Failure::from(store.set_nic(&asked, edge).unwrap_err());
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(says), "{failure}");
        assert!(failure.help.is_some(), "{failure}");
    }
    assert_eq!(
        store.set_nic(&row("x2", Some(5), "edge"), edge).unwrap(),
        Change::Changed,
        "it is only added"
    );
    assert_eq!(store.unset_nic(&"x1".parse().unwrap(), None, edge).unwrap_err().code(), Code::Running);
    assert_eq!(store.set_nic(&row("x1", None, "core"), nobody).unwrap(), Change::Changed);
    let given: Vec<_> = store.given().unwrap();
    let given: Vec<_> = given
        .iter()
        .map(|given| (given.link.as_str(), given.part, given.tenant.as_str(), given.in_table))
        .collect();
    assert_eq!(
        given,
        [
            ("x1", Part::Whole, "core", true),
            ("x2", Part::Vlan(5), "edge", true),
            ("x9", Part::Whole, "edge", false)
        ]
    );
    assert_eq!(start(&store, "edge").unwrap().nics.len(), 2);
    // Who is asked whether a tenant has it may well look into the store.
    let runs = |tenant: &TenantName, link: &tenant::model::net::LinkName, part| {
        store.started_with(tenant).iter().any(|own| own.link == *link && own.part == part)
    };
    let failure = store.unset_nic(&"x2".parse().unwrap(), Some(5), runs).unwrap_err();
    assert_eq!(failure.code(), Code::Running);
    assert_eq!(store.unset_nic(&"x1".parse().unwrap(), None, nobody).unwrap(), Change::Changed);
    assert_eq!(store.unset_nic(&"x1".parse().unwrap(), None, nobody).unwrap(), Change::Unchanged);
    // A row for no process keeps no process from anything.
    let text = fs::read_to_string(trial.layout.nic_table()).unwrap();
    fs::write(trial.layout.nic_table(), format!("{text}\n[[nic]]\nlink = \"x7\"\ntenant = \"ghost\"\n"))
        .unwrap();
    start(&store, "edge").unwrap();
    assert!(store.given().unwrap().iter().any(|given| !given.is_known));
}

#[test]
fn a_record_that_is_being_changed_is_not_taken_for_a_damaged_one() {
    let trial = trial();
    let store = trial.open();
    made(&store, "alice", &[LAN]);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20 {
                set(&store, "alice", &["nic=[]"], false).unwrap();
                set(&store, "alice", &[LAN], false).unwrap();
            }
            store.destroy(&name("alice")).unwrap().wait().unwrap();
            is_done.store(true, Ordering::Release);
        });
        while !is_done.load(Ordering::Acquire) {
            let fault = store.record_fault(&name("alice"));
            assert!(fault.is_none(), "{fault:?}");
        }
    });
}
