//! What completes an argument. Files are read where they can be, otherwise hostd is asked, for a moment and in silence:
//! a completion that cannot be found is none.

use std::{env, ffi::OsStr, fs, path::PathBuf, time::Duration};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use client::Client;
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use tenant::Layout;
use wire::Drift;

use super::{keys, listed::Listed};

/// How long hostd is waited for by somebody who has pressed a key.
const PATIENCE: Duration = Duration::from_millis(300);

/// Finds what may stand in place of a word that was begun.
type Source = fn(&Layout, &str) -> Vec<String>;

/// A completer of an argument.
pub(super) fn of(source: Source) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let Some(current) = current.to_str() else { return Vec::new() };
        let mut found = source(&layout(), current);
        found.retain(|word| word.starts_with(current) && !word.chars().any(char::is_control));
        found.sort();
        found.dedup();
        found.into_iter().map(CompletionCandidate::new).collect::<Vec<_>>()
    })
}

/// The layout that the line which is completed means.
fn layout() -> Layout {
    let words: Vec<_> = env::args_os().collect();
    let named = words.iter().enumerate().rev().find_map(|(at, word)| match word.to_str()? {
        "--root" => words.get(at + 1).cloned(),
        word => word.strip_prefix("--root=").map(Into::into),
    });
    wire::layout(named.filter(|root| !root.is_empty()).map(PathBuf::from))
}

/// Names of tenants; `USER@` before one is left as it is.
pub(super) fn tenants(layout: &Layout, current: &str) -> Vec<String> {
    let user = current.rfind('@').map_or("", |at| &current[..=at]);
    let mut names = configured(layout);
    if names.is_empty() {
        names = listed(layout).into_iter().map(|tenant| tenant.summary.name).collect();
    }
    names.into_iter().map(|name| format!("{user}{name}")).collect()
}

/// Names of tenants by their files; none for users that may not read the directory.
pub(super) fn configured(layout: &Layout) -> Vec<String> {
    let files = entries(layout.tenant_configs());
    files.iter().filter_map(|name| name.strip_suffix(".toml").map(str::to_owned)).collect()
}

/// Files of the tenant on the line that hide files of its image.
pub(super) fn drifted(layout: &Layout, _: &str) -> Vec<String> {
    let words: Vec<_> = env::args_os().filter_map(|word| word.into_string().ok()).collect();
    let names = configured(layout);
    let name = words.iter().find(|word| names.contains(word));
    let drift = name.and_then(|name| asked::<Drift>(layout, &client::tenant(name, "/drift")));
    drift.into_iter().flat_map(|drift| drift.files).map(|file| file.path).collect()
}

/// Images, and the versions of one behind `@`.
pub(super) fn images(layout: &Layout, current: &str) -> Vec<String> {
    let images = entries(layout.images());
    match current.split_once('@') {
        Some((image, _)) if images.iter().any(|known| known == image) => versions(layout, image),
        _ => images,
    }
}

/// Images, the channels of one behind `:`, its versions behind `@`.
pub(super) fn image_references(layout: &Layout, current: &str) -> Vec<String> {
    match current.split_once(':') {
        Some((image, _))
            if !image.contains('@') && entries(layout.images()).iter().any(|known| known == image) =>
        {
            let channels = entries(layout.images().join(image).join("channels"));
            channels.into_iter().map(|channel| format!("{image}:{channel}")).collect()
        }
        _ => images(layout, current),
    }
}

/// `IMAGE@` and the first digits of the digest of each version, which are enough.
fn versions(layout: &Layout, image: &str) -> Vec<String> {
    let versions = entries(layout.images().join(image).join("versions"));
    let digits = |name: &String| {
        let digits = name.rsplit([':', '-']).next()?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| digits.get(..12))?.map(str::to_owned)
    };
    versions.iter().filter_map(digits).map(|digits| format!("{image}@{digits}")).collect()
}

/// Kinds of tenants.
pub(super) fn kinds(_: &Layout, _: &str) -> Vec<String> {
    keys::values("kind").iter().map(ToString::to_string).collect()
}

