//! skopeo(1): it speaks with registries, and knows the credentials.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use tenant::files::file_error::FileError;

use super::error::RegistryError;
use crate::{
    progress::Progress,
    tool::{SKOPEO, ToolError},
};

/// Transports of containers-transports(5) that are taken as they are written.
const TRANSPORTS: [&str; 4] = ["docker://", "oci:", "oci-archive:", "docker-archive:"];

/// Where an image is outside of this host's store: `REGISTRY/NAME:TAG`, or a transport and what it takes, such as
/// `oci:DIR:TAG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

impl FromStr for Place {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let refuse = |reason| Err(RegistryError::Place { text: text.chars().take(200).collect(), reason });
        if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("it is empty or contains a space");
        }
        if TRANSPORTS.iter().any(|transport| text.starts_with(transport)) {
            return Ok(Self(text.to_owned()));
        }
        let Some((registry, name)) = text.split_once('/') else {
            return refuse("it has no registry: docker.io/library/NAME is an image of Docker Hub");
        };
        let is_registry = registry.contains(['.', ':']) || registry == "localhost";
        if !is_registry || registry.starts_with('-') {
            return refuse("what is before the first / is no registry: it has neither a dot nor a port");
        }
        if name.is_empty() || name.ends_with('/') {
            return refuse("it has no name");
        }
        Ok(Self(format!("docker://{text}")))
    }
}

impl Place {
    /// The last part of its name, without a tag.
    pub fn called(&self) -> &str {
        let name = self.0.rsplit(['/']).next().unwrap_or_default();
        name.split([':', '@']).next().unwrap_or_default()
    }

    /// Its name in a registry, without a tag; none for files.
    pub fn repository(&self) -> Option<&str> {
        let whole = self.0.strip_prefix("docker://")?;
        // Behind the last slash, as a registry may have a port.
        let name = whole.rfind('/').map_or(0, |at| at + 1);
        let end = whole[name..].find([':', '@']).map_or(whole.len(), |at| name + at);
        Some(&whole[..end])
    }

    /// The registry, as `skopeo login` takes it; none for files.
    pub fn registry(&self) -> Option<&str> {
        self.repository()?.split('/').next()
    }

