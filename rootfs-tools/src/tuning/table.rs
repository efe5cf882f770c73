//! The tuning, as data: each row says what it does to the image, where that holds, and why.
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
    /// In which tenants of the image it holds.
    pub scope: Scope,
    /// What is done.
    pub action: Action,
}

/// Where a [`Row`] holds. An image serves tenants that share its `/usr` and tenants that install packages; what
/// is right for the first alone carries its own condition, so that nothing is to be undone in the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere: it takes away what is the host's business, or what somebody starts when it is needed.
    Everywhere,
    /// Where `/usr` is read-only: it asks for that each time, by [`USR_IS_OWN`] or by `test -w /usr`.
    SharedUsr,
    /// As long as there is nothing to do: a file in the tenant's `/etc` brings it back.
    NothingToDo,
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
    /// Masks these files of tmpfiles.d(5).
    MaskTmpfiles(&'static [&'static str]),
    /// A drop-in for units below `/usr/lib/systemd/system`, where the image has them.
    DropIn {
        /// The units.
        units: &'static [&'static str],
        /// The text of `50-tenantry.conf`.
        text: &'static str,
    },
    /// A drop-in for units that a tenant may install later, made whether the image has them or not.
    DropInAhead {
        /// The units.
        units: &'static [&'static str],
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
    /// A new program, made where the file `given` exists.
    Program {
        /// The path.
        path: &'static str,
        /// Its text.
        text: &'static str,
        /// What must be there for it to make sense.
        given: &'static str,
    },
    /// A file that the system may have already, and then keeps; made where the file `given` exists.
    Default {
        /// The path.
        path: &'static str,
        /// Its text.
        text: &'static str,
        /// What must be there for it to make sense.
        given: &'static str,
    },
    /// A link, made where the file `given` exists.
    Link {
        /// The path.
        path: &'static str,
        /// Where it leads.
        target: &'static str,
        /// What must be there for it to make sense.
        given: &'static str,
    },
    /// A file that goes if it holds nothing but comments.
    RemoveIfEmpty(&'static str),
    /// Entries that go: those in the directories that match one of these patterns, see [`RootDir::glob`](crate::rootdir::RootDir::glob).
    RemoveMatching(&'static [&'static str]),
    /// Has systemd leave the mounts of these directories alone until the end, in a tree where they are no links
    /// into `/usr`.
    KeepMounts(&'static [&'static str]),
    /// Makes `/etc/inittab` fit, as `tuning/inittab.rs` says.
    Inittab,
    /// Stamps that tell ConditionNeedsUpdate= that `/etc` and `/var` fit this `/usr`.
    UpdateStamps,
}

impl Action {
    /// Whether it makes sense only where systemd is.
    pub(super) fn is_about_systemd(&self) -> bool {
        match self {
            Self::Mask(_)
            | Self::Unwant { .. }
            | Self::Want { .. }
            | Self::DefaultTarget(_)
            | Self::MaskGenerators(_)
            | Self::MaskTmpfiles(_)
            | Self::DropIn { .. }
            | Self::DropInAhead { .. }
            | Self::RemoveIfEmpty(_)
            | Self::UpdateStamps => true,
            Self::File { .. }
            | Self::Program { .. }
            | Self::Default { .. }
            | Self::Link { .. }
            | Self::RemoveMatching(_)
            | Self::KeepMounts(_)
            | Self::Inittab => false,
        }
    }
}

/// The file name of every drop-in and preset of this table.
pub const DROP_IN: &str = "50-tenantry.conf";