/// Profiles: those that are shipped, and those of this host.
pub(super) fn profiles(layout: &Layout, _: &str) -> Vec<String> {
    let Ok(any) = "x".parse() else { return Vec::new() };
    let dirs = layout.profile_paths(&any);
    let dirs = dirs.iter().filter_map(|path| path.parent());
    let names = dirs.flat_map(|dir| entries(dir.to_owned()));
    let own = names.filter_map(|name| name.strip_suffix(".toml").map(str::to_owned));
    own.chain(tenant::config::profile::SHIPPED.iter().map(|(name, _)| (*name).to_owned())).collect()
}

/// Labels that tenants have: their keys, and behind `KEY=` their values.
pub(super) fn labels(layout: &Layout, current: &str) -> Vec<String> {
    let pairs = listed(layout).into_iter().flat_map(|tenant| tenant.summary.labels);
    pairs.map(|(key, value)| if current.contains('=') { format!("{key}={value}") } else { key }).collect()
}

/// Keys of a tenant's file.
pub(super) fn keys(_: &Layout, _: &str) -> Vec<String> {
    keys::names().map(str::to_owned).collect()
}

/// `KEY=`, and behind it the values that are words.
pub(super) fn settings(layout: &Layout, current: &str) -> Vec<String> {
    let Some((key, value)) = current.split_once('=') else {
        return keys::names().map(|key| format!("{key}=")).collect();
    };
    let values = match key {
        "image" => image_references(layout, value),
        "profile" => profiles(layout, value),
        key => keys::values(key).iter().map(ToString::to_string).collect(),
    };
    values.into_iter().map(|value| format!("{key}={value}")).collect()
}

/// What `set` takes: names of tenants, then keys with their values.
pub(super) fn tenants_or_settings(layout: &Layout, current: &str) -> Vec<String> {
    let mut words = settings(layout, current);
    if !current.contains('=') {
        words.extend(tenants(layout, current));
    }
    words
}

/// Interfaces of the host.
pub(super) fn nics(_: &Layout, _: &str) -> Vec<String> {
    entries(PathBuf::from("/sys/class/net")).into_iter().filter(|name| name != "lo").collect()
}

/// Signals, as kill(1) takes them: with SIG where that was begun.
pub(super) fn signals(_: &Layout, current: &str) -> Vec<String> {
    let full = current.starts_with("SIG");
    let name = |signal: Signal| signal.as_str().trim_start_matches(if full { "" } else { "SIG" }).to_owned();
    Signal::iterator().map(name).collect()
}

/// The names in a directory; none where it cannot be read.
fn entries(dir: PathBuf) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// hostd's list; empty where it does not come at once.
fn listed(layout: &Layout) -> Vec<Listed> {
    asked(layout, "/v1/tenants").unwrap_or_default()
}

/// What hostd answers at once.
fn asked<T: DeserializeOwned>(layout: &Layout, path: &str) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let client = Client::new(layout.clone());
    let answer = async { tokio::time::timeout(PATIENCE, client.get(path)).await };
    runtime.block_on(answer).ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_host_without_hostd_are_enough() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.tenant_configs()).unwrap();
        fs::write(layout.tenant_configs().join("web1.toml"), "").unwrap();
        for path in ["debian/channels/stable", "debian/versions/sha256:0123456789abcdef"] {
            fs::create_dir_all(layout.images().join(path)).unwrap();
        }
        assert_eq!(tenants(&layout, ""), ["web1"]);
        assert_eq!(tenants(&layout, "www@w"), ["www@web1"]);
        assert_eq!(images(&layout, ""), ["debian"]);
        assert_eq!(image_references(&layout, "debian:"), ["debian:stable"]);
        assert_eq!(image_references(&layout, "debian@"), ["debian@0123456789ab"]);
        assert_eq!(settings(&layout, "image=debian:"), ["image=debian:stable"]);
        assert!(labels(&layout, "").is_empty());
    }

    #[test]
    fn keys_values_and_signals_are_offered() {
        let layout = Layout::new("/nonexistent");
        assert!(settings(&layout, "mem").contains(&"memory_max=".to_owned()));
        assert_eq!(settings(&layout, "autostart="), ["autostart=true", "autostart=false"]);
        assert!(signals(&layout, "K").contains(&"KILL".to_owned()));
        assert!(signals(&layout, "SIGK").contains(&"SIGKILL".to_owned()));
        assert!(profiles(&layout, "").contains(&"shared-os".to_owned()));
    }
}
