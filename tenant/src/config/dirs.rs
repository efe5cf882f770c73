//! Which policies the directories of a tenant may have.

use super::{
    error::{ConfigError, clean_text, in_range},
    policy::Policy,
    tenant::Tenant,
    words::RootMode,
};
use crate::model::{limits::ByteSize, path::TenantPath};

/// What a tenant with a root of listed paths sees of the image.
pub(super) fn paths(root: RootMode, paths: Option<Vec<TenantPath>>) -> Result<Vec<TenantPath>, ConfigError> {
    match (root, paths) {
        (RootMode::Paths, Some(paths)) if !paths.is_empty() => {
            in_range("paths", paths.len(), 1, 256)?;
            Ok(paths)
        }
        (RootMode::Paths, _) => Err(ConfigError::new("paths", "root = \"paths\" needs at least one path")),
        (_, Some(_)) => Err(ConfigError::new("paths", "it can be used only with root = \"paths\"")),
        (_, None) => Ok(Vec::new()),
    }
}

/// Whether every directory can have the policy that it is given.
pub(super) fn check_dirs(tenant: &Tenant) -> Result<(), ConfigError> {
    for (path, policy) in &tenant.dirs {
        let key = || format!("dirs.\"{path}\"");
        if matches!(path.top(), "proc" | "sys" | "dev") {
            return Err(ConfigError::new(key(), "it is inside a directory that is created for every tenant"));
        }
        let unfit = match (path.as_str(), policy) {
            ("/run", Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty) => {
                Some("it must be empty at each boot: use tmpfs or a bind")
            }
            ("/tmp", Policy::Shared | Policy::Empty) => {
                Some("programs write there: use tmpfs, \"overlay\", \"private\" or a bind")
            }
            _ => None,
        };
        if let Some(reason) = unfit {
            return Err(ConfigError::new(key(), reason));
        }
        match policy {
            Policy::Tmpfs { size } => {
                in_range(&key(), *size, ByteSize(64 << 10), ByteSize(1 << 40))?;
            }
            Policy::Bind { source, .. } => {
                let text = source.to_string_lossy();
                let normal = source.is_absolute()
                    && source.components().all(|part| {
                        matches!(part, std::path::Component::Normal(_) | std::path::Component::RootDir)
                    });
                if !normal {
                    return Err(ConfigError::new(
                        key(),
                        format!("{text:?} is not an absolute, normalized path"),
                    ));
                }
                clean_text(&key(), &text, 4096)?;
            }
            Policy::Shared if path.depth() > 1 && tenant.root == RootMode::Skeleton => {}
            Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty if path.depth() > 1 => {
                return Err(ConfigError::new(key(), "below the top level use \"shared\", tmpfs or a bind"));
            }
            Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty
                if tenant.root == RootMode::Overlay =>
            {
                return Err(ConfigError::new(key(), "with root = \"overlay\" use tmpfs or a bind"));
            }
            Policy::Shared | Policy::Overlay | Policy::Private | Policy::Empty => {}
        }
    }
    Ok(())
}
