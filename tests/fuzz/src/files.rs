//! Files that an admin writes, and records.

use std::io;

use lxc::conf::{Wanted, import};
use tenant::{
    Allocation, Tenant,
    config::{Fragment, parse_toml, profile::SHIPPED},
    files::state::RunState,
    model::{host::HostConfig, limits::DefaultLimits},
};

use crate::text::text;

/// A profile that is shipped.
fn shipped(index: usize) -> (&'static str, Fragment) {
    let (name, text) = SHIPPED[index % SHIPPED.len()];
    (name, parse_toml(text).expect("a profile that is shipped is well-formed"))
}

fn tenant(profile_name: &str, profile: Fragment, own: Fragment) -> Option<Tenant> {
    let name = "fuzzed".parse().expect("a name");
    let profile_name = profile_name.parse().expect("a profile's name");
    let merged = Tenant::new(name, profile_name, profile, own, &DefaultLimits::default());
    // A refusal has a text that names the key.
    merged.inspect_err(|error| assert!(!error.to_string().is_empty())).ok()
}

/// A tenant's file, over a profile that its length chooses.
pub(crate) fn tenant_file(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let Ok(own) = parse_toml::<Fragment>(text) else { return };
    let (name, profile) = shipped(input.len());
    tenant(name, profile, own);
}

/// A profile, with a tenant that says nothing.
pub(crate) fn profile(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let Ok(profile) = parse_toml::<Fragment>(text) else { return };
    tenant("fuzzed", profile, Fragment::default());
}

pub(crate) fn host_config(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(config) = HostConfig::parse(text) {
        config.pools();
    }
}

pub(crate) fn allocation(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let Ok(allocation) = Allocation::parse(text) else { return };
    let again = Allocation::parse(&allocation.render()).expect("what was written can be read");
    assert_eq!(allocation, again);
}

pub(crate) fn state(input: &[u8]) {
    let Ok(state) = serde_json::from_slice::<RunState>(input) else { return };
    let text = serde_json::to_vec(&state).expect("a state can be written");
    let again: RunState = serde_json::from_slice(&text).expect("what was written can be read");
    assert_eq!(state, again);
}

/// A configuration of LXC. What it names is not there.
pub(crate) fn lxc_conf(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let wanted = Wanted {
        name: None,
        image: None,
        profile: None,
        arch: "x86_64",
        look: &|_| Err(io::ErrorKind::NotFound.into()),
        probe: &|_| Err(io::ErrorKind::NotFound.into()),
        load: &|name| {
            let named = SHIPPED.iter().position(|(known, _)| name.is_none_or(|name| name.as_str() == *known));
            let (name, profile) = shipped(named.ok_or("there is no such profile")?);
            Ok((name.parse().expect("a profile's name"), profile))
        },
    };
    let Ok(imported) = import("/var/lib/lxc/fuzzed/config", text, wanted) else { return };
    // The file that it makes is one.
    let again = parse_toml::<Fragment>(&imported.text()).expect("a tenant's file");
    assert_eq!(imported.fragment, again);
}
