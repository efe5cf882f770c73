//! The root filesystem and what is mounted over it.

use std::{io, path::Path};

use tenant::{
    config::Policy,
    model::{limits::ByteSize, path::TenantPath},
};

use super::{
    cgroup::Feature,
    draft::{Draft, Pair},
    parse::{Content, Found, Line, Source},
    report::Verdict,
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

/// What absolute targets of mounts may begin with: the root filesystem as the configuration names it, where LXC puts it
/// together, and where it lies next to a configuration in LXC's own directory.
pub(super) fn roots(file: &str, rootfs: Option<&str>, mount: Option<&str>) -> Vec<String> {
    let named = rootfs.into_iter().flat_map(|value| backend_of(value).1.split(':'));
    let file = Path::new(file);
    let beside = file.parent().filter(|_| file.ends_with("config")).map(|dir| dir.join("rootfs"));
    let beside = beside.map(|path| path.to_string_lossy().into_owned());
    let all = named.chain(mount).map(str::to_owned).chain(beside).chain(LXC_ROOTS.map(str::to_owned));
    all.map(|root| plain(&root)).filter(|root| root.starts_with('/') && root != "/").collect()
}

/// A path without doubled and trailing slashes.
fn plain(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let slash = if path.starts_with('/') { "/" } else { "" };
    format!("{slash}{}", parts.join("/"))
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
                "{text}, from {lower:?}; the content of the upper directory is not imported"
            ))
        }
        _ => Verdict::warning(format!(
            "{text}, but {rest:?} is not a directory: mount it, then: rootfsctl import DIRECTORY --name {name}"
        )),
    }
}

pub(super) fn backend(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "dir" | "btrfs" | "best" | "overlay" | "overlayfs" => {
            Verdict::note("an image is a directory or an erofs file, regardless of its source")
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
        [] => Verdict::note("images are mounted nodev and idmapped"),
        ["ro"] => Verdict::warning(
            "with profile \"os\" the tenant can change its copy; \"shared-os\" keeps /usr read-only",
        ),
        _ => Verdict::warning(format!("images have no mount options: {}", unknown.join(","))),
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
        "{}: a tenant has its own /proc, /sys and cgroups, and cannot write to the host's",
        risky.join(" ")
    ))
}

/// Each line of an fstab(5) is a line of the report.
pub(super) fn fstab(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let text = match (draft.host.look)(pair.value) {
        Ok(Found::File(text)) if text.len() <= super::parse::MAX_FILE => text,
        Ok(_) => return Verdict::warning("it is not an fstab; its mounts are not imported"),
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
                Verdict::warning("it is too long or contains a control character")
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
    let text = plain(text);
    let mut below = draft.roots.iter().filter_map(|root| text.strip_prefix(root.as_str()));
    let inside = match (text.strip_prefix('/'), below.find(|rest| rest.starts_with('/'))) {
        (None, _) => &text,
        (Some(_), Some(below)) => below,
        (Some(_), None) if draft.has_rootfs => {
            return Err(Verdict::note("LXC ignores it too: the target is outside the root filesystem"));
        }
        (Some(inside), None) => inside,
    };
    let path = format!("/{}", inside.trim_start_matches('/'));
    path.parse().map_err(|error| Verdict::warning(format!("{error}")))
}

/// A line of an fstab.
struct Entry<'a> {
    source: String,
    at: TenantPath,
    kind: &'a str,
    options: Vec<&'a str>,
}

