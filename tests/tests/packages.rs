//! Packages: installed in a tenant with a system of its own, refused in one that shares it, and what they bring.

use std::os::unix::fs::PermissionsExt as _;
use std::{fs, time::Duration};

use serde_json::Value;
use tenantry_tests::{Host, Run, Tenant, debian, host::Place, poll};

/// A bind of a directory with the packages of a list.
fn packages(first: &str) -> String {
    let names = debian::INSTALLED.into_iter().find(|names| names[0] == first).expect("a list of packages");
    let dir = debian::packages(&Place::prepared(), names);
    format!("dirs.\"/packages\"={{ bind = {dir:?} }}")
}

fn apt(tenant: &Tenant<'_>, args: &str) -> Run {
    let script = format!("DEBIAN_FRONTEND=noninteractive apt-get {args}");
    tenant.shell(&script).limit(Duration::from_secs(300))
}

/// Whether a unit is active, as systemctl says.
fn active(tenant: &Tenant<'_>, unit: &str) -> String {
    tenant.shell(&format!("systemctl is-active {unit}")).output().stdout.trim_end().to_owned()
}

fn restarted(tenant: &Tenant<'_>) {
    tenant.ctl("restart", &[]).ok();
    assert_eq!(tenant.says("systemctl is-system-running --wait"), "running", "{}", failed(tenant));
}

fn failed(tenant: &Tenant<'_>) -> String {
    tenant.shell("systemctl --failed --no-legend; journalctl --no-pager -p err").output().stdout
}

#[test]
fn a_package_whose_service_is_an_init_script_runs_in_an_os_tenant() {
    let host = Host::start();
    let bind = packages("cron");
    let alice = host.boot("alice", &["--profile", "os", "--set", &bind]);
    apt(&alice, "install -y /packages/*.deb").ok();
    for unit in ["cron", "exim4"] {
        assert_eq!(active(&alice, unit), "active", "{unit}");
    }
    assert!(alice.says("systemctl show -P SourcePath exim4").contains("/etc/init.d/exim4"));
    assert_eq!(alice.says("ls /usr/share/man/man1/crontab.1.gz"), "/usr/share/man/man1/crontab.1.gz");
    restarted(&alice);
    assert_eq!(active(&alice, "exim4"), "active");
}

#[test]
fn security_updates_come_by_themselves_in_an_os_tenant_and_not_where_usr_is_shared() {
    let host = Host::start();
    let bind = packages("unattended-upgrades");
    let alice = host.boot("alice", &["--profile", "os", "--set", &bind]);
    let bob = host.boot("bob", &[]);
    apt(&alice, "install -y /packages/*.deb").ok();
    for timer in ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"] {
        assert_eq!(active(&alice, timer), "active", "{timer}");
        assert_eq!(active(&bob, timer), "inactive", "{timer}");
        assert_eq!(bob.says(&format!("systemctl show -P LoadState {timer}")), "loaded", "it is not masked");
    }
    assert!(alice.says("apt-config dump APT::Periodic::Unattended-Upgrade").contains("\"1\""));
    restarted(&alice);
    assert_eq!(active(&alice, "apt-daily-upgrade.timer"), "active");
}

#[test]
fn a_java_runtime_installs_in_an_os_tenant() {
    let host = Host::start();
    let bind = packages("default-jre-headless");
    let alice = host.boot("alice", &["--profile", "os", "--set", &bind]);
    apt(&alice, "install -y /packages/*.deb").ok();
    let version = alice.shell("java -version").ok();
    assert!(version.stderr.contains("openjdk"), "{}", version.stderr);
}

/// A package without dependencies, made inside.
const GREET: &str = r#"
set -e
mkdir -p /root/x/DEBIAN /root/x/usr/bin
printf 'Package: greet\nVersion: 1.0\nArchitecture: all\nMaintainer: n <n@example.org>\nDescription: greets\n' > /root/x/DEBIAN/control
printf '#!/bin/sh\necho hello\n' > /root/x/usr/bin/greet
chmod 755 /root/x/usr/bin/greet
dpkg-deb --build --root-owner-group /root/x /root/greet.deb
"#;

