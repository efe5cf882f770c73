//! The tuning, as data: each row says what it does to the image and why.
//!
//! Everything is undone by a tenant in its own `/etc`: a mask by `systemctl unmask`, a drop-in by one of
//! the same name below `/etc/systemd/system`, a dependency mask and a generator mask by `rm`.

/// One thing that is done to an image.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Short unique name.
    pub id: &'static str,
    /// Why a tenant is better off with it.
    pub reason: &'static str,
    /// What is done.
    pub action: Action,
}

/// What a [`Row`] does.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Links these units to `/dev/null` in `/etc/systemd/system`, where the image has them.
    Mask(&'static [&'static str]),
    /// Takes a unit out of a target that wants it; D-Bus, a socket or a person can still start it.
    Unwant {
        /// The target that wants them.
        target: &'static str,
        /// The units.
        units: &'static [&'static str],
    },
    /// Makes a target want a unit, where the image has the unit.
    Want {
        /// The target.
        target: &'static str,
        /// The unit.
        unit: &'static str,
    },
    /// The target that is booted.
    DefaultTarget(&'static str),
    /// Masks these generators, see systemd.generator(7).
    MaskGenerators(&'static [&'static str]),
    /// Masks the generator for init scripts unless a script has no unit of its own.
    MaskSysvGenerator,
    /// Masks these files of tmpfiles.d(5).
    MaskTmpfiles(&'static [&'static str]),
    /// A drop-in for a unit below `/usr/lib/systemd/system`, where the image has the unit.
    DropIn {
        /// The unit.
        unit: &'static str,
        /// The text of `50-tenantry.conf`.
        text: &'static str,
    },
    /// A new file, made where the file `given` exists.
    File {
        /// The path.
        path: &'static str,
        /// Its text.
        text: &'static str,
        /// What must be there for it to make sense.
        given: &'static str,
    },
    /// Files that go.
    Remove(&'static [&'static str]),
    /// Stamps that tell ConditionNeedsUpdate= that `/etc` and `/var` fit this `/usr`.
    UpdateStamps,
}

/// The file name of every drop-in and preset of this table.
pub const DROP_IN: &str = "50-tenantry.conf";

