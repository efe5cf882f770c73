//! What each tenant makes for itself before its services run: keys and names that packages make when they are
//! installed, which in an image would be the same for every tenant.
//!
//! The rules of [`crate::lint`] take them out of the image, and the steps of [`STEPS`] make them in the tenant, each
//! where it is missing. The steps are programs in the image, and every init that Debian has runs them before its
//! services: systemd by a unit, sysvinit and busybox by a line of inittab(5), runit by its first stage, and
//! openrc-init by a script of its own. They do so at each boot, and nothing notes that they were run: a later image may
//! bring another step, or one that finds more to make. A step that has nothing to make looks at a file or two.

use std::io;

use crate::{rootdir::RootDir, tuning::inittab};

/// Directory of the steps.
const DIR: &str = "usr/lib/tenantry/first-boot.d";

/// The program that runs all of them.
const RUN: &str = "usr/lib/tenantry/first-boot";

const RUN_TEXT: &str = r#"#!/bin/sh
# Makes what each tenant has of its own and is not there yet.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
for step in /usr/lib/tenantry/first-boot.d/*; do
    "$step" || echo "tenantry: $step failed" >&2
done
"#;

const UNIT: &str = "usr/lib/systemd/system/tenantry-first-boot.service";

const UNIT_TEXT: &str = "[Unit]\nDescription=Create this tenant's own keys and ids\nDefaultDependencies=no\n\
    RequiresMountsFor=/etc /var\nAfter=systemd-tmpfiles-setup.service systemd-sysusers.service\n\
    Before=sysinit.target shutdown.target\nConflicts=shutdown.target\n\n\
    [Service]\nType=oneshot\nExecStart=/usr/lib/tenantry/first-boot\n";

const WANTED: &str = "etc/systemd/system/sysinit.target.wants/tenantry-first-boot.service";

/// The first stage of runit runs what is in this directory.
const RUNIT: &str = "etc/rcS.d/S00tenantry-first-boot";

/// A service of OpenRC; with sysvinit's init the line of inittab is before it.
const OPENRC: &str = "etc/init.d/tenantry-first-boot";
const OPENRC_TEXT: &str = "#!/sbin/openrc-run\n\ndescription=\"Creates this tenant's own keys and ids\"\n\n\
    depend() {\n\tbefore *\n}\n\nstart() {\n\t/usr/lib/tenantry/first-boot\n}\n";
const OPENRC_WANTED: &str = "etc/runlevels/boot/tenantry-first-boot";

/// One thing that a tenant makes.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Short unique name; also that of the rule of [`crate::lint`] that keeps it out of images.
    pub id: &'static str,
    /// A program of the image; without it the step does nothing.
    pub given: &'static str,
    /// Whether systemd starts it with the service that needs it, and not at boot.
    pub on_demand: bool,
    /// Whether a system that was in use keeps data in it.
    pub holds_data: bool,
    /// Shell script that creates it where it is missing.
    pub script: &'static str,
}

/// All of them.
pub const STEPS: &[Step] = &[
    Step {
        id: "ssh-host-keys",
        given: "usr/sbin/sshd",
        on_demand: true,
        holds_data: false,
        script: r#"for type in ecdsa ed25519; do
    key=/etc/ssh/ssh_host_${type}_key
    [ -s "$key" ] && continue
    rm -f "$key" "$key.pub"
    ssh-keygen -q -t "$type" -N '' -f "$key"
done
"#,
    },
    Step {
        id: "snakeoil-key",
        given: "usr/sbin/make-ssl-cert",
        on_demand: false,
        holds_data: false,
        script: r#"[ -s /etc/ssl/private/ssl-cert-snakeoil.key ] ||
    make-ssl-cert generate-default-snakeoil --force-overwrite
"#,
    },
    Step {
        id: "bind-key",
        given: "usr/sbin/rndc-confgen",
        on_demand: false,
        holds_data: false,
        script: r#"[ -d /etc/bind ] || exit 0
[ -s /etc/bind/rndc.key ] && exit 0
rndc-confgen -a
chown bind:bind /etc/bind/rndc.key
chmod 640 /etc/bind/rndc.key
"#,
    },
    Step {
        id: "postgresql-cluster",
        given: "usr/bin/pg_createcluster",
        on_demand: false,
        holds_data: true,
        script: r#"for conf in /etc/postgresql/*/*/postgresql.conf; do
    [ -r "$conf" ] || continue
    dir=${conf%/*}
    version=${dir%/*}
    version=${version##*/}
    data=/var/lib/postgresql/$version/${dir##*/}
    # A cluster in another directory, or a dropped one, is the admin's business.
    grep -q "^data_directory *= *'$data'" "$conf" || continue
    [ -e "$data/PG_VERSION" ] && continue
    locale=$(sed -n "s/^lc_messages *= *'\([^']*\)'.*/\1/p" "$conf")
    install -d -o postgres -g postgres -m 700 "$data"
    setpriv --reuid postgres --regid postgres --init-groups \
        "/usr/lib/postgresql/$version/bin/initdb" --pgdata "$data" --encoding UTF8 \
        --locale "${locale:-C.UTF-8}" --auth-local peer --auth-host scram-sha-256 > /dev/null
    rm -f "$data/postgresql.conf" "$data/pg_hba.conf" "$data/pg_ident.conf"
done
"#,
    },
    Step {
        id: "mail-name",
        given: "usr/sbin/sendmail",
        on_demand: false,
        holds_data: false,
        script: r#"[ -s /etc/mailname ] || hostname --fqdn > /etc/mailname 2> /dev/null || hostname > /etc/mailname
"#,
    },
];