#[test]
fn apt_and_dpkg_say_at_once_that_packages_belong_to_the_base() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    alice.says(&format!("test ! -w /var/lib/dpkg; {GREET}"));
    refuse_changes(&alice);
    alice.says("apt-cache policy nano && apt list --installed && dpkg --verify nano && apt-mark showmanual");

    let bob = host.boot("bob", &["--profile", "os"]);
    bob.says(GREET);
    bob.says("apt-get install -y /root/greet.deb && apt-get remove -y nano && dpkg --remove greet");
}

/// Every change is refused in plain words, and what changes nothing is not.
fn refuse_changes(alice: &Tenant<'_>) {
    let state =
        "cat /var/lib/dpkg/status /var/lib/apt/extended_states | sha256sum; find /var/lib/dpkg | sort";
    let before = alice.says(state);
    for command in [
        "apt-get install -y /root/greet.deb",
        "apt-get remove -y nano",
        "apt-get purge -y nano",
        "apt install -y /root/greet.deb",
        "dpkg --install /root/greet.deb",
        "dpkg --remove nano",
        "dpkg --configure --pending",
        // Before the lists are fetched, apt knows of no package.
        "apt-get install -y no-such-package",
        "apt install -y no-such-package",
    ] {
        let done = alice.shell(command).output();
        assert_ne!(done.status.code(), Some(0), "{command}");
        let said = format!("{}{}", done.stdout, done.stderr);
        let sentence = "error: cannot install, upgrade or remove packages here: the packages of this system belong to its base";
        assert_eq!(said.matches(sentence).count(), 1, "{command}: {said}");
        for remedy in ["rootfsctl update", "rootfsctl build debian --include", "--profile os"] {
            assert!(said.contains(remedy), "{command}: {said}");
        }
        assert!(!said.contains("Setting up") && !said.contains("Removing"), "{command}: {said}");
        assert_eq!(alice.says(state), before, "{command} has changed something");
    }
    // What changes nothing is not refused.
    for command in [
        "apt-get install -y nano",
        "apt-get -y autoremove",
        "apt-get --simulate remove nano",
        "apt-get -qqs -y install /root/greet.deb",
        "dpkg --list nano",
    ] {
        alice.shell(command).ok();
    }
}

#[test]
fn what_a_tenant_puts_into_its_etc_is_read_at_boot() {
    let host = Host::start();
    for profile in ["shared-os", "os"] {
        let alice = host.boot(profile, &["--profile", profile]);
        let generated = alice.says("ls /run/systemd");
        assert!(!generated.contains("generator"), "{profile}: nothing is to be generated: {generated}");
        alice.says(
            "printf '#!/bin/sh\\necho local > /run/rc-local\\n' > /etc/rc.local; chmod 755 /etc/rc.local\n\
             printf '# mine\\nnet.ipv4.ip_default_ttl=77\\n' > /etc/sysctl.conf\n\
             mkdir /var/more; echo 'tmpfs /var/more tmpfs size=1M' >> /etc/fstab\n\
             printf '#!/bin/sh\\n### BEGIN INIT INFO\\n# Provides: legacy\\n# Required-Start:\\n\
             # Required-Stop:\\n# Default-Start: 2 3 4 5\\n# Default-Stop: 0 1 6\\n### END INIT INFO\\n\
             echo script > /run/legacy\\n' > /etc/init.d/legacy; chmod 755 /etc/init.d/legacy\n\
             update-rc.d legacy defaults",
        );
        restarted(&alice);
        let seen = "cat /run/rc-local /run/legacy /proc/sys/net/ipv4/ip_default_ttl; stat -f -c %T /var/more";
        assert_eq!(alice.says(seen), "local\nscript\n77\ntmpfs", "{profile}");
    }
}

/// A place with the image `server`.
fn server() -> Place {
    debian::with_packages(&Place::prepared(), debian::SERVER)
}