impl Entry<'_> {
    fn has(&self, option: &str) -> bool {
        self.options.contains(&option)
    }

    /// Something that the container had and the tenant does not. An optional mount of what does not exist it did not
    /// have either.
    fn lost(&self, draft: &Draft<'_>, text: String) -> Verdict {
        match self.has("optional") && self.is_absent(draft) {
            true => Verdict::note(format!("{:?} does not exist: LXC ignores it too", self.source)),
            false => Verdict::warning(text),
        }
    }

    fn is_absent(&self, draft: &Draft<'_>) -> bool {
        let found = (draft.host.probe)(&self.source);
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

/// One line of an fstab.
fn mount(draft: &mut Draft<'_>, line: &str) -> Verdict {
    let fields: Vec<String> = line.split_ascii_whitespace().map(unescape).collect();
    let (source, at, kind, options) = match &fields[..] {
        [source, at, kind, options, ..] => (source, at, kind.as_str(), options.as_str()),
        [source, at, kind] => (source, at, kind.as_str(), "defaults"),
        _ => {
            return Verdict::warning("it does not consist of source, target, type and options, see fstab(5)");
        }
    };
    let at = match target(draft, at) {
        Ok(path) => path,
        Err(verdict) => return verdict,
    };
    let entry = Entry { source: source.clone(), at, kind, options: options.split(',').collect() };
    if let Some(feature) =
        Feature::at(&entry.at.to_string()).filter(|_| !(entry.has("optional") && entry.is_absent(draft)))
    {
        feature.give(&mut draft.fragment);
        return feature.given();
    }
    let (policy, remark) = match policy(draft, &entry) {
        Ok(found) => found,
        Err(verdict) => return verdict,
    };
    let key = format!("dirs.\"{}\"", entry.at);
    let value = match &policy {
        Policy::Bind { source, writable } => format!("{{ bind = {source:?}, writable = {writable} }}"),
        Policy::Tmpfs { size } => format!("{{ tmpfs = \"{size}\" }}"),
        _ => String::new(),
    };
    draft.fragment.dirs.insert(entry.at, policy);
    let text = format!("{key} = {value}");
    match remark {
        Remark::None => Verdict::done(&key, text),
        Remark::Same(remark) => Verdict::done(&key, format!("{text}; {remark}")),
        // It stands in the file; only what is missing is a warning.
        Remark::Less(remark) => Verdict { key, ..Verdict::warning(format!("{text}; {remark}")) },
    }
}

/// What is to be said besides of a mount that is translated.
enum Remark {
    None,
    /// It is as it was.
    Same(String),
    /// Something of it is missing.
    Less(String),
}

/// What a mount becomes, or why nothing.
fn policy(draft: &Draft<'_>, entry: &Entry<'_>) -> Result<(Policy, Remark), Verdict> {
    let Entry { source, at, kind, .. } = entry;
    if KERNEL.contains(kind) || *kind == "tmpfs" && at.top() == "dev" {
        return Err(Verdict::note("every tenant has its own"));
    }
    match at.top() {
        "proc" | "sys" if entry.has("optional") => {
            return Err(Verdict::note("every tenant has its own /proc and /sys"));
        }
        "proc" | "sys" => return Err(Verdict::warning(format!("{at}: a tenant has its own /proc and /sys"))),
        "dev" => {
            let text =
                format!("{at}: a tenant's /dev has no node for it; use `devices`, or [[nic]] for NICs");
            return Err(entry.lost(draft, text));
        }
        _ => {}
    }
    if *kind == "tmpfs" {
        return Ok(tmpfs(&entry.options));
    }
    if entry.has("bind") || entry.has("rbind") {
        return bind(draft, entry);
    }
    let text = match *kind {
        "none" | "bind" => {
            format!("its options include neither bind nor rbind: {}", entry.options.join(","))
        }
        kind => format!(
            "{kind} cannot be mounted in a tenant: mount {source:?} on the host and bind the directory"
        ),
    };
    Err(entry.lost(draft, text))
}

/// Files of the host that containers often had, and where a tenant has them from.
const OWN_FILES: [(&str, &str); 5] = [
    ("/etc/resolv.conf", "a tenant uses the name servers of the host, or those of `dns`"),
    ("/etc/hostname", "the host name is set by `hostname`"),
    ("/etc/hosts", "a tenant has its own, with its `hostname`"),
    ("/etc/machine-id", "a tenant has its own"),
    ("/etc/localtime", "set the time zone in the image or inside with timedatectl set-timezone"),
];

fn bind(draft: &Draft<'_>, entry: &Entry<'_>) -> Result<(Policy, Remark), Verdict> {
    let Entry { source, at, .. } = entry;
    if let Some((_, instead)) = OWN_FILES.iter().find(|(path, _)| at.to_string() == *path) {
        return Err(
            entry.lost(draft, format!("{at} is a file, and only directories can be bound: {instead}"))
        );
    }
    if !source.starts_with('/') || entry.has("relative") {
        return Err(Verdict::warning(format!(
            "{source:?} is below the container's own root: only directories of the host can be bound"
        )));
    }
    let is_file = || {
        entry.lost(draft, format!("{source:?} is not a directory: only directories of the host can be bound"))
    };
    if entry.has("create=file") {
        return Err(is_file());
    }
    if ["/proc", "/sys", "/dev"].iter().any(|top| source == top || source.starts_with(&format!("{top}/"))) {
        let text = format!("{source:?} belongs to the kernel; allow devices with `devices`");
        return Err(entry.lost(draft, text));
    }
    let path = plain(source);
    let (path, remark) = match (draft.host.probe)(&path) {
        Ok(Source::Directory(real)) if real != path => {
            let remark = format!("the target of {source:?}: binds do not follow links");
            (real, Remark::Same(remark))
        }
        Ok(Source::Directory(real)) => (real, Remark::None),
        Ok(Source::Other) => return Err(is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && entry.has("optional") => {
            return Err(Verdict::note(format!("{source:?} does not exist: LXC ignores it too")));
        }
        Err(_) => (path, Remark::Same("the directory must exist on the host".to_owned())),
    };
    let remark = match entry.has("noexec") {
        true => Remark::Less("noexec is not kept: programs in it can be executed".to_owned()),
        false => remark,
    };
    Ok((Policy::Bind { source: path.into(), writable: !entry.has("ro") }, remark))
}

/// A tmpfs(5): `size=64m`, of which a tenant has 64M unless it is told.
fn tmpfs(options: &[&str]) -> (Policy, Remark) {
    let given = options.iter().find_map(|option| option.strip_prefix("size="));
    let size = given.and_then(super::cgroup::bytes);
    let wanted = size.unwrap_or(Policy::TMPFS_SIZE.0);
    let fitted = ByteSize(wanted.clamp(64 << 10, 1 << 40));
    let remark = match (given, size) {
        (None, _) => Remark::Less(format!(
            "LXC uses half of the memory without a size: set one if {fitted} is too small"
        )),
        (Some(given), None) => Remark::Less(format!(
            "size={given} is not a number of bytes, and percentages of the host's memory are not supported: it is \
             {fitted}, set the required size"
        )),
        (Some(_), Some(size)) if size != fitted.0 => {
            Remark::Less(format!("it is {fitted}, the nearest possible value"))
        }
        _ => Remark::None,
    };
    (Policy::Tmpfs { size: fitted }, remark)
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
            assert!(name.parse::<tenant::model::image::ImageName>().is_ok());
        }
    }
}
