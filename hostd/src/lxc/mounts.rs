//! The root filesystem and what is mounted over it.

use tenant::{config::Policy, limits::ByteSize, path::TenantPath};

use super::{
    parse::{Content, Found, Line},
    report::Verdict,
    translate::{Draft, Pair},
};

/// Where LXC puts a container's root together; absolute targets of mounts begin with it.
const LXC_ROOTS: [&str; 3] =
    ["/usr/lib/x86_64-linux-gnu/lxc", "/usr/lib/aarch64-linux-gnu/lxc", "/usr/lib/lxc"];
/// Filesystems of the kernel that every tenant has its own of.
const KERNEL: [&str; 8] =
    ["proc", "sysfs", "devpts", "cgroup", "cgroup2", "mqueue", "devtmpfs", "securityfs"];

/// A storage backend and the path behind it.
fn backend_of(value: &str) -> (&str, &str) {
    const BACKENDS: [&str; 12] = [
        "dir",
        "overlay",
        "overlayfs",
        "aufs",
        "btrfs",
        "zfs",
        "lvm",
        "loop",
        "nbd",
        "rbd",
        "best",
        "unexpanded",
    ];
    match value.split_once(':') {
        Some((backend, rest)) if BACKENDS.contains(&backend) => (backend, rest),
        _ => ("dir", value),
    }
}

/// An image's name made from a directory's: of `/var/lib/lxc/web/rootfs` it is `web`.
pub fn image_name(path: &str) -> String {
    let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
    let last = parts.next().unwrap_or_default();
    let base = if last == "rootfs" { parts.next().unwrap_or(last) } else { last };
    let good = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') { c } else { '-' };
    let name: String = base.chars().map(good).map(|c| c.to_ascii_lowercase()).collect();
    let name: String = name.trim_start_matches(['-', '.', '_']).chars().take(64).collect();
    if name.is_empty() { "imported".to_owned() } else { name }
}

pub(super) fn rootfs(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let (backend, rest) = backend_of(pair.value);
    let lower = rest.split(':').next().unwrap_or(rest);
    let name = image_name(lower);
    draft.fragment.image = name.parse().ok();
    draft.fragment.profile = "os".parse().ok();
    let text = format!("image = \"{name}\", profile = \"os\"");
    match backend {
        "dir" | "btrfs" | "best" if rest.starts_with('/') => {
            draft.rootfs = Some(lower.to_owned());
            Verdict::done("image", text)
        }
        "overlay" | "overlayfs" | "aufs" if rest.starts_with('/') => {
            draft.rootfs = Some(lower.to_owned());
            Verdict::warning(format!(
                "{text}, from {lower:?}; what the upper directory holds is not taken along"
            ))
        }
        _ => Verdict::warning(format!(
            "{text}, but {rest:?} is no directory: mount it, then: rootfsctl import DIRECTORY --name {name}"
        )),
    }
}

pub(super) fn backend(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "dir" | "btrfs" | "best" | "overlay" | "overlayfs" => {
            Verdict::note("an image is a directory or one erofs file, whatever it was made from")
        }
        other => Verdict::warning(format!("mount the {other} volume and import the directory")),
    }
}

pub(super) fn rootfs_options(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    const HARMLESS: [&str; 10] = [
        "rw",
        "defaults",
        "noatime",
        "relatime",
        "nodiratime",
        "nodev",
        "nosuid",
        "idmap=container",
        "exec",
        "suid",
    ];
    let unknown: Vec<&str> = pair.value.split(',').filter(|option| !HARMLESS.contains(option)).collect();
    match unknown[..] {
        [] => Verdict::note("images are mounted nodev and shifted by idmapped mounts"),
        ["ro"] => Verdict::warning(
            "with profile \"os\" the tenant may change its copy; \"shared-os\" keeps /usr read-only",
        ),
        _ => Verdict::warning(format!("an image has no options of its own: {}", unknown.join(","))),
    }
}

/// `proc:mixed sys:ro cgroup:mixed …`.
pub(super) fn auto(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let risky = |word: &&str| {
        matches!(*word, "proc:rw" | "sys:rw")
            || word.starts_with("cgroup-full")
            || word.starts_with("shmounts")
    };
    let risky: Vec<&str> = pair.value.split_ascii_whitespace().filter(risky).collect();
    if risky.is_empty() {
        return Verdict::note("every tenant has its own /proc, /sys and /sys/fs/cgroup");
    }
    Verdict::warning(format!(
        "{}: a tenant has its own /proc, /sys and cgroups, and never writes the host's",
        risky.join(" ")
    ))
}

