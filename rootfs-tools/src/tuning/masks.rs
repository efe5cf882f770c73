//! Rows about what a tenant leaves to its host: units that are masked.

use super::row::{Action, Row, Scope};

/// They come first.
pub(super) const ROWS: &[Row] = &[
    Row {
        id: "default-target",
        reason: "graphical.target adds a unit and a run level record to every boot",
        scope: Scope::Everywhere,
        action: Action::DefaultTarget("multi-user.target"),
    },
    Row {
        id: "kernel-modules",
        reason: "the host loads kernel modules; a tenant must not",
        scope: Scope::Everywhere,
        action: Action::Mask(&[
            "modprobe@.service",
            "systemd-modules-load.service",
            "kmod-static-nodes.service",
        ]),
    },
    Row {
        id: "kernel-filesystems",
        reason: "these filesystems belong to the host; those allowed to a tenant are mounted before init",
        scope: Scope::Everywhere,
        action: Action::Mask(&[
            "sys-kernel-config.mount",
            "sys-kernel-debug.mount",
            "sys-kernel-tracing.mount",
            "sys-fs-fuse-connections.mount",
            "dev-hugepages.mount",
            "dev-mqueue.mount",
            "proc-sys-fs-binfmt_misc.automount",
            "proc-sys-fs-binfmt_misc.mount",
            "systemd-binfmt.service",
        ]),
    },
    Row {
        id: "devices",
        reason: "/dev is complete before init runs, and there are no uevents",
        scope: Scope::Everywhere,
        action: Action::Mask(&[
            "systemd-udevd.service",
            "systemd-udevd-control.socket",
            "systemd-udevd-kernel.socket",
            "systemd-udev-trigger.service",
            "systemd-udev-settle.service",
            "systemd-hwdb-update.service",
            "systemd-tmpfiles-setup-dev.service",
        ]),
    },
    Row {
        id: "initrd",
        reason: "a tenant has no initial ramdisk; the order of services names this target, which makes systemd read 20 units",
        scope: Scope::Everywhere,
        action: Action::Mask(&["initrd-switch-root.target"]),
    },
    Row {
        id: "block-devices",
        reason: "the host handles disks, scrubbing, trimming, encryption and partitions",
        scope: Scope::Everywhere,
        action: Action::Mask(&[
            "e2scrub_all.timer",
            "e2scrub_reap.service",
            "fstrim.timer",
            "systemd-repart.service",
            "systemd-pstore.service",
            "cryptsetup.target",
            "integritysetup.target",
            "veritysetup.target",
            "systemd-remount-fs.service",
        ]),
    },
    Row {
        id: "boot-loader",
        reason: "there is no boot loader, TPM or entropy seed to keep",
        scope: Scope::Everywhere,
        action: Action::Mask(&[
            "systemd-boot-system-token.service",
            "systemd-boot-update.service",
            "systemd-random-seed.service",
            "systemd-pcrphase.service",
            "systemd-pcrphase-sysinit.service",
            "systemd-pcrmachine.service",
        ]),
    },
    Row {
        id: "first-boot",
        reason: "machine-id and host name are set by the host before init runs",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-firstboot.service", "systemd-machine-id-commit.service"]),
    },
    Row {
        id: "utmp-records",
        reason: "a record of each boot costs two processes; login itself still records logins",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"]),
    },
    Row {
        id: "nologin",
        reason: "logins are possible from the start, so /run/nologin need not come and go",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-user-sessions.service"]),
    },
    Row {
        id: "passwords-at-boot",
        reason: "no disk password is ever asked for",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-ask-password-console.path", "systemd-ask-password-wall.path"]),
    },
    Row {
        id: "initctl",
        reason: "nothing uses the FIFO of SysV init",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-initctl.socket"]),
    },
    Row {
        id: "gettys",
        reason: "the supervisor starts a login on a tty when a client attaches; an idle tty costs nothing",
        scope: Scope::Everywhere,
        action: Action::Mask(&["getty.target", "getty-static.service", "console-getty.service"]),
    },
    Row {
        id: "getty-instances",
        reason: "systemd reads what a masked target wants, and this getty names units of boot screens",
        scope: Scope::Everywhere,
        action: Action::Unwant { target: "getty.target", units: &["getty@tty1.service"] },
    },
    Row {
        id: "network",
        reason: "addresses and routes are set before init runs",
        scope: Scope::Everywhere,
        action: Action::Mask(&[
            "systemd-networkd-wait-online.service",
            "ifupdown-wait-online.service",
            "ifupdown-pre.service",
        ]),
    },
    Row {
        id: "clock",
        reason: "the host keeps the clock",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-timesyncd.service", "systemd-time-wait-sync.service"]),
    },
];