/// All of it, in the order it is applied.
pub const TABLE: &[Row] = &[
    Row {
        id: "default-target",
        reason: "graphical.target adds a unit and a run level record to every boot",
        scope: Scope::Everywhere,
        action: Action::DefaultTarget("multi-user.target"),
    },
    Row {
        id: "kernel-modules",
        reason: "the host loads kernel modules; a tenant may not",
        scope: Scope::Everywhere,
        action: Action::Mask(&[
            "modprobe@.service",
            "systemd-modules-load.service",
            "kmod-static-nodes.service",
        ]),
    },
    Row {
        id: "kernel-filesystems",
        reason: "these filesystems belong to the host; what a tenant may have of them is mounted before init",
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
        id: "block-devices",
        reason: "disks, their scrubbing, trimming, encryption and partitions are the host's",
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
        reason: "machine-id and host name are given from outside before init runs",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-firstboot.service", "systemd-machine-id-commit.service"]),
    },
    Row {
        id: "utmp-records",
        reason: "a record of each boot costs two processes; logins are still recorded by login itself",
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
        reason: "nobody is asked for a disk password",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-ask-password-console.path", "systemd-ask-password-wall.path"]),
    },
    Row {
        id: "initctl",
        reason: "the FIFO of SysV init has no user left",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-initctl.socket"]),
    },
    Row {
        id: "gettys",
        reason: "the supervisor starts a login on a tty when somebody attaches to it; an idle one costs nothing",
        scope: Scope::Everywhere,
        action: Action::Mask(&["getty.target", "getty-static.service", "console-getty.service"]),
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
        reason: "the clock is the host's",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-timesyncd.service", "systemd-time-wait-sync.service"]),
    },
    Row {
        id: "package-jobs",
        reason: "a /usr that is the host's to patch needs no daily jobs of packages, and a thousand tenants must not all ask the mirror at six",
        scope: Scope::SharedUsr,
        action: Action::DropIn {
            units: &["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer"],
            text: USR_IS_OWN,
        },
    },
    Row {
        id: "package-tools",
        reason: "dpkg would fail half way, at the first file in a /usr that is shared",
        scope: Scope::SharedUsr,
        action: Action::Program {
            path: "usr/lib/tenantry/refuse-packages",
            text: REFUSE_PACKAGES,
            given: "usr/bin/dpkg",
        },
    },
    Row {
        id: "package-tools-dpkg",
        reason: "dpkg asks before it changes anything",
        scope: Scope::SharedUsr,
        action: Action::File {
            path: "etc/dpkg/dpkg.cfg.d/50-tenantry",
            text: "# Says that nothing can be installed where /usr is shared.\n\
                   pre-invoke=test -w /usr || /usr/lib/tenantry/refuse-packages\n",
            given: "usr/bin/dpkg",
        },
    },
    Row {
        id: "package-tools-apt",
        reason: "apt asks before it downloads, and whatever uses its library before it runs dpkg",
        scope: Scope::SharedUsr,
        action: Action::File {
            path: "etc/apt/apt.conf.d/50-tenantry",
            text: "// Says that nothing can be installed where /usr is shared.\n\
                   AptCli::Hooks::Install { \"test -w /usr || /usr/lib/tenantry/refuse-packages\"; };\n\
                   DPkg::Pre-Invoke { \"test -w /usr || /usr/lib/tenantry/refuse-packages\"; };\n",
            given: "usr/bin/apt-get",
        },
    },
    Row {
        id: "locale-gen",
        reason: "it says that it is done even where it could write nothing",
        scope: Scope::SharedUsr,
        action: Action::Program {
            path: "usr/local/sbin/locale-gen",
            text: LOCALE_GEN,
            given: "usr/sbin/locale-gen",
        },
    },
    Row {
        id: "locale",
        reason: "systemd, pam_env, cron and `tenantctl exec` read it; without it sessions over ssh are in ASCII",
        scope: Scope::NothingToDo,
        action: Action::Default {
            path: "etc/default/locale",
            text: "LANG=C.UTF-8\n",
            given: "usr/lib/locale/C.utf8",
        },
    },
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
        reason: "the kernel's audit log is the host's",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-journald-audit.socket"]),
    },
    Row {
        id: "journal-flush",
        reason: "/var is there from the start, so journald writes to it at once and nothing is to flush",
        scope: Scope::Everywhere,
        action: Action::Mask(&["systemd-journal-flush.service"]),
    },
    Row {
        id: "journal-flushed",
        reason: "this flag tells journald that /var is there, see systemd-journal-flush.service",
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
        reason: "each tenant makes its own host keys before sshd first runs",
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
        reason: "each generator costs a process at every boot and has nothing to generate in a tenant",
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
        reason: "its generator costs a process at every boot and says what this link says: run /etc/rc.local if there is one",
        scope: Scope::NothingToDo,
        action: Action::Want { target: "multi-user.target", unit: "rc-local.service" },
    },
    Row {
        id: "generators-idle",
        reason: "for an /etc/fstab without mounts and init scripts that have units, each costs 10 ms of a boot",
        scope: Scope::NothingToDo,
        action: Action::MaskGenerators(&[
            "systemd-fstab-generator",
            "systemd-rc-local-generator",
            "systemd-sysv-generator",
        ]),
    },
    Row {
        id: "generators-needed",
        reason: "one small program looks whether they have anything to do, and runs those that have",
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
        reason: "no credentials mount, and no journald only to hear that nothing happened",
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
        reason: "no credentials mount, and no journald only to hear that nothing happened",
        scope: Scope::Everywhere,
        action: Action::DropIn { units: &["systemd-sysusers.service"], text: QUIET },
    },
    Row {
        id: "sysctl-if-any",
        reason: "the kernel's settings are the host's; a tenant's own files below /etc/sysctl.d are applied",
        scope: Scope::Everywhere,
        action: Action::DropIn {
            units: &["systemd-sysctl.service"],
            text: "[Unit]\nConditionPathExistsGlob=|/etc/sysctl.d/*.conf\nConditionPathExists=|/etc/sysctl.conf\n\n\
                   [Service]\nLoadCredential=\nStandardOutput=null\nStandardError=null\n",
        },
    },
    Row {
        id: "sysctl-comments",
        reason: "Debian's /etc/sysctl.conf holds only comments and would have them read at every boot",
        scope: Scope::NothingToDo,
        action: Action::RemoveIfEmpty("etc/sysctl.conf"),
    },
    Row {
        id: "sysctl-link",
        reason: "a link in /etc/sysctl.d would have it read at every boot, be there a file or not",
        scope: Scope::NothingToDo,
        action: Action::RemoveMatching(&["etc/sysctl.d/99-sysctl.conf"]),
    },
    Row {
        id: "sysctl-conf",
        reason: "an /etc/sysctl.conf of the tenant's is applied, after all others",
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
        reason: "says whether podman can store containers: its overlays cannot lie on the tenant's own",
        scope: Scope::NothingToDo,
        action: Action::Program {
            path: "usr/lib/tenantry/can-store-containers",
            text: CAN_STORE_CONTAINERS,
            given: "usr/lib/systemd/systemd",
        },
    },
    Row {
        id: "podman-units",
        reason: "podman's units are enabled, fail at every boot without a storage, and leave a database that fits no other one",
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
        id: "update-stamps",
        reason: "without them sysusers, ldconfig and the catalog run at every tenant's first boot",
        scope: Scope::Everywhere,
        action: Action::UpdateStamps,
    },
    Row {
        id: "unmerged-usr",
        reason: "each is a mount of its own; systemd spares /usr at the end, but not the loader of its own programs",
        scope: Scope::Everywhere,
        action: Action::KeepMounts(&["bin", "sbin", "lib", "lib32", "lib64", "libx32"]),
    },
    Row {
        id: "inittab",
        reason: "the signal of a failing power supply asks to power off, and a login is started when somebody attaches",
        scope: Scope::Everywhere,
        action: Action::Inittab,
    },
    Row {
        id: "runit-gettys",
        reason: "the supervisor starts a login on a tty when somebody attaches to it",
        scope: Scope::Everywhere,
        action: Action::RemoveMatching(&["etc/runit/runsvdir/*/getty-*", "etc/runit/runsvdir/*/agetty-*"]),
    },
    Row {
        id: "openrc-gettys",
        reason: "the supervisor starts a login on a tty when somebody attaches to it",
        scope: Scope::Everywhere,
        action: Action::RemoveMatching(&["etc/runlevels/*/agetty.*"]),
    },
    Row {
        id: "openrc-hostname",
        reason: "without /etc/hostname this service sets the name localhost over the tenant's own",
        scope: Scope::Everywhere,
        action: Action::RemoveMatching(&["etc/runlevels/*/hostname"]),
    },
];

