//! Profiles: where they come from, and a tenant read from the host's files.

use std::{io, path::PathBuf};

use crate::{
    config::{ConfigError, Fragment, ParseError, Tenant, parse_toml},
    files::{file_error::FileError, layout::Layout, record},
    model::{
        host::{HostConfig, HostConfigError},
        image::ProfileName,
        limits::DefaultLimits,
        name::TenantName,
        nic_table::{NicTable, NicTableError},
    },
};

/// The profiles that are compiled in, so that a host without `/usr/share/tenantry` still has them.
pub const SHIPPED: &[(&str, &str)] = &[
    ("shared-os", include_str!("../../../profiles/shared-os.toml")),
    ("os", include_str!("../../../profiles/os.toml")),
    ("app", include_str!("../../../profiles/app.toml")),
    ("app-plus", include_str!("../../../profiles/app-plus.toml")),
    ("router", include_str!("../../../profiles/router.toml")),
];

/// Why a tenant's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such tenant.
    #[error("there is no tenant {0:?}")]
    NoTenant(String),
    /// There is no such profile.
    #[error("there is no profile {name:?}: it is not a shipped one, and not in {}", dir.display())]
    NoProfile {
        /// Its name.
        name: String,
        /// Where this host's own profiles are.
        dir: PathBuf,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// A file is not what it should be.
    #[error("{file} is malformed")]
    Parse {
        /// The file.
        file: String,
        /// Its first fault.
        #[source]
        source: ParseError,
    },
    /// The host's settings are not what they should be.
    #[error("cannot use {file}")]
    Host {
        /// The file.
        file: String,
        /// The first fault.
        #[source]
        source: HostConfigError,
    },
    /// The table of NICs is not what it should be.
    #[error("cannot use {file}")]
    NicTable {
        /// The file.
        file: String,
        /// Its first fault.
        #[source]
        source: NicTableError,
    },
    /// The merged configuration makes no sense.
    #[error("the configuration of tenant {name:?} is invalid")]
    Invalid {
        /// The tenant.
        name: String,
        /// The key at fault.
        #[source]
        source: ConfigError,
    },
}

