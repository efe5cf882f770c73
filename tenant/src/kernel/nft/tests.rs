//! Text and data of the filter; what nft makes of them is looked at with real packets, in `tests/tests/filter.rs`.

use std::{collections::BTreeSet, fs, path::PathBuf};

use proptest::prelude::*;

use super::{
    encode,
    item::{Family, Item, add_text, delete_text, forwarded_port, of_host, of_tenant},
    listing::Listing,
    record::{read_record, remove_record, write_record},
    remove::Kept,
    repair::rules,
};
use crate::model::filter::{FilterPort, HostFilter, TenantFilter};

fn host() -> HostFilter {
    HostFilter {
        table: "tenantry-0123abcd".to_owned(),
        port_group: 0x7401_0203,
        isolation: true,
        services: BTreeSet::new(),
        nat: vec!["10.115.0.0/16".parse().unwrap()],
        runtimes: PathBuf::from("/nonexistent"),
        lock: PathBuf::from("/nonexistent/lock"),
    }
}

fn port(name: &str, bridged: bool, addresses: &[&str]) -> FilterPort {
    FilterPort {
        name: name.parse().unwrap(),
        bridged,
        mac: "02:00:00:00:00:01".parse().unwrap(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    }
}

fn alice() -> TenantFilter {
    TenantFilter {
        tenant: "alice".parse().unwrap(),
        ports: vec![port("t1-0", false, &["10.115.0.1", "fd00::1"])],
        group: Some("shop".parse().unwrap()),
        rate: Some("100M".parse().unwrap()),
        forwards: vec!["2222:22/tcp".parse().unwrap()],
    }
}

#[test]
fn what_another_tenant_has_by_now_is_not_removed_with_one_that_has_ended() {
    let bob = TenantFilter {
        tenant: "bob".parse().unwrap(),
        ports: vec![port("t2-0", false, &["10.115.0.2", "fd00::2"])],
        ..alice()
    };
    let of_bob = of_tenant(&bob);
    let leaves: BTreeSet<Item> = Kept::new(&of_bob).leaves(&[alice()]).into_iter().collect();
    // The forwarded port leads to bob now; the group's rest is alice's own.
    let is_forward = |item: &&Item| item.key().is_some_and(|(_, set, _)| set.starts_with("forwards"));
    assert_eq!(leaves.iter().filter(is_forward).count(), 0);
    let all = of_tenant(&alice());
    assert_eq!(leaves.len(), all.len() - all.iter().filter(is_forward).count());
    assert_eq!(Kept::new(&BTreeSet::new()).leaves(&[alice()]).len(), all.len());
}

#[test]
fn a_tenant_is_elements_and_limits_alone() {
    let text = add_text("T", &of_tenant(&alice()));
    let expected = r#"add limit inet T in-alice-100000000 { rate over 12500000 bytes/second burst 131072 bytes; }
add limit inet T out-alice-100000000 { rate over 12500000 bytes/second burst 131072 bytes; }
add element inet T forwards4 { tcp . 2222 : 10.115.0.1 . 22 }
add element inet T forwards6 { tcp . 2222 : fd00::1 . 22 }
add element inet T groups { "t1-0" : 2375025107 }
add element inet T limited { "t1-0" }
add element inet T loops4 { 10.115.0.1 . 10.115.0.1 }
add element inet T loops6 { fd00::1 . fd00::1 }
add element inet T macs { "t1-0" . 02:00:00:00:00:01 }
add element inet T members { "t1-0" . 2375025107 }
add element inet T pins4 { "t1-0" . 02:00:00:00:00:01 . 10.115.0.1 : goto ration }
add element inet T pins6 { "t1-0" . 02:00:00:00:00:01 . fd00::1 : goto ration, "t1-0" . 02:00:00:00:00:01 . fe80::ff:fe00:1 : goto ration }
add element inet T rate_in { "t1-0" : "in-alice-100000000" }
add element inet T rate_out { "t1-0" : "out-alice-100000000" }
add element inet T received { "t1-0" }
add element inet T refused { "t1-0" }
add element inet T sent { "t1-0" }
add element inet T taken6 { 0xfd000000000000000000000000000001 }
add element inet T targets { "t1-0" . 0xfd000000000000000000000000000001, "t1-0" . 0xfe80000000000000000000fffe000001 }
add element arp T macs { "t1-0" . 02:00:00:00:00:01 }
add element arp T pins4 { "t1-0" . 02:00:00:00:00:01 . 10.115.0.1 }
add element arp T refused { "t1-0" }
add element arp T taken4 { 10.115.0.1 }
"#;
    assert_eq!(text, expected);
    let gone = delete_text("T", &of_tenant(&alice()));
    assert_eq!(gone.lines().count(), text.lines().count());
    assert!(
        gone.ends_with("delete limit inet T in-alice-100000000\ndelete limit inet T out-alice-100000000\n")
    );
    assert!(gone.lines().all(|line| line.starts_with("delete ")), "{gone}");
}

#[test]
fn a_bridged_port_is_pinned_where_neighbours_listen() {
    let tenant =
        TenantFilter { ports: vec![port("t1-0", true, &["fd00::2"])], forwards: Vec::new(), ..alice() };
    let text = add_text("T", &of_tenant(&tenant));
    assert!(
        text.contains("add element bridge T targets { \"t1-0\" . 0xfd0000000000000000000000000000"),
        "{text}"
    );
    assert!(!text.contains(" inet ") && !text.contains("free"), "{text}");
    let free = TenantFilter { ports: vec![port("t1-0", true, &[])], ..tenant };
    assert!(add_text("T", &of_tenant(&free)).contains("add element bridge T free { \"t1-0\" }"));
}

#[test]
fn what_the_kernel_lists_is_read_as_it_was_written() {
    let bridged = TenantFilter { ports: vec![port("t2-0", true, &["10.9.0.1", "fd09::1"])], ..alice() };
    let free = TenantFilter { ports: vec![port("t3-0", true, &[])], ..alice() };
    let open = HostFilter {
        isolation: false,
        services: ["53/udp".parse().unwrap()].into(),
        nat: Vec::new(),
        ..host()
    };
    let tenants = [alice(), bridged, free].into_iter().flat_map(|tenant| of_tenant(&tenant));
    let mut sets = BTreeSet::new();
    for item in tenants.chain(of_host(&open)) {
        let Item::Element { set, key, value, .. } = &item else { continue };
        sets.insert(set.clone());
        // Behind the header of the element itself.
        let element = encode::element(&item).unwrap();
        assert_eq!(encode::words(set, &element[4..]), Some((key.clone(), value.clone())), "{item}");
    }
    assert_eq!(sets.len(), 21, "{sets:?}");
    assert_eq!(encode::words("other", &[]), None, "left to nft");
}

#[test]
fn the_host_has_its_networks_and_whether_tenants_are_isolated() {
    // No process may claim the host's end of a routed link.
    let own = "add element inet T taken6 { 0xfe800000000000000000000000000001 }\n\
               add element arp T taken4 { 169.254.1.1 }\n";
    let nat = "add element inet T nat4 { 10.115.0.0/16 }\n";
    assert_eq!(add_text("T", &of_host(&host())), format!("{nat}{own}"));
    let services = ["53/udp", "22/tcp"].map(|service| service.parse().unwrap()).into();
    let open = HostFilter { isolation: false, services, nat: Vec::new(), ..host() };
    let open = add_text("T", &of_host(&open));
    assert!(open.contains("add element inet T services { tcp . 22, udp . 53 }\n"), "{open}");
    let group = 0x7401_0203;
    let all = open.lines().collect::<BTreeSet<_>>();
    for family in ["inet", "bridge"] {
        let line = format!("add element {family} T open {{ {group} }}");
        assert!(all.contains(line.as_str()), "{open}");
    }
}

#[test]
fn the_rules_name_the_tables_and_the_group_of_the_host() {
    let text = rules(&host());
    assert!(
        text.contains("table inet tenantry-0123abcd {") && text.contains("table bridge tenantry-0123abcd {")
    );
    assert!(text.contains("iifgroup 1946223107 jump pin"), "{text}");
    for line in text.lines() {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric());
        assert!(words.clone().all(|word| word != "TABLE" && word != "GROUP"), "{line}");
    }
}

