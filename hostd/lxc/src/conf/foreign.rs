//! Configurations of others, which a reader of lxc.conf would pass over line by line and make a tenant of nothing.

/// Whose configuration a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Of pct(1).
    #[error("is a configuration of Proxmox, not of LXC: it uses `key: value` instead of `key = value`")]
    Proxmox,
    /// What `lxc config show` and `incus config show` print, or index.yaml of a backup.
    #[error("is a configuration of LXD or Incus, not of LXC")]
    Lxd,
    /// A systemd.nspawn(5).
    #[error("is a configuration of systemd-nspawn, not of LXC")]
    Nspawn,
    /// A file of docker compose.
    #[error("is a docker compose file, not a configuration of LXC")]
    Compose,
    /// A domain of libvirt, or other XML.
    #[error("is XML, as used by libvirt, not a configuration of LXC")]
    Xml,
    /// A config.json of an OCI bundle, or other JSON.
    #[error("is JSON, as used in OCI bundles, not a configuration of LXC")]
    Json,
    /// Something else.
    #[error("is not a configuration of LXC: no line sets a key that starts with lxc.")]
    Other,
}

/// Keys of pct.conf(5) that no other format begins a line with.
const PROXMOX: [&str; 14] = [
    "arch",
    "cmode",
    "cores",
    "cpulimit",
    "cpuunits",
    "hookscript",
    "hostname",
    "memory",
    "onboot",
    "ostype",
    "rootfs",
    "startup",
    "swap",
    "unprivileged",
];
/// Top-level keys of LXD's YAML.
const LXD: [&str; 9] = [
    "architecture",
    "config",
    "devices",
    "ephemeral",
    "expanded_config",
    "expanded_devices",
    "instance",
    "profiles",
    "stateful",
];

impl Foreign {
    /// Whose a text is if it is not LXC's. A text without any line is LXC's.
    pub(super) fn recognize(text: &str) -> Option<Self> {
        let lines = || text.lines().filter(|line| !matches!(line.trim().chars().next(), None | Some('#')));
        let first = lines().next()?.trim();
        // `lxc.idmap: u 0 100000 65536` is Proxmox's, be there an `=` behind it or not.
        let sets = |line: &str| {
            let key = line.split_once('=').map(|(key, _)| key.trim());
            key.is_some_and(|key| key.starts_with("lxc.") && !key.contains([':', ' ', '\t']))
        };
        if lines().map(str::trim).any(sets) {
            return None;
        }
        // YAML indents what belongs to a key.
        let keys = || lines().filter_map(|line| line.split_once(':')).map(|(key, _)| key);
        let count = |known: &[&str]| keys().filter(|key| known.contains(key)).count();
        Some(match first.chars().next() {
            Some('<') => Self::Xml,
            Some('{') => Self::Json,
            _ if lines().any(|line| matches!(line.trim(), "[Exec]" | "[Files]" | "[Network]")) => {
                Self::Nspawn
            }
            _ if count(&PROXMOX) >= 2 => Self::Proxmox,
            _ if count(&LXD) >= 2 => Self::Lxd,
            _ if count(&["services"]) > 0 => Self::Compose,
            _ if count(&PROXMOX) == 1 && lines().count() == 1 => Self::Proxmox,
            _ => Self::Other,
        })
    }

    /// What to do about it.
    pub fn help(self) -> &'static str {
        match self {
            Self::Proxmox => {
                "on the Proxmox host import the file that it generates at each start, /var/lib/lxc/ID/config, with \
                 --name; create the image from a backup: vzdump ID, then rootfsctl import ARCHIVE"
            }
            Self::Lxd => {
                "on its host import the file that LXD generates at each start, lxc.conf in /var/log/lxd/NAME or \
                 /var/snap/lxd/common/lxd/logs/NAME; create the image from an export: lxc export, then rootfsctl import \
                 ARCHIVE --strip-prefix backup/container/rootfs"
            }
            Self::Nspawn => {
                "import its directory and create a tenant: rootfsctl import /var/lib/machines/NAME; tenantctl \
                 create NAME --profile os --image IMAGE"
            }
            Self::Compose | Self::Json => {
                "export and import the root filesystem and create a tenant: docker export; rootfsctl import; tenantctl \
                 create NAME --profile app --image IMAGE"
            }
            Self::Xml | Self::Other => "name the container's configuration, e.g. /var/lib/lxc/NAME/config",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_of_others_are_told_apart() {
        let proxmox = "#my container\narch: amd64\ncores: 2\nhostname: web\nmemory: 512\n\
            net0: name=eth0,bridge=vmbr0,ip=dhcp\nostype: debian\nrootfs: local-lvm:vm-101-disk-0,size=8G\n\
            lxc.mount.entry: /srv srv none bind,create=dir 0 0\nlxc.idmap: u 0 100000 65536\n";
        let lxd = "architecture: x86_64\nconfig:\n  image.os: Debian\n  raw.lxc: lxc.tty.max = 1\ndevices: {}\n\
            ephemeral: false\nprofiles:\n- default\n";
        for (text, whose) in [
            (proxmox, Some(Foreign::Proxmox)),
            ("hostname: web\n", Some(Foreign::Proxmox)),
            (lxd, Some(Foreign::Lxd)),
            ("[Exec]\nBoot=yes\n[Network]\nVirtualEthernet=yes\n", Some(Foreign::Nspawn)),
            ("services:\n  web:\n    image: nginx\n", Some(Foreign::Compose)),
            ("<domain type='lxc'>\n</domain>\n", Some(Foreign::Xml)),
            ("{\n\t\"ociVersion\": \"1.0.2\"\n}\n", Some(Foreign::Json)),
            ("root:x:0:0:root:/root:/bin/bash\n", Some(Foreign::Other)),
            ("tty = 6\n", Some(Foreign::Other)),
            ("lxc.tty.max\n", Some(Foreign::Other)),
            ("", None),
            ("# nothing yet\n\n", None),
            ("lxc.tty.max = 1\nhostname: web\ncores: 2\n", None),
            ("  lxc.uts.name=web\n", None),
            ("lxc.include = /usr/share/lxc/config/common.conf\n", None),
        ] {
            assert_eq!(Foreign::recognize(text), whose, "{text}");
        }
    }
}
