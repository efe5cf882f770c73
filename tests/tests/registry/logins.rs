//! Registries with encryption, and with passwords.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tenantry_tests::{Host, Run};

use crate::{
    digest, host, path,
    server::{Asks, Registry},
    tool,
};

/// The user, and the file that a registry knows the password from: `ann` and `secret`, by bcrypt.
const USER: &str = "ann";
const PASSWORD: &str = "secret";
const HTPASSWD: &str = "ann:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A certificate of a CA that no host knows, for the loopback address.
struct Certificate {
    dir: PathBuf,
}

impl Certificate {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(dir.join("ca")).expect("a directory for certificates");
        let openssl = |args: &[&str]| Run::new("openssl", args).current_dir(&dir).ok();
        let key =
            ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=test"];
        openssl(
            &[&["req", "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca/ca.crt"], &key[..]].concat(),
        );
        openssl(&[&["req", "-keyout", "key", "-out", "request"], &key[..]].concat());
        fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1\n").expect("the certificate's names");
        let sign =
            ["x509", "-req", "-in", "request", "-CA", "ca/ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
        openssl(&[&sign[..], &["-days", "2", "-extfile", "names", "-out", "certificate"]].concat());
        Self { dir }
    }

    /// The directory that `--cert-dir` takes.
    fn of_the_ca(&self) -> PathBuf {
        self.dir.join("ca")
    }

    fn files(&self) -> (PathBuf, PathBuf) {
        (self.dir.join("certificate"), self.dir.join("key"))
    }
}

/// Logs in as `skopeo login` does; the file with the credentials.
fn login(host: &Host, registry: &Registry, certificates: &Path) -> PathBuf {
    let file = host.path("auth.json");
    Run::new("skopeo", ["login", "--password-stdin", "--username", USER, "--cert-dir", path(certificates)])
        .args(["--authfile", path(&file), &registry.called()])
        .stdin(PASSWORD)
        .ok();
    file
}

#[test]
fn a_registry_with_a_certificate_of_its_own_and_a_password_is_pushed_to_and_pulled_from() {
    let (one, two) = (host(), Host::bare());
    let certificate = Certificate::new(one.path("certificates"));
    let (public, private) = certificate.files();
    fs::write(one.path("htpasswd"), HTPASSWD).expect("a password");
    let file = one.path("htpasswd");
    let asks = Asks { tls: Some((&public, &private)), login: Some(&file) };
    let registry = Registry::start_that(one.path("registry"), &asks);
    let (name, ca) = (registry.name("busybox:1"), certificate.of_the_ca());
    let push = |more: &[&str]| tool(&one, &[&["push", "busybox", &name], more].concat());
    let pull = |more: &[&str]| tool(&two, &[&["pull", &name], more].concat());
    let known = ["--cert-dir", path(&ca)];

    for (said, what) in [
        (push(&[]).output().refused(1), format!("cannot push busybox to {name}")),
        (pull(&[]).output().refused(1), format!("cannot pull {name}")),
    ] {
        assert!(said.contains(&what) && said.contains("certificate signed by unknown authority"), "{said}");
        assert!(
            said.contains("/etc/containers/certs.d/REGISTRY/ca.crt") && said.contains("--cert-dir"),
            "{said}"
        );
    }
    let asked = format!("registry {} asks for a name and a password", registry.called());
    for said in [push(&known).output().refused(1), pull(&known).output().refused(1)] {
        assert!(said.contains(&asked), "{said}");
        assert!(said.contains(&format!("skopeo login {}", registry.called())), "{said}");
    }
    let right = login(&one, &registry, &ca);
    let wrong = one.path("wrong.json");
    let credentials = fs::read_to_string(&right).expect("credentials");
    // `ann:secret` and `ann:wrong`.
    fs::write(&wrong, credentials.replace("YW5uOnNlY3JldA==", "YW5uOndyb25n")).expect("wrong ones");
    let refused = format!("registry {} refuses user \"{USER}\", or the password", registry.called());
    for run in [&push as &dyn Fn(&[&str]) -> Run, &pull] {
        let said = run(&[&known[..], &["--authfile", path(&wrong)]].concat()).output().refused(1);
        assert!(said.contains(&refused), "{said}");
        let remedy = format!("skopeo login --authfile {} {}", wrong.display(), registry.called());
        assert!(said.contains(&remedy), "{said}");
        assert!(!said.contains("wrong\"") && !said.contains("YW5u"), "it tells the password: {said}");
    }
    let said = push(&["--authfile", "/nonexistent", "--cert-dir", path(&ca)]).output().refused(1);
    assert!(said.contains("--authfile: cannot read") && said.contains("skopeo login"), "{said}");
    let said = push(&["--cert-dir", path(&right)]).output().refused(1);
    assert!(said.contains("--cert-dir: cannot read") && said.contains("ca.crt"), "{said}");

    let all = [&known[..], &["--authfile", path(&right)]].concat();
    push(&all).ok();
    assert_eq!(digest(&pull(&all).ok().json()), one.digest("busybox"));
    // A certificate that is not looked at needs none that is known.
    pull(&["--insecure", "--authfile", path(&right)]).ok();
}

#[test]
fn a_certificate_for_another_name_is_told_as_that() {
    let one = host();
    let certificate = Certificate::new(one.path("certificates"));
    let (public, private) = certificate.files();
    let asks = Asks { tls: Some((&public, &private)), login: None };
    let registry = Registry::start_that(one.path("registry"), &asks);
    let name = format!("localhost:{}/busybox:1", registry.port);
    let ca = certificate.of_the_ca();
    let said = tool(&one, &["push", "busybox", &name, "--cert-dir", path(&ca)]).output().refused(1);
    assert!(said.contains("x509: certificate is"), "{said}");
    assert!(said.contains("use the registry's name as its certificate has it"), "{said}");
}