#[test]
fn podman_stores_containers_where_it_can_and_its_units_fail_nowhere() {
    let host = Host::start_in(server());
    let driver = "podman info --format '{{.Store.GraphDriverName}}'";
    let image = ["--image", "server"];
    let private = host.boot("private", &[&image[..], &["--set", "dirs.\"/var\"=private"]].concat());
    assert_eq!(private.says("systemctl is-system-running --wait"), "running", "{}", failed(&private));
    assert_eq!(private.says(driver), "overlay");
    assert_eq!(private.says("systemctl show -P Result podman-restart"), "success");
    assert_eq!(active(&private, "podman-restart"), "active");
    for (name, profile) in [("shared", "shared-os"), ("own", "os")] {
        let tenant = host.boot(name, &[&image[..], &["--profile", profile]].concat());
        assert_eq!(tenant.says("systemctl is-system-running --wait"), "running", "{}", failed(&tenant));
        assert_eq!(active(&tenant, "podman-restart"), "inactive");
        // Nothing of another driver is in the way of the one that the admin chooses.
        tenant.says(
            "printf '[storage]\\ndriver = \"vfs\"\\nrunroot = \"/run/containers/storage\"\\n\
             graphroot = \"/var/lib/containers/storage\"\\n' > /etc/containers/storage.conf",
        );
        restarted(&tenant);
        assert_eq!(tenant.says(driver), "vfs");
        assert_eq!(active(&tenant, "podman-restart"), "active");
    }
}

