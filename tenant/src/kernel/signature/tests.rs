use std::process::Command;

use super::*;

/// A host with one version that is signed, and keys of which the first is trusted.
struct Trial {
    dir: tempfile::TempDir,
    layout: Layout,
    image: ImageName,
    digest: Digest,
    text: String,
}

fn text(image: &str, digest: u8, created: &str) -> String {
    let digest = Digest::from_bytes([digest; 32]);
    format!(
        "format_version = 1\nimage = {image:?}\ndigest = \"{digest}\"\nformat = \"tree\"\ncreated = {created:?}\n\
         os = \"x\"\narch = \"x86_64\"\nsource = \"test\"\ntuned = true\nsize_bytes = 1\nfiles = 1\ntop = []\n\
         [boot]\ninit = [\"/sbin/init\"]\nstop_signal = \"SIGTERM\"\nready = \"exec\"\n"
    )
}

impl Trial {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for key in ["trusted", "other"] {
            let made = Command::new(PROGRAM)
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", key])
                .current_dir(dir.path())
                .status();
            assert!(made.unwrap().success());
        }
        let layout = Layout::new(dir.path().join("root"));
        let (image, digest) = ("debian".parse().unwrap(), Digest::from_bytes([7; 32]));
        fs::create_dir_all(layout.version(&image, &digest)).unwrap();
        let trial = Self { dir, layout, image, digest, text: text("debian", 7, "2026-11-28T10:00:00Z") };
        fs::create_dir_all(trial.layout.keys()).unwrap();
        let public = trial.dir.path().join("trusted.pub");
        fs::copy(public, trial.layout.keys().join("me.pub")).unwrap();
        trial
    }

    /// Signs the present text.
    fn sign(&self, key: &str, namespace: &str) {
        let file = self.dir.path().join("text");
        fs::write(&file, &self.text).unwrap();
        let _ = fs::remove_file(file.with_extension("sig"));
        let signed = Command::new(PROGRAM)
            .args(["-q", "-Y", "sign", "-n", namespace, "-f", key, "text"])
            .current_dir(self.dir.path())
            .output();
        assert!(signed.unwrap().status.success());
        fs::copy(file.with_extension("sig"), self.layout.signature(&self.image, &self.digest)).unwrap();
    }

    fn with<T>(&self, check: impl FnOnce(Version<'_>) -> T) -> T {
        let manifest = Manifest::parse(&self.text).unwrap();
        let Self { layout, image, digest, text, .. } = self;
        check(Version { layout, image, digest, text, manifest: &manifest })
    }

    fn check(&self) -> Result<(), String> {
        self.with(|version| version.check()).map_err(|error| error.to_string())
    }
}

fn says(result: Result<(), String>, words: &str) {
    let error = result.unwrap_err();
    assert!(error.contains(words), "{error}");
}

#[test]
fn only_what_a_trusted_key_has_signed_is_trusted() {
    let mut trial = Trial::new();
    says(trial.check(), "is not signed");
    trial.sign("trusted", NAMESPACE);
    trial.check().unwrap();
    trial.sign("other", NAMESPACE);
    says(trial.check(), "a key that this host does not trust: SHA256:");
    trial.sign("trusted", "git");
    says(trial.check(), "does not match its manifest");
    trial.sign("trusted", NAMESPACE);
    trial.text = trial.text.replace("/sbin/init", "/sbin/evil");
    says(trial.check(), "does not match its manifest");
    fs::write(trial.layout.signature(&trial.image, &trial.digest), "no signature").unwrap();
    says(trial.check(), "does not match its manifest");
}

#[test]
fn a_signed_manifest_counts_only_where_it_belongs() {
    let mut trial = Trial::new();
    for (image, digest) in [("other", 7), ("debian", 8)] {
        trial.text = text(image, digest, "2026-11-28T10:00:00Z");
        trial.sign("trusted", NAMESPACE);
        says(trial.check(), &format!("of image {image:?}"));
    }
}

#[test]
fn what_was_verified_is_verified_again_when_the_keys_change() {
    let trial = Trial::new();
    trial.sign("trusted", NAMESPACE);
    trial.check().unwrap();
    let marks = || fs::read_dir(trial.layout.signed_run()).unwrap().count();
    assert_eq!(marks(), 1, "one mark, and no other file stays");
    trial.check().unwrap();
    assert_eq!(marks(), 1);
    let key = trial.layout.keys().join("me.pub");
    fs::copy(trial.dir.path().join("other.pub"), &key).unwrap();
    says(trial.check(), "does not trust");
    fs::write(&key, "").unwrap();
    says(trial.check(), "contains no public key");
}

#[test]
fn a_key_file_brings_nothing_but_keys() {
    let good = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@here";
    assert_eq!(key(good).unwrap(), "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA");
    for bad in [
        "ssh-rsa AAAAB3NzaC1yc2EAAA",
        "* ssh-ed25519 AAAA",
        "cert-authority ssh-ed25519 AAAA",
        "ssh-ed25519",
        "ssh-ed25519 AAAA\"x",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ] {
        assert!(key(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_channel_never_leads_back_unless_told() {
    let mut trial = Trial::new();
    let stable = ChannelName::stable();
    let back = |trial: &Trial| trial.with(|version| version.never_back(&stable));
    back(&trial).unwrap();
    back(&trial).unwrap();
    trial.digest = Digest::from_bytes([6; 32]);
    trial.text = text("debian", 6, "2026-11-27T10:00:00Z");
    let error = back(&trial).unwrap_err();
    assert!(matches!(error, SignatureError::Older { .. }), "{error}");
    assert!(error.to_string().contains("is older than version 070707070707 (2026-11-28"), "{error}");
    // Another channel has not had a newer one.
    trial.with(|version| version.never_back(&"candidate".parse().unwrap())).unwrap();
    trial.with(|version| version.note_newest(&stable)).unwrap();
    back(&trial).unwrap();
}