/// Whether the tree's packages contain what a step needs to recreate what its rule removes.
pub fn makes(root: &RootDir, id: &str) -> bool {
    STEPS.iter().any(|step| step.id == id && root.is_file(step.given))
}

fn here(root: &RootDir) -> impl Iterator<Item = &'static Step> {
    STEPS.iter().filter(|step| root.is_file(step.given))
}

/// Where a tree comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Freshly installed packages: their generated files are the only data.
    Packages,
    /// A system that may have been in use and have data.
    System,
}

/// The rules that must not remove anything from a tree: those whose step is missing, so that nothing would
/// recreate it, and those that would remove a system's stored data.
pub fn kept(origin: Origin, is_tuned: bool) -> Vec<&'static str> {
    let is_kept = |step: &&Step| !is_tuned || (origin == Origin::System && step.holds_data);
    STEPS.iter().filter(is_kept).map(|step| step.id).collect()
}

/// Adds the steps that a tree needs, and returns whether any was missing.
///
/// # Errors
/// A file that cannot be written.
pub fn install(root: &RootDir) -> io::Result<bool> {
    let mut changed = false;
    for step in here(root) {
        let text = format!("#!/bin/sh\nset -e\n{}", step.script);
        changed |= ensure(root, &format!("{DIR}/{}", step.id), &text, 0o755)?;
    }
    if here(root).next().is_none() {
        return Ok(false);
    }
    changed |= ensure(root, RUN, RUN_TEXT, 0o755)?;
    if root.is_file("usr/lib/systemd/systemd") && here(root).any(|step| !step.on_demand) {
        changed |= ensure(root, UNIT, UNIT_TEXT, 0o644)?;
        changed |= link(root, UNIT, WANTED)?;
    }
    if let Some(text) = root.text(inittab::PATH)? {
        changed |= ensure(root, inittab::PATH, &inittab::with_first(&text, &format!("/{RUN}")), 0o644)?;
    }
    if root.is_file("etc/runit/1") && root.has("etc/rcS.d") {
        changed |= link(root, RUN, RUNIT)?;
    }
    if root.is_file("sbin/openrc-init") {
        changed |= ensure(root, OPENRC, OPENRC_TEXT, 0o755)?;
        changed |= link(root, OPENRC, OPENRC_WANTED)?;
    }
    Ok(changed)
}

fn ensure(root: &RootDir, path: &str, text: &str, mode: u32) -> io::Result<bool> {
    if root.text(path)?.as_deref() == Some(text) {
        return Ok(false);
    }
    root.write(path, text.as_bytes(), mode)?;
    Ok(true)
}

fn link(root: &RootDir, target: &str, path: &str) -> io::Result<bool> {
    let target = format!("/{target}");
    if root.link(path).is_some_and(|old| old.as_os_str() == target.as_str()) {
        return Ok(false);
    }
    root.symlink(&target, path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::RULES;

    #[test]
    fn each_step_makes_what_a_rule_takes_out() {
        for step in STEPS {
            assert!(RULES.iter().any(|rule| rule.id == step.id && rule.fix.is_some()), "{}", step.id);
        }
    }

    #[test]
    fn nothing_is_taken_out_that_would_not_come_back() {
        assert_eq!(kept(Origin::Packages, true), [""; 0]);
        assert_eq!(kept(Origin::System, true), ["postgresql-cluster"]);
        for origin in [Origin::Packages, Origin::System] {
            assert_eq!(kept(origin, false).len(), STEPS.len(), "without tuning there are no steps");
        }
    }

    #[test]
    fn each_init_runs_the_steps_that_an_image_needs() {
        let dir = tempfile::tempdir().unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        root.write("etc/inittab", b"si::sysinit:/etc/init.d/rcS\n", 0o644).unwrap();
        assert!(!install(&root).unwrap(), "nothing is to be made");
        root.write("usr/sbin/sshd", b"", 0o755).unwrap();
        assert!(install(&root).unwrap());
        assert!(!install(&root).unwrap(), "all of it is there");
        let inittab = root.text("etc/inittab").unwrap().unwrap();
        assert!(inittab.contains("sysinit:/usr/lib/tenantry/first-boot\nsi::sysinit:"), "{inittab}");
        assert!(!root.has(UNIT) && !root.has(RUNIT) && !root.has(OPENRC));

        root.write("etc/runit/1", b"", 0o755).unwrap();
        root.write("etc/rcS.d/README", b"", 0o644).unwrap();
        root.write("sbin/openrc-init", b"", 0o755).unwrap();
        root.write("usr/lib/systemd/systemd", b"", 0o755).unwrap();
        assert!(install(&root).unwrap());
        assert!(root.has(RUNIT) && root.has(OPENRC_WANTED));
        assert!(!root.has(UNIT), "host keys are made when sshd is started");
        root.write("usr/sbin/make-ssl-cert", b"", 0o755).unwrap();
        assert!(install(&root).unwrap());
        assert!(root.has(UNIT) && root.has(WANTED));
        assert!(!install(&root).unwrap());
    }

    #[test]
    fn every_init_runs_the_steps_at_each_boot() {
        let dir = tempfile::tempdir().unwrap();
        let root = RootDir::open(dir.path()).unwrap();
        root.write("usr/lib/systemd/systemd", b"", 0o755).unwrap();
        root.write("usr/sbin/sendmail", b"", 0o755).unwrap();
        install(&root).unwrap();
        let unit = root.text(UNIT).unwrap().unwrap();
        assert!(unit.contains("ExecStart=/usr/lib/tenantry/first-boot\n"), "{unit}");
        // A tenant that has booted an image with fewer steps would never run those of the next one.
        assert!(!unit.contains("Condition") && !unit.contains("touch"), "{unit}");
    }
}