#[test]
fn what_belongs_to_a_tenant_is_told_from_what_belongs_to_its_neighbour() {
    let bob = TenantFilter {
        tenant: "alice-5".parse().unwrap(),
        ports: vec![port("t10-0", false, &["10.115.0.10"])],
        forwards: vec!["2223:22/tcp".parse().unwrap()],
        ..alice()
    };
    let (of_alice, of_bob) = (of_tenant(&alice()), of_tenant(&bob));
    assert!(of_alice.iter().all(|item| item.belongs_to(&alice()) && !item.belongs_to(&bob)));
    assert!(of_bob.iter().all(|item| item.belongs_to(&bob) && !item.belongs_to(&alice())));
    assert!(of_host(&host()).iter().all(|item| !item.belongs_to(&alice())));
}

#[test]
fn a_port_of_the_host_that_leads_elsewhere_is_a_contradiction() {
    let bob = TenantFilter { ports: vec![port("t2-0", false, &["10.115.0.2"])], ..alice() };
    let (of_alice, of_bob) = (of_tenant(&alice()), of_tenant(&bob));
    let pairs = of_alice.iter().flat_map(|item| of_bob.iter().map(move |other| (item, other)));
    let against: Vec<_> = pairs.filter(|(item, other)| item.contradicts(other)).collect();
    assert_eq!(against.len(), 1);
    assert_eq!(forwarded_port(against[0].0), Some((crate::model::net::Protocol::Tcp, 2222)));
}

