//! Paths inside a tenant.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An absolute, normalized path as the tenant sees it, without `.`, `..`, empty components, NUL or
/// control characters; at most 255 bytes. `/` itself is not a `TenantPath`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantPath(String);

/// Why a string is not a path inside a tenant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{path:?} is not a valid path inside a tenant: {reason}")]
pub struct InvalidPath {
    path: String,
    reason: &'static str,
}

impl TenantPath {
    /// The path with its leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path without its leading slash, to be opened relative to the tenant's root.
    pub fn relative(&self) -> &str {
        &self.0[1..]
    }

    /// The first component, e.g. `var` of `/var/lib`.
    pub fn top(&self) -> &str {
        self.relative().split('/').next().unwrap_or_default()
    }

    /// Number of components: 1 for `/var`, 2 for `/var/lib`.
    pub fn depth(&self) -> usize {
        self.relative().split('/').count()
    }
}

impl FromStr for TenantPath {
    type Err = InvalidPath;

    fn from_str(path: &str) -> Result<Self, InvalidPath> {
        let refuse = |reason| {
            let path = path.chars().take(256).collect();
            Err(InvalidPath { path, reason })
        };
        let Some(relative) = path.strip_prefix('/') else {
            return refuse("it is not absolute");
        };
        if relative.is_empty() {
            return refuse("it is the root itself");
        }
        if path.len() > 255 {
            return refuse("it is longer than 255 bytes");
        }
        if path.chars().any(char::is_control) {
            return refuse("it contains a control character");
        }
        if relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return refuse("it contains an empty, '.' or '..' component");
        }
        Ok(Self(path.to_owned()))
    }
}

super::text::text_form!(TenantPath, InvalidPath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_normalized_absolute_paths_are_accepted() {
        let var = "/var/lib".parse::<TenantPath>().unwrap();
        assert_eq!((var.top(), var.depth(), var.relative()), ("var", 2, "var/lib"));
        for bad in ["", "/", "etc", "/etc/", "/etc/../x", "//etc", "/a/./b", "/a\0b", "/a\nb"] {
            assert!(bad.parse::<TenantPath>().is_err(), "{bad:?} was accepted");
        }
    }
}
