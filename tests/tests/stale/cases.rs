//! The corpus: what processes there are, and which of them are stale.

/// One process, as a unit of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// The name of its unit.
    pub(crate) name: &'static str,
    /// Properties of its unit.
    pub(crate) options: &'static [&'static str],
    /// What a shell does.
    pub(crate) script: &'static str,
    /// The name of the process when it has come to where it stays; none where it makes the file `/run/ready-NAME`.
    pub(crate) comm: Option<&'static str>,
    /// The stale file; none where it is not stale.
    pub(crate) stale: Option<&'static str>,
}

const fn program(name: &'static str, script: &'static str, comm: &'static str) -> Case {
    Case { name, options: &[], script, comm: Some(comm), stale: None }
}

const fn script(name: &'static str, script: &'static str) -> Case {
    Case { name, options: &[], script, comm: None, stale: None }
}

const fn stale(file: &'static str, case: Case) -> Case {
    Case { stale: Some(file), ..case }
}

const fn with(options: &'static [&'static str], case: Case) -> Case {
    Case { options, ..case }
}

const CHANGED: &str = "/usr/lib/fix/changed";
const PL: &str = "/usr/lib/fix/changed.pl";
const SH: &str = "/usr/lib/fix/changed.sh";

/// Started before the version changes.
pub(crate) const BEFORE: &[Case] = &[
    // Programs.
    stale(CHANGED, program("changed-program", "exec /usr/lib/fix/changed 100000", "changed")),
    program("same-program", "exec /usr/lib/fix/same 100000", "same"),
    stale("/usr/lib/fix/gone", program("removed-program", "exec /usr/lib/fix/gone 100000", "gone")),
    stale(
        "/usr/lib/fix/busybox",
        program("static-program", "exec /usr/lib/fix/busybox sleep 100000", "busybox"),
    ),
    // Libraries.
    stale(
        "/usr/lib/fix/changed.so",
        program(
            "changed-library",
            "LD_PRELOAD=/usr/lib/fix/changed.so exec /usr/lib/fix/same 100000",
            "same",
        ),
    ),
    program("same-library", "LD_PRELOAD=/usr/lib/fix/same.so exec /usr/lib/fix/same 100000", "same"),
    // Data is no code, unless it is executed.
    program("locale", "LC_ALL=C.UTF-8 exec /usr/bin/perl -e 'sleep 100000'", "perl"),
    script(
        "mapped-data",
        r#"exec perl -e 'open D, "</usr/lib/fix/data"; syscall(9, 0, 8192, 1, 2, fileno D, 0); open F, ">/run/ready-mapped-data"; sleep 100000'"#,
    ),
    stale(
        "/usr/lib/fix/data",
        script(
            "mapped-code",
            r#"exec perl -e 'open D, "</usr/lib/fix/data"; syscall(9, 0, 8192, 5, 2, fileno D, 0); open F, ">/run/ready-mapped-code"; sleep 100000'"#,
        ),
    ),
    program("open-data", "exec tail -f /usr/lib/fix/data", "tail"),
    // Scripts.
    stale(SH, script("shell-script", "exec sh /usr/lib/fix/changed.sh shell-script")),
    stale(SH, script("executed-shell-script", "exec /usr/lib/fix/changed.sh executed-shell-script")),
    stale(SH, script("bash-script", "exec bash --norc /usr/lib/fix/changed.sh bash-script")),
    script("same-shell-script", "exec /usr/lib/fix/same.sh same-shell-script"),
    stale(PL, script("perl-script", "exec perl -w /usr/lib/fix/changed.pl perl-script")),
    stale(PL, script("executed-perl-script", "exec /usr/lib/fix/changed.pl executed-perl-script")),
    stale("/usr/lib/fix/changed-env.pl", script("env-script", "exec /usr/lib/fix/changed-env.pl env-script")),
    script("same-perl-script", "exec /usr/lib/fix/same.pl same-perl-script"),
    stale(PL, script("script-by-a-link", "exec perl /usr/lib/fix/link.pl script-by-a-link")),
    stale(
        PL,
        script("script-by-another-root-link", "exec perl /lib/fix/changed.pl script-by-another-root-link"),
    ),
    stale(PL, script("relative-script", "cd /usr/lib/fix; exec perl ./changed.pl relative-script")),
    stale(
        PL,
        script(
            "own-interpreter",
            "cp /usr/bin/perl /srv/perl; exec /srv/perl /usr/lib/fix/changed.pl own-interpreter",
        ),
    ),
    stale(
        SH,
        script(
            "own-static-shell",
            "cp /usr/lib/fix/busybox /srv/sh; exec /srv/sh /usr/lib/fix/changed.sh own-static-shell",
        ),
    ),
    // A script that is a word of the command line and is not run.
    program("script-as-a-word", "exec tail -f /usr/lib/fix/changed.pl", "tail"),
    program("script-behind-code", "exec perl -e 'sleep 100000' /usr/lib/fix/changed.pl", "perl"),
    program(
        "forged-command-line",
        "exec bash -c 'exec -a /usr/lib/fix/changed /usr/lib/fix/same 100000'",
        "same",
    ),
    // What is the tenant's own.
    program(
        "deleted-copy",
        "cp /usr/lib/fix/changed /tmp/copy; (sleep 1; rm /tmp/copy) & exec /tmp/copy 100000",
        "copy",
    ),
    program("own-program", "cp /usr/lib/fix/changed /srv/changed; exec /srv/changed 100000", "changed"),
    program("copied-up", "chmod 711 /opt/fix/own; exec /opt/fix/own 100000", "own"),
    program("not-swapped", "exec /opt/fix/tool 100000", "tool"),
    program(
        "replaced-by-the-tenant",
        "cp /opt/fix/tool /opt/fix/mine; (while [ \"$(cat /proc/$$/comm)\" != mine ]; do :; done; cp /bin/true /opt/fix/new; mv /opt/fix/new /opt/fix/mine) & exec /opt/fix/mine 100000",
        "mine",
    ),
    // Memory without a file.
    program(
        "memfd",
        r#"exec perl -e '$n = "x"; $f = syscall(319, $n, 0); open O, ">&=", $f; open I, "<", "/usr/lib/fix/changed"; { local $/; print O <I>; } O->flush; use IO::Handle; exec { "/proc/self/fd/$f" } "memfd", "100000"'"#,
        "3",
    ),
    script(
        "jit",
        r#"exec perl -e 'syscall(9, 0, 65536, 7, 0x22, -1, 0); open F, ">/run/ready-jit"; sleep 100000'"#,
    ),
    script(
        "deleted-code",
        r#"exec perl -e 'open D, "+>/tmp/code"; print D "x" x 8192; syscall(9, 0, 8192, 5, 2, fileno D, 0); unlink "/tmp/code"; open F, ">/run/ready-deleted-code"; sleep 100000'"#,
    ),
    script("zombie", r#"exec perl -e 'fork or exit; open F, ">/run/ready-zombie"; sleep 100000'"#),
    // Other roots and mount namespaces.
    program(
        "jail",
        "mkdir -p /srv/jail; cp /usr/lib/fix/busybox /srv/jail/busybox; exec chroot /srv/jail /busybox sleep 100000",
        "busybox",
    ),
    stale(
        CHANGED,
        program(
            "jail-with-the-base",
            "mkdir -p /srv/bound/usr; umount -q /srv/bound/usr || :; mount --bind /usr /srv/bound/usr; ln -sf usr/lib usr/lib64 usr/bin /srv/bound; exec chroot /srv/bound /usr/lib/fix/changed 100000",
            "changed",
        ),
    ),
    stale(
        PL,
        script(
            "script-in-a-jail-with-the-base",
            "mkdir -p /srv/scripts/usr /srv/scripts/run; umount -q /srv/scripts/usr || :; mount --bind /usr /srv/scripts/usr; umount -q /srv/scripts/run || :; mount --bind /run /srv/scripts/run; ln -sf usr/lib usr/lib64 usr/bin /srv/scripts; exec chroot /srv/scripts /usr/bin/perl /usr/lib/fix/changed.pl script-in-a-jail-with-the-base",
        ),
    ),
    stale(
        CHANGED,
        program(
            "base-elsewhere",
            "mkdir -p /srv/elsewhere; umount -q /srv/elsewhere || :; mount --bind /usr/lib/fix /srv/elsewhere; exec /srv/elsewhere/changed 100000",
            "changed",
        ),
    ),
    stale(
        CHANGED,
        with(&["PrivateTmp=yes"], program("private-tmp", "exec /usr/lib/fix/changed 100000", "changed")),
    ),
    stale(
        CHANGED,
        with(
            &["ProtectSystem=strict", "ProtectHome=yes", "PrivateDevices=yes"],
            program("protected", "exec /usr/lib/fix/changed 100000", "changed"),
        ),
    ),
    with(&["ProtectSystem=full"], program("protected-same", "exec /usr/lib/fix/same 100000", "same")),
    program(
        "container",
        "mkdir -p /srv/c; exec unshare --mount sh -ec 'mount -t tmpfs c /srv/c; cd /srv/c; mkdir l u w m; cp /usr/lib/fix/busybox l/busybox; mount -t overlay -o lowerdir=l,upperdir=u,workdir=w,userxattr c m; exec chroot m /busybox sleep 100000'",
        "busybox",
    ),
];

/// Started when the version has changed.
pub(crate) const AFTER: &[Case] = &[
    program("new-program", "exec /usr/lib/fix/changed 100000", "changed"),
    program("new-library", "LD_PRELOAD=/usr/lib/fix/changed.so exec /usr/lib/fix/same 100000", "same"),
    script("new-shell-script", "exec /usr/lib/fix/changed.sh new-shell-script"),
    script("new-perl-script", "exec perl /usr/lib/fix/changed.pl new-perl-script"),
    with(&["ProtectSystem=strict"], program("new-protected", "exec /usr/lib/fix/changed 100000", "changed")),
    with(&["PrivateTmp=yes"], script("new-private-tmp", "exec /usr/lib/fix/changed.pl new-private-tmp")),
];
