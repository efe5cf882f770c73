//! Packets over a port that is no tenant's: what the tables promise is tried. Nothing leaves the host.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tenant::{
    apply::try_port,
    kernel::nft::{
        Nft,
        trial::{Answer, Exit, Way},
    },
    model::{facts::HostFacts, filter::HostFilter},
    plan::trial_nic,
};
use wire::doctor::Finding;

use super::{Examination, reach};
use crate::filter;

/// There is one such port.
static TURN: Mutex<()> = Mutex::new(());

/// Keeps everybody from trying: while this is held, a port of that name is there because a trial was cut short. Others
/// are examined at the same time.
pub(super) fn no_trial_is_running() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn check(examination: &Examination<'_>) -> Vec<Finding> {
    let store = examination.host.store();
    let (Ok(Some(host)), Ok(config)) = (filter::of(store), store.host_config()) else { return Vec::new() };
    if Nft::find().is_err() {
        return Vec::new();
    }
    let _turn = no_trial_is_running();
    let ipv6 = HostFacts::gather().is_ok_and(|facts| facts.ipv6);
    let leaves = |is_ipv4: bool| match is_ipv4 {
        true => !reach::uplinks().is_empty(),
        false => reach::forwards_ipv6() && has_ipv6_uplink(),
    };
    let ways = match try_port(&host, &trial_nic(store.layout(), &config, ipv6), leaves) {
        Ok(ways) => ways,
        Err(error) => return vec![Finding::failed(&error)],
    };
    let chains = Nft::find().and_then(|nft| nft.chains()).unwrap_or_default();
    let mut findings: Vec<Finding> =
        ways.iter().flat_map(|way| told(way, &host, config.nat, &chains)).collect();
    if findings.is_empty() && !ways.is_empty() {
        findings.push(Finding::ok(good(&ways)));
    }
    findings
}

/// Whether there is an IPv6 default route that leads somewhere, see proc(5): it has a next hop.
fn has_ipv6_uplink() -> bool {
    let table = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_default = words.first().is_some_and(|to| to.bytes().all(|byte| byte == b'0'))
            && words.get(1) == Some(&"00");
        is_default && words.last() != Some(&"lo")
    })
}

fn good(ways: &[Way]) -> String {
    let families = |of: &dyn Fn(&Way) -> bool| {
        let names: Vec<&str> = ways.iter().filter(|way| of(way)).map(family).collect();
        names.join(" and ")
    };
    let mut text = format!("connections are tracked ({})", families(&|_| true));
    for (exit, what) in [(Exit::Plain, "forwarded"), (Exit::Translated, "forwarded and translated")] {
        let of_exit = families(&|way| way.exit == Some(exit));
        if !of_exit.is_empty() {
            text += &format!("; packets to other networks are {what} ({of_exit})");
        }
    }
    text
}

fn family(way: &Way) -> &'static str {
    if way.is_ipv4 { "IPv4" } else { "IPv6" }
}

/// What is wrong with one way.
fn told(way: &Way, host: &HostFilter, nat: bool, chains: &Value) -> Vec<Finding> {
    let (family, mut findings) = (family(way), Vec::new());
    match way.answer {
        Answer::Received => {}
        Answer::Refused => findings.push(
            Finding::fault(format!(
                "connection tracking of this host does not work ({family}): rules with `ct state`, port forwards and NAT \
                 have no effect, including those of this host's own firewall"
            ))
            .help(
                "something disabled it, e.g. a set with `ct count`; reload all tables: nft --stateless list ruleset \
                 > /root/ruleset; nft flush ruleset; nft -f /root/ruleset; tenantctl doctor --repair",
            ),
        ),
        Answer::Lost => {
            let by = droppers(chains, &["input", "output"], way, host);
            let text = format!(
                "replies of tenants to this host over {family} are dropped by {}",
                by.first().map_or_else(|| "a firewall of this host".to_owned(), Dropper::name)
            );
            findings.push(Finding::degraded(text).help("accept replies: ct state established,related accept"));
        }
    }
    match way.exit {
        Some(Exit::Dropped) => {
            let by = droppers(chains, &["forward"], way, host);
            let whom = by.first().map_or_else(|| "a firewall of this host".to_owned(), Dropper::name);
            let text = format!(
                "routed tenants cannot reach networks beyond this host over {family}: {whom} drops forwarded packets"
            );
            let help = by.first().map_or_else(|| iptables("FORWARD", way, host), |by| by.remedy(way, host));
            findings.push(Finding::degraded(text).help(help));
        }
        Some(Exit::Plain) if nat => findings.push(Finding::fault(format!(
            "nat = true in hostd.toml, but packets of tenants keep their own source address ({family})"
        ))),
        _ => {}
    }
    findings
}

/// A chain that drops what no rule of it accepts.
#[derive(Debug, PartialEq, Eq)]
struct Dropper {
    family: String,
    table: String,
    chain: String,
    /// Whether Docker keeps a chain in that table for the rules of others.
    has_docker_user: bool,
}