/// The condition of [`Scope::SharedUsr`] for units.
pub const USR_IS_OWN: &str = "[Unit]\nConditionPathIsReadWrite=/usr\n";

const QUIET: &str = "[Service]\nLoadCredential=\nStandardOutput=null\nStandardError=null\n";

const REFUSE_PACKAGES: &str = r#"#!/bin/sh
# Run by apt and dpkg before they change anything, where /usr cannot be written to.
case ${APT_HOOK_SOCKET-} in
[0-9])
    # The protocol of apt's hooks. Of what apt says only a change of packages is refused.
    read -r _ <&"$APT_HOOK_SOCKET"
    read -r _ <&"$APT_HOOK_SOCKET"
    printf '{"jsonrpc":"2.0","id":0,"result":{"version":"0.2"}}\n\n' >&"$APT_HOOK_SOCKET"
    read -r call <&"$APT_HOOK_SOCKET"
    case $call in
    # A package is not known: the lists were never fetched. It could not be installed if it were.
    *install.fail*'"unknown-packages":["'*) ;;
    *'"packages":[]'*) exit 0 ;;
    *install.pre-prompt*) ;;
    *) exit 0 ;;
    esac
    # Neither is a simulation or a download: the options of apt, which is the parent or the parent's parent.
    read -r _ _ _ above _ < /proc/$PPID/stat
    for process in "$PPID" "$above"; do
        tr '\0' '\n' < "/proc/$process/cmdline" |
            grep -Eqx -e '-[A-Za-z]*[ds][A-Za-z]*|--(simulate|just-print|dry-run|recon|no-act|download-only)' &&
            exit 0
    done
    ;;
