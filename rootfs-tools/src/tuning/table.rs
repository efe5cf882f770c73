//! The tuning, as data: all rows, in the order they are applied.

use super::{
    inits, masks, packages,
    row::{Action, Row, Scope},
};

/// All of it.
pub fn table() -> impl Iterator<Item = &'static Row> {
    [masks::ROWS, packages::ROWS, SERVICES, inits::ROWS].into_iter().flatten()
}

/// Rows about what systemd starts, and how.
const SERVICES: &[Row] = &[
    Row {
        id: "dbus-on-demand",
        reason: "dbus.socket starts the bus with its first client",
        scope: Scope::Everywhere,
        action: Action::Unwant { target: "multi-user.target", units: &["dbus.service"] },
    },
    Row {
        id: "logind-on-demand",
        reason: "pam_systemd starts logind over D-Bus with the first login",
        scope: Scope::Everywhere,
        action: Action::Unwant { target: "multi-user.target", units: &["systemd-logind.service"] },
    },
    Row {
        id: "journal-on-demand",
        reason: "its sockets start journald with the first message; an idle tenant has none",
        scope: Scope::Everywhere,
        action: Action::Unwant { target: "sysinit.target", units: &["systemd-journald.service"] },
    },
    Row {
        id: "journal-audit",
        reason: "the kernel's audit log belongs to the host",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-journald-audit.socket"]),
    },
    Row {
        id: "journal-flush",
        reason: "/var is mounted from the start, so journald writes to it at once and has nothing to flush",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-journal-flush.service"]),
    },
    Row {
        id: "journal-flushed",
        reason: "this flag tells journald that /var is mounted, see systemd-journal-flush.service",
        scope: Scope::Everywhere,
        action: Action::DropIn {
            units: &["systemd-journald.service"],
            text: "[Service]\nExecStartPre=-/usr/bin/touch /run/systemd/journal/flushed\n",
        },
    },
    Row {
        id: "journal-small",
        reason: "on disk instead of in memory, and small: a thousand journals share the disk",
        scope: Scope::Everywhere,
        action: Action::File {
            path: "usr/lib/systemd/journald.conf.d/50-tenantry.conf",
            text: "[Journal]\nStorage=persistent\nSystemMaxUse=16M\nSystemMaxFileSize=1M\nRuntimeMaxUse=2M\n\
                   RuntimeMaxFileSize=512K\nReadKMsg=no\nAudit=no\n",
            given: "usr/lib/systemd/systemd-journald",
        },
    },
    Row {
        id: "ssh-socket",
        reason: "ssh.socket starts sshd with the first connection",
        scope: Scope::Everywhere,
        action: Action::Want { target: "sockets.target", unit: "ssh.socket" },
    },
    Row {
        id: "ssh-on-demand",
        reason: "an idle sshd costs 1.3 MiB and a fifth of the boot",
        scope: Scope::Everywhere,
        action: Action::Unwant { target: "multi-user.target", units: &["ssh.service", "sshd.service"] },
    },
    Row {
        id: "ssh-host-keys",
        reason: "each tenant generates its own host keys before sshd first starts",
        scope: Scope::Everywhere,
        action: Action::File {
            path: "usr/lib/systemd/system/tenantry-ssh-hostkeys.service",
            text: "[Unit]\nDescription=Make this tenant's own ssh host keys\n\
                   ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key\nBefore=ssh.service\n\n\
                   [Service]\nType=oneshot\nExecStart=/usr/lib/tenantry/first-boot.d/ssh-host-keys\n",
            given: "usr/sbin/sshd",
        },
    },
    Row {
        id: "ssh-needs-host-keys",
        reason: "sshd refuses to start without a host key",
        scope: Scope::Everywhere,
        action: Action::DropIn {
            units: &["ssh.service"],
            text: "[Unit]\nWants=tenantry-ssh-hostkeys.service\nAfter=tenantry-ssh-hostkeys.service\n",
        },
    },
    Row {
        id: "generators",
        reason: "each generator costs a process at every boot and generates nothing in a tenant",
        scope: Scope::Everywhere,
        action: Action::MaskGenerators(&[
            "systemd-bless-boot-generator",
            "systemd-cryptsetup-generator",
            "systemd-debug-generator",
            "systemd-getty-generator",
            "systemd-gpt-auto-generator",
            "systemd-hibernate-resume-generator",
            "systemd-integritysetup-generator",
            "systemd-run-generator",
            "systemd-ssh-generator",
            "systemd-system-update-generator",
            "systemd-tpm2-generator",
            "systemd-veritysetup-generator",
        ]),
    },
    Row {
        id: "rc-local",
        reason: "its generator costs a process at every boot; this link does the same: run /etc/rc.local if it exists",
        scope: Scope::NothingToDo,
        action: Action::Want { target: "multi-user.target", unit: "rc-local.service" },
    },
    Row {
        id: "generators-idle",
        reason: "with an /etc/fstab without mounts and init scripts that have units, each costs 10 ms per boot",
        scope: Scope::NothingToDo,
        action: Action::MaskGenerators(&[
            "systemd-fstab-generator",
            "systemd-rc-local-generator",
            "systemd-sysv-generator",
        ]),
    },
    Row {
        id: "generators-needed",
        reason: "one small program checks whether they have anything to do, and runs those that have",
        scope: Scope::NothingToDo,
        action: Action::Program {
            path: "usr/lib/systemd/system-generators/tenantry-generators",
            text: GENERATORS,
            given: "usr/lib/systemd/systemd",
        },
    },
    Row {
        id: "tmpfiles",
        reason: "no pstore, /run/nologin, copy-on-write flags or networkd state to prepare at boot",
        scope: Scope::Everywhere,
        action: Action::MaskTmpfiles(&[
            "journal-nocow.conf",
            "systemd-network.conf",
            "systemd-nologin.conf",
            "systemd-pstore.conf",
        ]),
    },
    Row {
        id: "tmpfiles-quiet",
        reason: "no mount of credentials, and no journald started for an empty log",
        scope: Scope::Everywhere,
        action: Action::DropIn { units: &["systemd-tmpfiles-setup.service"], text: QUIET },
    },
    Row {
        id: "tmpfiles-clean-spread",
        reason: "a thousand tenants must not clean up in the same minute",
        scope: Scope::Everywhere,
        action: Action::DropIn {
            units: &["systemd-tmpfiles-clean.timer"],
            text: "[Timer]\nRandomizedDelaySec=6h\n",
        },
    },
    Row {
        id: "sysusers-quiet",
        reason: "no mount of credentials, and no journald started for an empty log",
        scope: Scope::Everywhere,
        action: Action::DropIn { units: &["systemd-sysusers.service"], text: QUIET },
    },
    Row {
        id: "sysctl-if-any",
        reason: "kernel settings belong to the host; a tenant's own files below /etc/sysctl.d are applied",
        scope: Scope::Everywhere,
        action: Action::DropIn {
            units: &["systemd-sysctl.service"],
            text: "[Unit]\nConditionPathExistsGlob=|/etc/sysctl.d/*.conf\nConditionPathExists=|/etc/sysctl.conf\n\n\
                   [Service]\nLoadCredential=\nStandardOutput=null\nStandardError=null\n",
        },
    },
    Row {
        id: "sysctl-comments",
        reason: "Debian's /etc/sysctl.conf contains only comments, which would be read at every boot",
        scope: Scope::NothingToDo,
        action: Action::RemoveIfEmpty("etc/sysctl.conf"),
    },
    Row {
        id: "sysctl-link",
        reason: "a link in /etc/sysctl.d would cause a read at every boot, whether the file exists or not",
        scope: Scope::NothingToDo,
        action: Action::RemoveMatching(&["etc/sysctl.d/99-sysctl.conf"]),
    },
    Row {
        id: "sysctl-conf",
        reason: "the tenant's /etc/sysctl.conf is applied after all others",
        scope: Scope::NothingToDo,
        action: Action::Link {
            path: "usr/lib/sysctl.d/99-tenantry-sysctl.conf",
            target: "/etc/sysctl.conf",
            given: "usr/lib/systemd/systemd-sysctl",
        },
    },
    Row {
        id: "preset",
        reason: "`systemctl preset-all` leaves the tuning as it is",
        scope: Scope::Everywhere,
        action: Action::File {
            path: "usr/lib/systemd/system-preset/50-tenantry.preset",
            text: "enable ssh.socket\ndisable ssh.service\ndisable e2scrub_all.timer\n\
                   disable e2scrub_reap.service\ndisable fstrim.timer\ndisable getty@.service\ndisable systemd-pstore.service\n",
            given: "usr/lib/systemd/systemd",
        },
    },
    Row {
        id: "podman-storage",
        reason: "checks whether podman can store containers: its overlays cannot be on the tenant's own overlay",
        scope: Scope::NothingToDo,
        action: Action::Program {
            path: "usr/lib/tenantry/can-store-containers",
            text: CAN_STORE_CONTAINERS,
            given: "usr/lib/systemd/systemd",
        },
    },
    Row {
        id: "podman-units",
        reason: "podman's units are enabled, fail at every boot without storage, and leave a database that matches no other storage",
        scope: Scope::NothingToDo,
        action: Action::DropInAhead {
            units: &[
                "podman.service",
                "podman-auto-update.service",
                "podman-clean-transient.service",
                "podman-restart.service",
            ],
            text: "[Service]\nExecCondition=/usr/lib/tenantry/can-store-containers\n",
        },
    },
    Row {
        id: "mounts-of-the-host",
        reason: "made before init and taken away after it: to unmount each, systemd starts umount(8) at every stop",
        scope: Scope::Everywhere,
        action: Action::DropInAhead {
            units: &[
                "home.mount",
                "opt.mount",
                "proc-cpuinfo.mount",
                "proc-loadavg.mount",
                "proc-meminfo.mount",
                "proc-stat.mount",
                "proc-swaps.mount",
                "root.mount",
                "srv.mount",
                "sys-devices-system-cpu-online.mount",
                "tmp.mount",
                "var.mount",
                "var-lib-dpkg.mount",
            ],
            text: "[Unit]\nDefaultDependencies=no\n",
        },
    },
    Row {
        id: "update-stamps",
        reason: "without them sysusers, ldconfig and the catalog run at every tenant's first boot",
        scope: Scope::Everywhere,
        action: Action::UpdateStamps,
    },
];

const QUIET: &str = "[Service]\nLoadCredential=\nStandardOutput=null\nStandardError=null\n";

const GENERATORS: &str = include_str!("scripts/generators.sh");

const CAN_STORE_CONTAINERS: &str = include_str!("scripts/can-store-containers.sh");