#[test]
fn what_nft_prints_is_read_back_as_what_was_added() {
    let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "T", "handle": 1}},
        {"limit": {"family": "inet", "name": "in-alice-100000000", "table": "T", "handle": 15, "rate": 12500000, "per": "second",
            "inv": true, "rate_unit": "bytes", "burst": 128, "burst_unit": "kbytes"}},
        {"set": {"family": "inet", "name": "flows", "table": "T", "type": "ifname", "handle": 3, "size": 65535,
            "elem": [{"elem": {"val": "t1-0", "ct count": {"val": 8192, "inv": true}}}]}},
        {"set": {"family": "inet", "name": "sent", "table": "T", "type": "ifname", "handle": 4,
            "elem": [{"elem": {"val": "t1-0", "counter": {"packets": 3, "bytes": 252}}}]}},
        {"set": {"family": "inet", "name": "nat4", "table": "T", "type": "ipv4_addr", "handle": 33, "flags": ["interval"],
            "elem": [{"prefix": {"addr": "10.115.0.0", "len": 16}}]}},
        {"set": {"family": "inet", "name": "macs", "table": "T", "type": ["ifname", "ether_addr"], "handle": 5,
            "elem": [{"concat": ["t1-0", "02:00:00:00:00:01"]}]}},
        {"map": {"family": "inet", "name": "groups", "table": "T", "type": "ifname", "handle": 6, "map": "mark", "elem": [["t1-0", 2375025107]]}},
        {"map": {"family": "inet", "name": "forwards4", "table": "T", "type": ["inet_proto", "inet_service"], "handle": 29,
            "map": "ipv4_addr . inet_service", "elem": [[{"concat": ["tcp", 2222]}, {"concat": ["10.115.0.1", 22]}]]}},
        {"rule": {"family": "inet", "table": "T", "chain": "pin", "handle": 7, "expr": [{"drop": null}]}}]}"#;
    let mut listing = Listing::default();
    listing.read(Family::Inet, text).unwrap();
    let wanted: BTreeSet<Item> = of_tenant(&alice()).into_iter().chain(of_host(&host())).collect();
    assert_eq!(listing.items.len(), 6, "what packets added is nobody's element");
    assert!(listing.items.is_subset(&wanted), "{:?}", listing.items.difference(&wanted));
    let count = listing.counts[&("sent".to_owned(), "t1-0".to_owned())];
    assert_eq!((count.packets, count.bytes), (3, 252));
    assert!(listing.rules.iter().all(|rule| !rule.to_string().contains("handle")));
    assert_eq!(listing.rules.len(), 7);
    Listing::default().read(Family::Inet, "no JSON").unwrap_err();
}

#[test]
fn a_record_is_read_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let host = HostFilter { runtimes: dir.path().to_owned(), ..host() };
    let name = alice().tenant;
    assert!(read_record(&host, &name).unwrap().is_none());
    fs::create_dir(dir.path().join("alice")).unwrap();
    write_record(&host, &[alice()]).unwrap();
    assert_eq!(read_record(&host, &name).unwrap(), Some(vec![alice()]));
    fs::write(host.record(&name), r#"[{"tenant":"alice","ports":[{"name":"a\" }","bridged":false}]}]"#)
        .unwrap();
    read_record(&host, &name).unwrap_err();
    remove_record(&host, &name).unwrap();
    remove_record(&host, &name).unwrap();
}

proptest! {
    /// Whatever is written into a record, only what parsed as a name, an address or a number is printed.
    #[test]
    fn nothing_in_a_record_can_add_a_command(name in ".{0,20}", tenant in ".{0,20}", group in ".{0,20}", forward in ".{0,20}") {
        let record = serde_json::json!([{
            "tenant": tenant, "group": group, "forwards": [forward], "rate": "1M",
            "ports": [{"name": name, "bridged": false, "mac": "02:00:00:00:00:01", "addresses": ["10.0.0.1"]}],
        }]);
        let Ok(known) = serde_json::from_value::<Vec<TenantFilter>>(record) else { return Ok(()) };
        let text = add_text("T", &of_tenant(&known[0]));
        for line in text.lines() {
            prop_assert!(line.starts_with("add element inet T ") || line.starts_with("add limit inet T "));
            prop_assert_eq!(line.matches('{').count(), 1);
            prop_assert_eq!(line.matches('}').count(), 1);
        }
    }

    #[test]
    fn names_that_are_valid_are_printed_in_quotes(name in "[a-zA-Z0-9._-]{1,15}") {
        let Ok(link) = name.parse::<crate::model::net::LinkName>() else { return Ok(()) };
        let tenant = TenantFilter { ports: vec![FilterPort { name: link, ..port("x", false, &[]) }], forwards: Vec::new(), group: None, rate: None, ..alice() };
        let text = add_text("T", &of_tenant(&tenant));
        let quoted = format!("{{ \"{name}\" }}");
        prop_assert!(text.contains(&quoted), "{}", text);
    }
}