esac
cat >&2 << 'END'
error: cannot install, upgrade or remove packages here: /usr is read-only, this system shares it with other tenants
help: ask the admin of the host to add the package to the image (rootfsctl build debian --include PACKAGE), or for a tenant with a system of its own (tenantctl create NAME --profile os)
END
exit 1
"#;

const LOCALE_GEN: &str = r#"#!/bin/sh
if ! [ -w /usr ]; then
    cat >&2 << 'END'
error: cannot generate a locale here: /usr is read-only, this system shares it with other tenants
help: C.UTF-8 is always there; ask the admin of the host to add others to the image (rootfsctl build debian --include locales-all)
END
    exit 1
fi
exec /usr/sbin/locale-gen "$@"
"#;

const GENERATORS: &str = r#"#!/bin/sh
# The generators for /etc/fstab and for init scripts are masked, because each takes 10 ms of every boot. This one
# runs them where there is something for them to read. Without their mask they run by themselves.
masks=/etc/systemd/system-generators
generators=/usr/lib/systemd/system-generators

has_mounts() {
    [ -r /etc/fstab ] || return 1
    while read -r first _ || [ -n "$first" ]; do
        case $first in '' | '#'*) ;; *) return 0 ;; esac
    done < /etc/fstab
    return 1
}

has_scripts() {
    for script in /etc/init.d/*; do
        [ -f "$script" ] && [ -x "$script" ] || continue
        name=${script##*/}
        name=${name%.sh}
        case $name in rc | rcS | functions | skeleton) continue ;; esac
        for place in /etc /run /usr/local/lib /usr/lib; do
            unit=$place/systemd/system/$name.service
            if [ -e "$unit" ] || [ -L "$unit" ]; then continue 2; fi
        done
        return 0
    done
    return 1
}

run() {
    if [ -L "$masks/$1" ] && [ -x "$generators/$1" ]; then "$generators/$@"; fi
}

if has_mounts; then run systemd-fstab-generator "$@"; fi
if has_scripts; then run systemd-sysv-generator "$@"; fi
"#;

const CAN_STORE_CONTAINERS: &str = r#"#!/bin/sh
# A storage.conf says how; without one podman makes overlays below /var/lib/containers.
[ -e /etc/containers/storage.conf ] && exit 0
dir=/var/lib/containers
[ -d "$dir" ] || dir=/var/lib
[ "$(stat -f -c %T "$dir")" = overlayfs ] || exit 0
echo "$dir is on an overlay, and podman's own overlays cannot lie on it: write [storage] with driver = \"vfs\", runroot = \"/run/containers/storage\" and graphroot = \"/var/lib/containers/storage\" into /etc/containers/storage.conf, or have the host give this system a private /var." >&2
exit 1
"#;
