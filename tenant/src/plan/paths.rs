//! The root of a tenant that sees only some paths of its image.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    error::PlanError,
    step::{ALWAYS, RootStep, TopDir, store_name},
};
use crate::{
    config::{Policy, Tenant},
    model::{
        image::{Manifest, TopEntry},
        path::TenantPath,
    },
};

/// Links of the top level that lead to one another: more of them go in circles.
const MOST_LINKS: usize = 8;

/// What every tenant gets fresh, or empty at each boot.
const FRESH: [&str; 3] = ["dev", "proc", "sys"];

/// The skeleton, then what lies in it: the listed paths, and the directories that the image or the store
/// gives. Parents come first.
pub(super) fn plan(tenant: &Tenant, manifest: &Manifest) -> Result<Vec<RootStep>, PlanError> {
    let mut plan = Paths { tenant, manifest, dirs: BTreeMap::new(), steps: BTreeMap::new() };
    let mut wanted = BTreeSet::new();
    for path in &tenant.paths {
        wanted.insert(plan.without_top_links(path)?);
    }
    for path in wanted {
        plan.add_path(path)?;
    }
    for (at, policy) in &tenant.dirs {
        plan.add_directory(at, policy)?;
    }
    for name in ALWAYS {
        plan.dirs.entry(name.to_owned()).or_insert(0o755);
    }
    let mut links = plan.links();
    links.extend(plan.resolver());
    let dirs = plan.dirs.into_iter().map(|(path, mode)| TopDir { path, mode }).collect();
    let mut steps = vec![RootStep::Skeleton { dirs, links }];
    steps.extend(plan.steps.into_values());
    Ok(steps)
}

struct Paths<'a> {
    tenant: &'a Tenant,
    manifest: &'a Manifest,
    /// Directories of the skeleton and their modes, parents first.
    dirs: BTreeMap<String, u32>,
    steps: BTreeMap<TenantPath, RootStep>,
}