/// Each line of an fstab(5) is a line of the report.
pub(super) fn fstab(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let text = match (draft.look)(pair.value) {
        Ok(Found::File(text)) if text.len() <= super::parse::MAX_FILE => text,
        Ok(_) => return Verdict::warning("it is no fstab; its mounts are not imported"),
        Err(error) => {
            return Verdict::warning(format!("it cannot be read ({error}); its mounts are not imported"));
        }
    };
    let mut count = 0;
    for (number, text) in (1..).zip(text.lines().take(super::parse::MAX_LINES)) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        count += 1;
        let verdict =
            if text.len() > super::parse::MAX_LINE || text.chars().any(|c| c.is_control() && c != '\t') {
                Verdict::warning("it is too long or has a control character")
            } else {
                mount(draft, text)
            };
        let text: String = text.chars().filter(|c| !c.is_control()).take(256).collect();
        let line = Line {
            file: pair.value.to_owned(),
            number,
            key: "fstab".to_owned(),
            value: text,
            content: Content::Pair,
        };
        draft.extra.push((pair.at, line, verdict));
    }
    Verdict::note(format!("{count} mounts, each below"))
}

pub(super) fn entry(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    mount(draft, pair.value)
}

/// The octal escapes of fstab(5).
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// Where a mount goes inside, or why it goes nowhere.
fn target(draft: &Draft<'_>, text: &str) -> Result<TenantPath, Verdict> {
    let roots = LXC_ROOTS.iter().copied().chain(draft.rootfs.as_deref());
    let mut roots = roots.filter_map(|root| text.strip_prefix(root)).filter(|rest| rest.starts_with('/'));
    let inside = match (text.strip_prefix('/'), roots.next()) {
        (None, _) => text,
        (Some(_), Some(below)) => below,
        (Some(_), None) if draft.rootfs.is_some() => {
            return Err(Verdict::note("LXC passes over it, too: the target is outside the root filesystem"));
        }
        (Some(inside), None) => inside,
    };
    let parts: Vec<&str> = inside.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let path = format!("/{}", parts.join("/"));
    path.parse().map_err(|error| Verdict::warning(format!("{error}")))
}

/// One line of an fstab.
fn mount(draft: &mut Draft<'_>, line: &str) -> Verdict {
    let fields: Vec<String> = line.split_ascii_whitespace().map(unescape).collect();
    let (source, at, kind, options) = match &fields[..] {
        [source, at, kind, options, ..] => (source, at, kind.as_str(), options.as_str()),
        [source, at, kind] => (source, at, kind.as_str(), "defaults"),
        _ => return Verdict::warning("it is not source, target, type and options of an fstab(5)"),
    };
    let options: Vec<&str> = options.split(',').collect();
    let has = |option: &str| options.contains(&option);
    let path = match target(draft, at) {
        Ok(path) => path,
        Err(verdict) => return verdict,
    };
    let lost = |text: String| if has("optional") { Verdict::note(text) } else { Verdict::warning(text) };
    let kernels = KERNEL.contains(&kind) || kind == "tmpfs" && path.top() == "dev";
    if kernels {
        return Verdict::note("every tenant has its own");
    }
    if matches!(path.top(), "proc" | "sys" | "dev") {
        return lost(format!("{path} is the tenant's own; devices are given by `devices`, NICs by [[nic]]"));
    }
    let policy = if kind == "tmpfs" {
        Policy::Tmpfs { size: tmpfs_size(&options) }
    } else if has("bind") || has("rbind") {
        if !source.starts_with('/') || has("relative") {
            return lost(format!(
                "{source:?} is below the container's own root: only directories of the host are bound"
            ));
        }
        if has("create=file") {
            return lost(format!("{source:?} is a file: only directories of the host are bound"));
        }
        if ["/proc", "/sys", "/dev"].iter().any(|top| source == top || source.starts_with(&format!("{top}/")))
        {
            return lost(format!("{source:?} is the kernel's; devices are given by `devices`"));
        }
        Policy::Bind { source: source.trim_end_matches('/').into(), writable: !has("ro") }
    } else {
        return lost(format!("a tenant mounts no {kind}: mount it on the host and bind the directory"));
    };
    let text = match &policy {
        Policy::Bind { source, writable } => format!(
            "dirs.\"{path}\" = {{ bind = {source:?}, writable = {writable} }}{}",
            if has("optional") { "; the directory must exist" } else { "" }
        ),
        Policy::Tmpfs { size } => format!("dirs.\"{path}\" = {{ tmpfs = \"{size}\" }}"),
        _ => String::new(),
    };
    let key = format!("dirs.\"{path}\"");
    draft.fragment.dirs.insert(path, policy);
    Verdict::done(&key, text)
}

/// `size=64m` of tmpfs(5), 64M where it is absent or a share of the memory.
fn tmpfs_size(options: &[&str]) -> ByteSize {
    let size = options.iter().find_map(|option| option.strip_prefix("size="));
    let size = size.and_then(super::cgroup::bytes).unwrap_or(Policy::TMPFS_SIZE.0);
    ByteSize(size.clamp(64 << 10, 1 << 40))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_after_its_directory() {
        for (path, name) in [
            ("/foo/bifrost-6.1-beta1", "bifrost-6.1-beta1"),
            ("/var/lib/lxc/web/rootfs", "web"),
            ("/var/lib/lxc/Web 1/rootfs/", "web-1"),
            ("/", "imported"),
            ("/srv/.hidden", "hidden"),
        ] {
            assert_eq!(image_name(path), name);
            assert!(name.parse::<tenant::image::ImageName>().is_ok());
        }
    }
}