/// Reads a profile: `/etc/tenantry/profiles`, then `/usr/share/tenantry/profiles`, then the shipped ones.
///
/// # Errors
/// No profile of that name, or one that is malformed.
pub fn load_profile(layout: &Layout, name: &ProfileName) -> Result<Fragment, LoadError> {
    for path in layout.profile_paths(name) {
        match record::read(&path) {
            Ok(text) => {
                let file = path.display().to_string();
                return parse_toml(&text).map_err(|source| LoadError::Parse { file, source });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (_, text) = SHIPPED
        .iter()
        .find(|(shipped, _)| *shipped == name.as_str())
        .ok_or_else(|| no_profile(layout, name.as_str()))?;
    let file = format!("the shipped profile {name}");
    parse_toml(text).map_err(|source| LoadError::Parse { file, source })
}

fn no_profile(layout: &Layout, name: &str) -> LoadError {
    LoadError::NoProfile { name: name.to_owned(), dir: layout.profiles() }
}

/// Reads `hostd.toml`; a host without one has the defaults.
///
/// # Errors
/// A file that cannot be read or is malformed.
pub fn load_host(layout: &Layout) -> Result<HostConfig, LoadError> {
    let path = layout.host_config();
    match record::read(&path) {
        Ok(text) => HostConfig::parse(&text)
            .map_err(|source| LoadError::Host { file: path.display().to_string(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HostConfig::default()),
        Err(error) => Err(error.into()),
    }
}

/// Reads `nics.toml`; a host without one gives no NIC away.
///
/// # Errors
/// A file that cannot be read, is malformed, or gives something twice.
pub fn load_nic_table(layout: &Layout) -> Result<NicTable, LoadError> {
    let path = layout.nic_table();
    match record::read(&path) {
        Ok(text) => NicTable::parse(&text)
            .map_err(|source| LoadError::NicTable { file: path.display().to_string(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(NicTable::default()),
        Err(error) => Err(error.into()),
    }
}

/// The valid tenant that a fragment stands for on this host, without the host's default limits.
///
/// # Errors
/// See [`LoadError`].
pub fn resolve(layout: &Layout, name: &TenantName, own: Fragment) -> Result<Tenant, LoadError> {
    resolve_with(layout, name, own, &load_host(layout)?, &load_nic_table(layout)?, &DefaultLimits::default())
}

/// The valid tenant that a fragment stands for, with what the host says of all: its settings, its table of NICs and
/// its default limits, see [`HostConfig::default_limits`].
///
/// # Errors
/// See [`LoadError`].
pub fn resolve_with(
    layout: &Layout,
    name: &TenantName,
    own: Fragment,
    host: &HostConfig,
    ports: &NicTable,
    defaults: &DefaultLimits,
) -> Result<Tenant, LoadError> {
    let profile_name = profile_of(layout, &own, host)?;
    let profile = load_profile(layout, &profile_name)?;
    merge(name, own, (profile_name, profile), host, ports, defaults)
}

/// The profile that a tenant's file names, or the host's default.
///
/// # Errors
/// [`LoadError::NoProfile`] where the host's default cannot be a name.
pub fn profile_of(layout: &Layout, own: &Fragment, host: &HostConfig) -> Result<ProfileName, LoadError> {
    match &own.profile {
        Some(profile) => Ok(profile.clone()),
        None => host.default_profile.parse().map_err(|_| no_profile(layout, &host.default_profile)),
    }
}

/// The valid tenant that a fragment and a profile stand for; nothing is read.
///
/// # Errors
/// [`LoadError::Invalid`].
pub fn merge(
    name: &TenantName,
    mut own: Fragment,
    (profile_name, mut profile): (ProfileName, Fragment),
    host: &HostConfig,
    ports: &NicTable,
    defaults: &DefaultLimits,
) -> Result<Tenant, LoadError> {
    let rows = ports.nics(name);
    if !rows.is_empty() {
        let mut nics = own.nic.take().or_else(|| profile.nic.take()).unwrap_or_default();
        nics.extend(rows);
        own.nic = Some(nics);
    }
    if profile.image.is_none() {
        profile.image = host.default_image.parse().ok();
    }
    Tenant::new(name.clone(), profile_name, profile, own, defaults)
        .map_err(|source| LoadError::Invalid { name: name.to_string(), source })
}

/// Reads the text of a tenant's file.
///
/// # Errors
/// [`LoadError::NoTenant`] where there is none.
pub fn load_text(layout: &Layout, name: &TenantName) -> Result<String, LoadError> {
    record::read(&layout.tenant_config(name)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LoadError::NoTenant(name.to_string()),
        _ => error.into(),
    })
}

/// What the text of a tenant's file says.
///
/// # Errors
/// [`LoadError::Parse`].
pub fn parse(layout: &Layout, name: &TenantName, text: &str) -> Result<Fragment, LoadError> {
    let file = || layout.tenant_config(name).display().to_string();
    parse_toml(text).map_err(|source| LoadError::Parse { file: file(), source })
}

/// Reads a tenant's file.
///
/// # Errors
/// [`LoadError::NoTenant`] where there is none, else see [`LoadError`].
pub fn load_fragment(layout: &Layout, name: &TenantName) -> Result<Fragment, LoadError> {
    parse(layout, name, &load_text(layout, name)?)
}

/// Reads and validates a tenant, see [`resolve`].
///
/// # Errors
/// See [`LoadError`].
pub fn load_tenant(layout: &Layout, name: &TenantName) -> Result<Tenant, LoadError> {
    resolve(layout, name, load_fragment(layout, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_makes_a_valid_tenant() {
        let layout = Layout::new("/nonexistent");
        for (name, _) in SHIPPED {
            let mut own = Fragment { profile: Some(name.parse().unwrap()), ..Fragment::default() };
            let resolved = resolve(&layout, &"alice".parse().unwrap(), own.clone());
            if name.starts_with("app") {
                // Which files an application needs no other process can say.
                let error = resolved.unwrap_err();
                let source = std::error::Error::source(&error).unwrap().to_string();
                assert!(source.contains("paths"), "{source}");
                own.paths = Some(vec!["/usr".parse().unwrap()]);
                resolve(&layout, &"alice".parse().unwrap(), own).unwrap();
            } else {
                resolved.unwrap();
            }
        }
    }
}