/// All of it, in the order it is applied.
pub const TABLE: &[Row] = &[
    Row {
        id: "default-target",
        reason: "graphical.target adds a unit and a run level record to every boot",
        action: Action::DefaultTarget("multi-user.target"),
    },
    Row {
        id: "kernel-modules",
        reason: "the host loads kernel modules; a tenant may not",
        action: Action::Mask(&[
            "modprobe@.service",
            "systemd-modules-load.service",
            "kmod-static-nodes.service",
        ]),
    },
    Row {
        id: "kernel-filesystems",
        reason: "these filesystems belong to the host; what a tenant may have of them is mounted before init",
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
        id: "block-devices",
        reason: "disks, their scrubbing, trimming, encryption and partitions are the host's",
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
        reason: "machine-id and host name are given from outside before init runs",
        action: Action::Mask(&["systemd-firstboot.service", "systemd-machine-id-commit.service"]),
    },
    Row {
        id: "utmp-records",
        reason: "a record of each boot costs two processes; logins are still recorded by login itself",
        action: Action::Mask(&["systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"]),
    },
    Row {
        id: "nologin",
        reason: "logins are possible from the start, so /run/nologin need not come and go",
        action: Action::Mask(&["systemd-user-sessions.service"]),
    },
    Row {
        id: "passwords-at-boot",
        reason: "nobody is asked for a disk password",
        action: Action::Mask(&["systemd-ask-password-console.path", "systemd-ask-password-wall.path"]),
    },
    Row {
        id: "initctl",
        reason: "the FIFO of SysV init has no user left",
        action: Action::Mask(&["systemd-initctl.socket"]),
    },
    Row {
        id: "gettys",
        reason: "the supervisor starts a login on a tty when somebody attaches to it; an idle one costs nothing",
        action: Action::Mask(&["getty.target", "getty-static.service", "console-getty.service"]),
    },
    Row {
        id: "network",
        reason: "addresses and routes are set before init runs",
        action: Action::Mask(&[
            "systemd-networkd-wait-online.service",
            "ifupdown-wait-online.service",
            "ifupdown-pre.service",
        ]),
    },
    Row {
        id: "clock",
        reason: "the clock is the host's",
        action: Action::Mask(&["systemd-timesyncd.service", "systemd-time-wait-sync.service"]),
    },
    Row {
        id: "daily-jobs",
        reason: "/usr is the host's to patch; a thousand tenants must not all ask the mirror at six",
        action: Action::Mask(&["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"]),
    },
    Row {
        id: "dbus-on-demand",
        reason: "dbus.socket starts the bus with its first client",
        action: Action::Unwant { target: "multi-user.target", units: &["dbus.service"] },
    },
    Row {
        id: "logind-on-demand",
        reason: "pam_systemd starts logind over D-Bus with the first login",
        action: Action::Unwant { target: "multi-user.target", units: &["systemd-logind.service"] },
    },
    Row {
        id: "journal-on-demand",
        reason: "its sockets start journald with the first message; an idle tenant has none",
        action: Action::Unwant { target: "sysinit.target", units: &["systemd-journald.service"] },
    },
    Row {
        id: "journal-audit",
        reason: "the kernel's audit log is the host's",
        action: Action::Mask(&["systemd-journald-audit.socket"]),
    },
    Row {
        id: "journal-flush",
        reason: "/var is there from the start, so journald writes to it at once and nothing is to flush",
        action: Action::Mask(&["systemd-journal-flush.service"]),
    },
    Row {
        id: "journal-flushed",
        reason: "this flag tells journald that /var is there, see systemd-journal-flush.service",
        action: Action::DropIn {
            unit: "systemd-journald.service",
            text: "[Service]\nExecStartPre=-/usr/bin/touch /run/systemd/journal/flushed\n",
        },
    },
    Row {
        id: "journal-small",
        reason: "on disk instead of in memory, and small: a thousand journals share the disk",
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
        action: Action::Want { target: "sockets.target", unit: "ssh.socket" },
    },
    Row {
        id: "ssh-on-demand",
        reason: "an idle sshd costs 1.3 MiB and a fifth of the boot",
        action: Action::Unwant { target: "multi-user.target", units: &["ssh.service", "sshd.service"] },
    },
    Row {
        id: "ssh-host-keys",
        reason: "each tenant makes its own host keys before sshd first runs",
        action: Action::File {
            path: "usr/lib/systemd/system/tenantry-ssh-hostkeys.service",
            text: "[Unit]\nDescription=Make this tenant's own ssh host keys\n\
                   ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key\nBefore=ssh.service\n\n\
                   [Service]\nType=oneshot\n\
                   ExecStart=/usr/bin/ssh-keygen -q -t ecdsa -N \"\" -f /etc/ssh/ssh_host_ecdsa_key\n\
                   ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N \"\" -f /etc/ssh/ssh_host_ed25519_key\n",
            given: "usr/bin/ssh-keygen",
        },
    },
    Row {
        id: "ssh-needs-host-keys",
        reason: "sshd refuses to start without a host key",
        action: Action::DropIn {
            unit: "ssh.service",
            text: "[Unit]\nWants=tenantry-ssh-hostkeys.service\nAfter=tenantry-ssh-hostkeys.service\n",
        },
    },
    Row {
        id: "generators",
        reason: "each generator costs a process at every boot and has nothing to generate in a tenant",
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
        id: "generator-fstab",
        reason: "mounts come from the tenant's config; 9 ms of boot; /etc/fstab says how to have it back",
        action: Action::MaskGenerators(&["systemd-fstab-generator"]),
    },
    Row {
        id: "generator-rc-local",
        reason: "/etc/rc.local is a unit's work; remove the mask to have it back",
        action: Action::MaskGenerators(&["systemd-rc-local-generator"]),
    },
    Row {
        id: "generator-sysv",
        reason: "every init script of this image has a unit; the search for others costs 10 ms of each boot",
        action: Action::MaskSysvGenerator,
    },
    Row {
        id: "fstab-hint",
        reason: "whoever edits /etc/fstab learns how it is read",
        action: Action::File {
            path: "etc/fstab",
            text: "# Mounts of a tenant are set in its config on the host. To have this file read at boot:\n\
                   #   rm /etc/systemd/system-generators/systemd-fstab-generator && systemctl daemon-reload\n",
            given: "usr/lib/systemd/system-generators/systemd-fstab-generator",
        },
    },
    Row {
        id: "tmpfiles",
        reason: "no X11, pstore, /run/nologin, copy-on-write flags or networkd state to prepare at boot",
        action: Action::MaskTmpfiles(&[
            "journal-nocow.conf",
            "systemd-network.conf",
            "systemd-nologin.conf",
            "systemd-pstore.conf",
            "x11.conf",
        ]),
    },
    Row {
        id: "tmpfiles-quiet",
        reason: "no credentials mount, and no journald only to hear that nothing happened",
        action: Action::DropIn { unit: "systemd-tmpfiles-setup.service", text: QUIET },
    },
    Row {
        id: "tmpfiles-clean-spread",
        reason: "a thousand tenants must not clean up in the same minute",
        action: Action::DropIn {
            unit: "systemd-tmpfiles-clean.timer",
            text: "[Timer]\nRandomizedDelaySec=6h\n",
        },
    },
    Row {
        id: "sysusers-quiet",
        reason: "no credentials mount, and no journald only to hear that nothing happened",
        action: Action::DropIn { unit: "systemd-sysusers.service", text: QUIET },
    },
    Row {
        id: "sysctl-if-any",
        reason: "the kernel's settings are the host's; a tenant's own files below /etc/sysctl.d are applied",
        action: Action::DropIn {
            unit: "systemd-sysctl.service",
            text: "[Unit]\nConditionPathExistsGlob=/etc/sysctl.d/*.conf\n\n[Service]\nLoadCredential=\n\
                   StandardOutput=null\nStandardError=null\n",
        },
    },
    Row {
        id: "sysctl-comments",
        reason: "Debian's /etc/sysctl.conf holds only comments and would have them read at every boot",
        action: Action::Remove(&["etc/sysctl.d/99-sysctl.conf", "etc/sysctl.conf"]),
    },
    Row {
        id: "preset",
        reason: "`systemctl preset-all` leaves the tuning as it is",
        action: Action::File {
            path: "usr/lib/systemd/system-preset/50-tenantry.preset",
            text: "enable ssh.socket\ndisable ssh.service\ndisable apt-daily.timer\ndisable apt-daily-upgrade.timer\n\
                   disable dpkg-db-backup.timer\ndisable e2scrub_all.timer\ndisable e2scrub_reap.service\n\
                   disable fstrim.timer\ndisable getty@.service\ndisable systemd-pstore.service\n",
            given: "usr/lib/systemd/systemd",
        },
    },
    Row {
        id: "update-stamps",
        reason: "without them sysusers, ldconfig and the catalog run at every tenant's first boot",
        action: Action::UpdateStamps,
    },
];

const QUIET: &str = "[Service]\nLoadCredential=\nStandardOutput=null\nStandardError=null\n";