/// The chains of others at these hooks whose policy is to drop, and that see this family.
fn droppers(chains: &Value, hooks: &[&str], way: &Way, host: &HostFilter) -> Vec<Dropper> {
    let families = if way.is_ipv4 { ["ip", "inet"] } else { ["ip6", "inet"] };
    let all: Vec<&Value> = chains["nftables"].as_array().into_iter().flatten().map(|o| &o["chain"]).collect();
    let word = |chain: &Value, key: &str| chain[key].as_str().unwrap_or_default().to_owned();
    let drops = all.iter().filter(|chain| {
        hooks.contains(&word(chain, "hook").as_str())
            && families.contains(&word(chain, "family").as_str())
            && word(chain, "policy") == "drop"
            && word(chain, "table") != host.table
    });
    let dropper = |chain: &&&Value| {
        let (family, table) = (word(chain, "family"), word(chain, "table"));
        let has_docker_user = all.iter().any(|other| {
            (word(other, "family"), word(other, "table")) == (family.clone(), table.clone())
                && other["name"] == "DOCKER-USER"
        });
        Dropper { has_docker_user, chain: word(chain, "name"), family, table }
    };
    drops.map(|chain| dropper(&chain)).collect()
}

impl Dropper {
    fn name(&self) -> String {
        format!("chain {} of table {} {}", self.chain, self.family, self.table)
    }

    /// The commands that let packets of tenants through, in both directions.
    fn remedy(&self, way: &Way, host: &HostFilter) -> String {
        if self.has_docker_user {
            return iptables("DOCKER-USER", way, host);
        }
        let Self { family, table, chain, .. } = self;
        let group = host.port_group;
        let rule = |which: &str| format!("nft insert rule {family} {table} {chain} {which} {group} accept");
        format!("{}; {}; the same where that table is made", rule("iifgroup"), rule("oifgroup"))
    }
}

fn iptables(chain: &str, way: &Way, host: &HostFilter) -> String {
    let program = if way.is_ipv4 { "iptables" } else { "ip6tables" };
    let rule = |which: &str| {
        format!("{program} -I {chain} -m devgroup --{which}-group {:#x} -j ACCEPT", host.port_group)
    };
    format!("{}; {}; the same at every boot", rule("src"), rule("dst"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenant::Layout;

    fn chains() -> Value {
        let chain = |family: &str, table: &str, name: &str, hook: Option<(&str, &str)>| {
            let mut chain = serde_json::json!({ "family": family, "table": table, "name": name });
            if let Some((hook, policy)) = hook {
                chain["hook"] = hook.into();
                chain["policy"] = policy.into();
            }
            serde_json::json!({ "chain": chain })
        };
        serde_json::json!({ "nftables": [
            chain("ip", "filter", "FORWARD", Some(("forward", "drop"))),
            chain("ip", "filter", "DOCKER-USER", None),
            chain("ip6", "filter", "FORWARD", Some(("forward", "drop"))),
            chain("inet", "firewall", "input", Some(("input", "drop"))),
            chain("inet", "tenantry", "forward", Some(("forward", "drop"))),
            chain("inet", "other", "forward", Some(("forward", "accept"))),
        ] })
    }

    #[test]
    fn who_drops_is_named_with_what_lets_tenants_through() {
        let host = HostFilter::bare(&Layout::default());
        let way = |is_ipv4| Way { is_ipv4, answer: Answer::Received, exit: Some(Exit::Dropped) };
        let of = |is_ipv4| told(&way(is_ipv4), &host, true, &chains()).remove(0);
        let four = of(true);
        assert!(four.message.contains("chain FORWARD of table ip filter drops"), "{}", four.message);
        let help = four.help.unwrap();
        let group = format!("{:#x}", host.port_group);
        assert!(
            help.starts_with(&format!("iptables -I DOCKER-USER -m devgroup --src-group {group} -j ACCEPT; ")),
            "{help}"
        );
        let help = of(false).help.unwrap();
        let group = host.port_group;
        assert!(
            help.starts_with(&format!("nft insert rule ip6 filter FORWARD iifgroup {group} accept; ")),
            "{help}"
        );
        // Rules of iptables-legacy are in no table that nft shows.
        let unseen = told(&way(true), &host, true, &Value::Null).remove(0);
        assert!(unseen.help.unwrap().starts_with("iptables -I FORWARD "));
    }

    #[test]
    fn what_is_well_is_told_by_family() {
        let way = |is_ipv4, exit| Way { is_ipv4, answer: Answer::Received, exit };
        let text = good(&[way(true, Some(Exit::Translated)), way(false, None)]);
        assert_eq!(
            text,
            "connections are tracked (IPv4 and IPv6); packets to other networks are forwarded and translated (IPv4)"
        );
    }
}