impl<'a> Paths<'a> {
    fn top(&self, name: &str) -> Option<&'a TopEntry> {
        self.manifest.top.iter().find(|entry| entry.name == name)
    }

    /// A directory of the tenant's table. Those that do not look at the image are mounted by the steps
    /// that all kinds of roots have in common; here they get a place.
    fn add_directory(&mut self, at: &TenantPath, policy: &Policy) -> Result<(), PlanError> {
        let entry = self.top(at.top());
        if entry.is_some_and(|entry| entry.target.is_some()) {
            return Err(refuse_directory(
                at,
                "it is a symbolic link in the image, or below one, and cannot have a policy",
            ));
        }
        let store = || store_name(Some(at));
        let step = match policy {
            Policy::Shared | Policy::Overlay if entry.is_none() => return Ok(()),
            Policy::Shared => Some(RootStep::Shared { at: at.clone() }),
            Policy::Overlay => Some(RootStep::Overlay { at: at.clone(), store: store() }),
            Policy::Private => Some(RootStep::Private { at: at.clone(), store: store() }),
            Policy::Empty | Policy::Tmpfs { .. } | Policy::Bind { .. } => None,
        };
        self.make_parents(at);
        // What lies in another mount has its place there.
        if !self.is_mounted_above(at) {
            let mode = entry.and_then(|entry| entry.mode).filter(|_| at.depth() == 1);
            self.dirs.insert(at.relative().to_owned(), mode.unwrap_or(0o755) & 0o7777);
        }
        self.steps.extend(step.map(|step| (at.clone(), step)));
        Ok(())
    }

    fn add_path(&mut self, at: TenantPath) -> Result<(), PlanError> {
        if FRESH.contains(&at.top()) {
            return Err(refuse(&at, "it is inside a directory that is created for every tenant"));
        }
        let above = ancestors(&at).find_map(|path| self.tenant.dirs.get_key_value(&path));
        match above {
            Some((_, Policy::Shared | Policy::Overlay | Policy::Private)) => {
                self.steps.entry(at.clone()).or_insert(RootStep::Present { at });
                return Ok(());
            }
            Some((_, Policy::Empty | Policy::Tmpfs { .. } | Policy::Bind { .. })) => {
                return Err(refuse(&at, "the [dirs] table replaces the image's files there"));
            }
            None if matches!(at.top(), "tmp" | "run") => {
                return Err(refuse(&at, "it is inside a directory that is empty at each boot"));
            }
            None => {}
        }
        if self.is_mounted_above(&at) {
            self.steps.insert(at.clone(), RootStep::Present { at });
            return Ok(());
        }
        self.make_parents(&at);
        self.steps.insert(at.clone(), RootStep::Path { at });
        Ok(())
    }

    /// Whether another mount shows what is at a path, so that the skeleton has no place for it.
    fn is_mounted_above(&self, at: &TenantPath) -> bool {
        ancestors(at).skip(1).any(|path| {
            let is_listed = matches!(self.steps.get(&path), Some(RootStep::Path { .. }));
            is_listed
                || match self.tenant.dirs.get(&path) {
                    Some(Policy::Empty) | None => matches!(path.as_str(), "/tmp" | "/run"),
                    Some(_) => true,
                }
        })
    }

    fn make_parents(&mut self, at: &TenantPath) {
        if self.is_mounted_above(at) {
            return;
        }
        let above: Vec<TenantPath> = ancestors(at).skip(1).collect();
        for path in above {
            let mode = self.top(path.top()).and_then(|entry| entry.mode).filter(|_| path.depth() == 1);
            self.dirs.entry(path.relative().to_owned()).or_insert(mode.unwrap_or(0o755) & 0o7777);
        }
    }

    /// The path with its first component followed where that is a link: `/bin/sh` is `/usr/bin/sh` where
    /// `/bin` leads to `usr/bin`. Links further down are followed inside the image.
    fn without_top_links(&self, path: &TenantPath) -> Result<TenantPath, PlanError> {
        let mut now = path.clone();
        for _ in 0..MOST_LINKS {
            let Some(target) = self.top(now.top()).and_then(|entry| entry.target.as_deref()) else {
                return Ok(now);
            };
            let rest = &now.as_str()[1 + now.top().len()..];
            let next = format!("/{}{rest}", target.trim_start_matches('/').trim_end_matches('/'));
            now = next.parse().map_err(|_| refuse(path, "it starts with a dangling symbolic link"))?;
        }
        Err(refuse(path, "it starts with a symbolic link loop"))
    }

    /// For a tenant that can ask name servers and has nothing at `/etc`: where programs look for them.
    fn resolver(&mut self) -> Option<(String, String)> {
        let has_etc = self.dirs.contains_key("etc") || self.steps.keys().any(|path| path.top() == "etc");
        let asks = match &self.tenant.dns {
            Some(servers) => !servers.is_empty(),
            None => !self.tenant.nics.is_empty(),
        };
        if has_etc || !asks {
            return None;
        }
        self.dirs.insert("etc".to_owned(), 0o755);
        Some(("etc/resolv.conf".to_owned(), "../run/host/resolv.conf".to_owned()))
    }

    /// The links of the image's top level that lead to something the tenant has.
    fn links(&self) -> Vec<(String, String)> {
        let leads = |entry: &TopEntry| -> Option<(String, String)> {
            let target = entry.target.as_ref()?;
            let at: TenantPath = format!("/{}", entry.name).parse().ok()?;
            let end = self.without_top_links(&at).ok()?;
            let is_there = self.dirs.contains_key(end.relative())
                || ancestors(&end).any(|path| self.steps.contains_key(&path));
            (is_there && !self.dirs.contains_key(&entry.name)).then(|| (entry.name.clone(), target.clone()))
        };
        self.manifest.top.iter().filter_map(leads).collect()
    }
}

/// The path itself, then what it lies in, up to the first component.
fn ancestors(path: &TenantPath) -> impl Iterator<Item = TenantPath> {
    let text = path.as_str().to_owned();
    let ends: Vec<usize> = text.match_indices('/').map(|(at, _)| at).skip(1).chain([text.len()]).collect();
    ends.into_iter().rev().map(move |end| text[..end].parse().expect("a part of a path is a path"))
}

fn refuse_directory(path: &TenantPath, reason: &'static str) -> PlanError {
    PlanError::Directory { path: path.to_string(), reason }
}

fn refuse(path: &TenantPath, reason: &'static str) -> PlanError {
    PlanError::Path { path: path.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_in_itself_and_in_what_is_above_it() {
        let of = |path: &str| -> Vec<String> {
            ancestors(&path.parse().unwrap()).map(|path| path.to_string()).collect()
        };
        assert_eq!(of("/usr/lib/x"), ["/usr/lib/x", "/usr/lib", "/usr"]);
        assert_eq!(of("/usr"), ["/usr"]);
    }
}