    /// A file or directory by a transport, with a tag.
    pub fn local(transport: &str, path: &Path, tag: Option<&str>) -> Self {
        let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
        Self(format!("{transport}:{}{tag}", path.display()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.strip_prefix("docker://").unwrap_or(&self.0))
    }
}

/// How an image is carried.
#[derive(Clone, Debug, Default)]
pub struct Transfer {
    /// Whether a registry may be without encryption, or have a certificate that is not known.
    pub insecure: bool,
    /// The file with credentials, see containers-auth.json(5).
    pub authfile: Option<PathBuf>,
    /// Directory of certificates for the registry, see containers-certs.d(5).
    pub cert_dir: Option<PathBuf>,
    /// Directory of blobs for an `oci:` destination; those that are there are not fetched.
    pub shared_blobs: Option<PathBuf>,
    /// Directory for large temporary files.
    pub scratch: Option<PathBuf>,
}

/// Copies an image.
///
/// # Errors
/// [`RegistryError::Skopeo`], [`RegistryError::Login`], [`RegistryError::Option`], or it is not installed.
pub fn copy(from: &Place, to: &Place, how: &Transfer, progress: &Progress) -> Result<(), RegistryError> {
    // skopeo says of neither that it is not there.
    let options = [("--authfile", &how.authfile, false), ("--cert-dir", &how.cert_dir, true)];
    for (option, path, is_dir) in options {
        let Some(path) = path else { continue };
        let source = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() == is_dir => continue,
            Ok(_) if is_dir => io::ErrorKind::NotADirectory.into(),
            Ok(_) => io::ErrorKind::IsADirectory.into(),
            Err(error) => error,
        };
        return Err(RegistryError::Option { option, file: FileError::new("read", path, source) });
    }
    let mut args: Vec<String> = Vec::new();
    if let Some(dir) = &how.scratch {
        args.push(format!("--tmpdir={}", dir.display()));
    }
    args.push("copy".to_owned());
    if how.insecure {
        args.extend(["--src-tls-verify=false", "--dest-tls-verify=false"].map(str::to_owned));
    }
    if let Some(file) = &how.authfile {
        args.push(format!("--authfile={}", file.display()));
    }
    if let Some(dir) = &how.cert_dir {
        args.extend(
            ["--src-cert-dir", "--dest-cert-dir"].map(|option| format!("{option}={}", dir.display())),
        );
    }
    if let Some(dir) = &how.shared_blobs {
        args.push(format!("--dest-shared-blob-dir={}", dir.display()));
    }
    args.extend([from.0.clone(), to.0.clone()]);
    match SKOPEO.run(&args, |line| progress.step(line)) {
        Ok(()) => Ok(()),
        Err(ToolError::Failed { output, .. }) => {
            let said = said(&output);
            let registry = [from, to].into_iter().find_map(Place::registry);
            match registry.filter(|_| REFUSALS.iter().any(|word| said.contains(word))) {
                Some(registry) => Err(RegistryError::Login {
                    registry: registry.to_owned(),
                    user: user(registry, how.authfile.as_deref()),
                    authfile: how.authfile.clone(),
                    said,
                }),
                None => Err(RegistryError::Skopeo { said }),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// What skopeo(1) says when a registry wants a name and a password, or others.
const REFUSALS: [&str; 3] = ["unauthorized", "authentication required", "denied"];

/// The user that skopeo(1) has logged in to a registry with.
fn user(registry: &str, authfile: Option<&Path>) -> Option<String> {
    let mut args = vec!["login".to_owned(), "--get-login".to_owned()];
    args.extend(authfile.map(|file| format!("--authfile={}", file.display())));
    args.push(registry.to_owned());
    let mut user = None;
    SKOPEO.run(&args, |line| user = Some(line.chars().take(64).collect())).ok()?;
    user
}

/// What it gives as the reason: `time="…" level=fatal msg="…"`.
fn said(output: &[String]) -> String {
    let fatal = output.iter().rev().find(|line| line.contains("level=fatal"));
    let text = fatal.and_then(|line| line.split_once("msg=\"")).map(|(_, text)| text.trim_end_matches('"'));
    let text = text.map(|text| text.replace("\\\"", "\""));
    text.or_else(|| output.last().cloned()).unwrap_or_else(|| "skopeo gives no reason".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_registry_and_a_name() {
        for (text, whole) in [
            ("127.0.0.1:5000/debian:1", "docker://127.0.0.1:5000/debian:1"),
            ("localhost/x", "docker://localhost/x"),
            ("registry.example.org/a/b@sha256:00", "docker://registry.example.org/a/b@sha256:00"),
            ("oci:/media/usb:1", "oci:/media/usb:1"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().0, whole);
        }
        for (text, repository) in [
            ("127.0.0.1:5000/debian:1", Some("127.0.0.1:5000/debian")),
            ("registry.example.org/a/b@sha256:00", Some("registry.example.org/a/b")),
            ("localhost/x", Some("localhost/x")),
            ("oci:/media/usb:1", None),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().repository(), repository);
        }
        for bad in ["", "debian", "debian:1", "library/debian", "a b/c", "--x.y/z", "registry.org/", "x.y/\n"]
        {
            assert!(bad.parse::<Place>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_reason_is_what_skopeo_says_last() {
        let lines = [
            "Getting image source signatures".to_owned(),
            "time=\"2026-11-28T16:00:00Z\" level=fatal msg=\"reading manifest \\\"1\\\": manifest unknown\""
                .to_owned(),
        ];
        assert_eq!(said(&lines), "reading manifest \"1\": manifest unknown");
        assert_eq!(said(&["it failed".to_owned()]), "it failed");
    }
}
