//! What reads the bytes of others: one function for each kind of input, that a fuzzer feeds.
//!
//! A target fails by a panic: of the code that it calls, or because what was read and written again is not the same. It
//! must also end soon and in little memory, which the fuzzer watches. `cargo xtask test --tier fuzz` runs a fuzzer on
//! each; the inputs that are in `corpus/`, and those that once failed, are run by every test of this crate.

mod files;
mod images;
mod protocols;
mod text;

/// A kind of input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its directory in `corpus/`.
    pub name: &'static str,
    /// Feeds one input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "tenant_file", run: files::tenant_file },
    Target { name: "profile", run: files::profile },
    Target { name: "host_config", run: files::host_config },
    Target { name: "allocation", run: files::allocation },
    Target { name: "state", run: files::state },
    Target { name: "lxc_conf", run: files::lxc_conf },
    Target { name: "manifest", run: images::manifest },
    Target { name: "inventory", run: images::inventory },
    Target { name: "archive", run: images::archive },
    Target { name: "oci_layout", run: images::oci_layout },
    Target { name: "api_body", run: protocols::api_body },
    Target { name: "console", run: protocols::console },
    Target { name: "control", run: protocols::control },
    Target { name: "limits_files", run: protocols::limits_files },
    Target { name: "tenant_bytes", run: protocols::tenant_bytes },
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
