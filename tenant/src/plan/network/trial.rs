//! A port that is no tenant's, by which a host is tried with packets.

use super::{LinkPlan, NicPlan, PortPlan, mac, port_group, suffix};
use crate::{
    files::layout::Layout,
    model::{
        host::HostConfig,
        net::Cidr,
        port::{GATEWAY4, GATEWAY6, TRIAL_PORT},
    },
};

/// A routed interface of tenant number 0, which no tenant is, with the last addresses of the default pools, which no
/// tenant's number leads to.
pub fn trial_nic(layout: &Layout, config: &HostConfig, ipv6: bool) -> NicPlan {
    let instance = layout.instance();
    let mut addresses = vec![Cidr::host(config.pool4.last().into())];
    let mut gateways = vec![GATEWAY4.into()];
    if ipv6 {
        addresses.push(Cidr::host(config.pool6.last().into()));
        gateways.push(GATEWAY6.into());
    }
    let port = PortPlan {
        host_name: format!("{TRIAL_PORT}0{}", suffix(layout)),
        // No tenant's name begins with a dot.
        altname: format!("ve-.trial{}", suffix(layout)),
        host_mac: mac(&instance, 0, "host"),
        group: port_group(layout),
    };
    NicPlan {
        name: "eth0".parse().expect("it is a name of an interface"),
        altnames: Vec::new(),
        mac: Some(mac(&instance, 0, "tenant")),
        mtu: None,
        addresses,
        gateways,
        metric: 0,
        routes: Vec::new(),
        link: LinkPlan::Routed { port },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::port::is_trial_port;

    #[test]
    fn its_name_and_its_addresses_are_nobodys() {
        let config = HostConfig::default();
        let nic = trial_nic(&Layout::default(), &config, true);
        let addresses: Vec<String> = nic.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.115.255.255/32", "fd74:656e:616e:7400:ffff:ffff:ffff:ffff/128"]);
        let last = crate::model::ids::Index::try_from(65_533).unwrap();
        assert_ne!(Some(config.pool4.last()), config.pool4.address(last));
        assert_ne!(Some(config.pool6.last()), config.pool6.address(last));
        assert_eq!(nic.port().unwrap().host_name, "t0-0");
        assert!(is_trial_port("t0-0.00a7") && !is_trial_port("t10-0") && !is_trial_port("t1-0"));
        assert_eq!(trial_nic(&Layout::default(), &config, false).addresses.len(), 1);
    }
}