#[test]
fn import_takes_nothing_away_that_would_not_come_back() {
    let host = Host::bare();
    let tree = host.path("tree");
    let files = [
        "usr/bin/pg_createcluster",
        "usr/sbin/make-ssl-cert",
        "sbin/init",
        "var/lib/postgresql/15/main/global/pg_control",
        "etc/ssl/private/ssl-cert-snakeoil.key",
    ];
    for file in files {
        fs::create_dir_all(tree.join(file).parent().expect("a directory")).expect("it can be made");
        fs::write(tree.join(file), "what is in it\n").expect("a file");
        // One that can be executed: what is imported is a system.
        fs::set_permissions(tree.join(file), fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    let is_there = |name: &str, file: &str| -> bool {
        let versions = host.path(format!("var/lib/tenantry/images/{name}/versions"));
        let mut trees = fs::read_dir(versions).expect("versions").flatten().map(|entry| entry.path());
        trees.any(|version| version.join("tree").join(file).exists())
    };
    let import = |args: &[&str]| host.tool("rootfsctl", &["import"]).args([&tree]).args(args).ok();
    import(&["--name", "tuned"]);
    assert!(is_there("tuned", files[3]), "a database of the system's is gone");
    assert!(!is_there("tuned", files[4]), "each tenant makes its own");
    assert!(is_there("tuned", "usr/lib/tenantry/first-boot.d/snakeoil-key"));
    import(&["--name", "stock", "--stock"]);
    assert!(is_there("stock", files[3]) && is_there("stock", files[4]), "nothing would make them again");
}

/// What `rootfsctl lint` finds in the only image of a place.
fn findings(place: &Place, image: &str) -> Vec<Value> {
    let lint = Run::new(place.bin.join("rootfsctl"), ["--json", "lint", image]);
    let found = lint.env("TENANTRY_ROOT", &place.images).output().json();
    found.as_array().cloned().unwrap_or_default()
}

#[test]
fn a_line_of_a_crontab_runs_in_each_kind() {
    let host = Host::start_in(server());
    let line = "echo '@reboot root echo ran > /root/ran' >> /etc/crontab";
    let image = ["--image", "server"];
    for profile in ["shared-os", "os", "router"] {
        let alice = host.boot(profile, &[&image[..], &["--profile", profile]].concat());
        alice.says(line);
        restarted(&alice);
        poll::until_true(&format!("{profile}: the line ran"), || {
            alice.shell("grep -qs ran /root/ran").output().status.success()
        });
    }
    // An application with an /etc of its own, whose program is cron.
    let paths = r#"paths=["/bin","/lib","/lib64","/usr/bin","/usr/sbin","/usr/lib/x86_64-linux-gnu","/var/spool/cron"]"#;
    let init = r#"init=["/bin/sh","-c","echo '@reboot root echo ran > /root/ran' >> /etc/crontab; exec /usr/sbin/cron -f"]"#;
    let run = "dirs.\"/var/run\"={ tmpfs = \"1M\" }";
    let set = ["--profile", "app-plus", "--set", paths, "--set", init, "--set", run];
    let alice = host.boot("app", &[&image[..], &set].concat());
    poll::until_true("app-plus: the line ran", || {
        alice.shell("grep -qs ran /root/ran").output().status.success()
    });
}

#[test]
fn a_tenant_sees_its_own_links_and_no_others() {
    let host = Host::start();
    for profile in ["shared-os", "os", "router"] {
        let alice = host.boot(profile, &["--profile", profile]);
        let linked = alice.says("find /etc /var /home /root /opt /srv -xdev -type f -links +1");
        assert_eq!(linked, "", "{profile}");
        alice.says("touch /etc/one && ln /etc/one /etc/two");
        assert_eq!(alice.says("stat -c %h /etc/one"), "2", "{profile}");
    }
}

#[test]
fn what_is_the_build_machines_is_in_no_image_and_each_tenant_makes_its_own() {
    let place = server();
    let worst: Vec<Value> =
        findings(&place, "server").into_iter().filter(|f| f["severity"] != "note").collect();
    assert!(worst.is_empty(), "{worst:?}");
    let host = Host::start_in(place);
    let secrets =
        "cat /etc/ssl/private/ssl-cert-snakeoil.key /etc/bind/rndc.key /etc/mailname | grep -v -- -----";
    let mut seen = Vec::new();
    for (name, profile) in [("alice", "shared-os"), ("bob", "shared-os"), ("carol", "os")] {
        let tenant =
            host.boot(name, &["--image", "server", "--profile", profile, "--set", "start_timeout_sec=180"]);
        assert_eq!(tenant.says("systemctl is-system-running --wait"), "running", "{}", failed(&tenant));
        let own = tenant.says(secrets);
        assert_eq!(own.lines().last(), Some(name), "{own}");
        assert!(tenant.says("postconf -h myhostname").starts_with(name));
        assert_eq!(tenant.says("stat -c '%U %a' /etc/bind/rndc.key"), "bind 640");
        assert_eq!(tenant.says("stat -c '%G %a' /etc/ssl/private/ssl-cert-snakeoil.key"), "ssl-cert 640");
        assert!(
            tenant
                .says("openssl x509 -noout -subject -in /etc/ssl/certs/ssl-cert-snakeoil.pem")
                .contains(name)
        );
        tenant.says("rndc status");
        // They stay.
        restarted(&tenant);
        assert_eq!(tenant.says(secrets), own);
        seen.push(own);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3);
    // What is not in the default image, but may be in another.
    let alice = Tenant::new(&host, "alice");
    let said = alice.shell("locale-gen").output();
    assert_eq!(said.status.code(), Some(1), "{}", said.stdout);
    assert!(
        said.stderr.contains("error: cannot generate a locale here: /usr is read-only"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("--include locales-all"), "{}", said.stderr);
    let carol = Tenant::new(&host, "carol");
    carol.says("echo 'de_DE.UTF-8 UTF-8' > /etc/locale.gen && locale-gen && LC_ALL=de_DE.UTF-8 date");
    // A new name resolves at once, so sudo does not wait.
    let said = carol.shell("hostnamectl set-hostname own && sudo -n true").ok();
    assert_eq!(said.stderr, "");
}

/// A stand-in for what the package ssl-cert brings.
const MAKE_SSL_CERT: &str = "#!/bin/sh\nmkdir -p /etc/ssl/private\nhead -c 32 /dev/urandom | od -x > /etc/ssl/private/ssl-cert-snakeoil.key\n";

#[test]
fn what_a_later_image_leaves_to_each_tenant_is_made_by_those_that_have_booted_before() {
    let host = Host::bare();
    host.copy_images();
    host.start_hostd();
    let tree = host.changed_tree("debian", |_| {});
    let program = |path: &str, text: &str| {
        fs::write(tree.join(path), text).expect("a program");
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(0o755)).expect("its mode");
    };
    let import =
        |name: &str| host.tool("rootfsctl", &["import", &tree.to_string_lossy(), "--name", name]).ok();
    program("usr/sbin/sendmail", "#!/bin/sh\n");
    import("one");
    program("usr/sbin/make-ssl-cert", MAKE_SSL_CERT);
    import("two");
    let key = "/etc/ssl/private/ssl-cert-snakeoil.key";
    let alice = host.boot("alice", &["--image", "one"]);
    assert_eq!(alice.says(&format!("cat /etc/mailname; [ ! -e {key} ]")), "alice");
    alice.ctl("set", &["image=two"]).ok();
    restarted(&alice);
    let own = alice.says(&format!("cat {key}"));
    assert!(!own.is_empty());
    restarted(&alice);
    assert_eq!(alice.says(&format!("cat {key}")), own, "it stays");
}
