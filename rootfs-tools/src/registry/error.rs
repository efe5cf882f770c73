//! Why an image cannot be sent or taken.

use std::path::PathBuf;

use tenant::{
    files::file_error::FileError,
    model::{ids::Digest, image::ManifestError},
};

use crate::{
    explain::{Explain, Outcome},
    import::ImportError,
    tool::ToolError,
    tree::TreeError,
};

/// Why an image cannot be sent or taken.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A directory that is no OCI image layout.
    #[error("{0:?} is not an OCI image layout: it has no index.json")]
    NoLayout(PathBuf),
    /// A JSON document that cannot be understood.
    #[error("cannot read the {what} {name}")]
    Json {
        /// What it should be.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Something of it makes no sense.
    #[error("the image is malformed: {0}")]
    Malformed(String),
    /// The version's manifest that it brings cannot be used.
    #[error("its label {label}")]
    Manifest {
        /// The label.
        label: &'static str,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// No image of that tag, or more than one image.
    #[error("{}", tags(.wanted.as_deref(), .found))]
    Tag {
        /// The tag that was asked for.
        wanted: Option<String>,
        /// The tags that there are.
        found: Vec<String>,
    },
    /// No image for this machine.
    #[error("it has no image for this machine ({0})")]
    Architecture(String),
    /// A part is missing.
    #[error("blob {0} is missing")]
    NoBlob(Digest),
    /// A part is not what it should be.
    #[error("blob {digest} is damaged: {why}")]
    Blob {
        /// Its name, which is the digest that it should have.
        digest: Digest,
        /// In which way.
        why: &'static str,
    },
    /// A file of a version that a layer cannot contain.
    #[error("cannot put {path:?} into a layer: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// The name of a registry's image cannot be used.
    #[error("{text:?} is not the name of an image in a registry: {reason}")]
    Place {
        /// The name.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// skopeo(1) failed.
    #[error("{said}")]
    Skopeo {
        /// What it said last.
        said: String,
    },
    /// A registry lets nobody in, or not this user.
    #[error("{}", refusal(registry, user.as_deref(), said))]
    Login {
        /// The registry.
        registry: String,
        /// The user that there are credentials of.
        user: Option<String>,
        /// The file with the credentials, if one was named.
        authfile: Option<PathBuf>,
        /// What skopeo(1) said.
        said: String,
    },
    /// What an option names cannot be used.
    #[error("{option}: {file}", file = tenant::cause::chain(file))]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with what it names.
        file: FileError,
    },
    /// skopeo(1) is not there.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file cannot be read, written or made.
    #[error(transparent)]
    Io(#[from] FileError),
}

fn tags(wanted: Option<&str>, found: &[String]) -> String {
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    match wanted {
        Some(wanted) => format!("it contains no image {wanted:?} (tags: {found})"),
        None => format!("it contains not one image but several (tags: {found})"),
    }
}

fn refusal(registry: &str, user: Option<&str>, said: &str) -> String {
    match user {
        Some(user) => format!("registry {registry} refuses user {user:?}, or the password: {said}"),
        None => format!("registry {registry} asks for a name and a password: {said}"),
    }
}

/// What skopeo(1) says when something is wrong, and the remedy.
const SAYINGS: &[(&str, &str)] = &[
    (
        "server gave HTTP response to HTTPS client",
        "if the registry is meant to be without encryption: --insecure",
    ),
    (
        "x509: certificate has expired",
        "have the registry's certificate renewed, and check the clock of this host",
    ),
    ("x509: certificate is ", "use the registry's name as its certificate has it"),
    (
        "x509: certificate relies on legacy",
        "have the registry's certificate made again, with a subjectAltName",
    ),
    ("x509: cannot validate certificate", "use the registry's name as its certificate has it"),
    (
        "x509:",
        "if you trust the registry, put the certificate of its CA into /etc/containers/certs.d/REGISTRY/ca.crt, or into the directory of --cert-dir DIR",
    ),
    (
        "getting username and password",
        "make the file with the credentials again: skopeo login --authfile FILE REGISTRY",
    ),
    ("connection refused", "check that the registry is running at this address and port"),
    ("no such host", "check the name of the registry"),
    ("unexpected EOF", "the connection broke; try again: what has arrived whole is kept"),
    ("connection reset", "the connection broke; try again: what has arrived whole is kept"),
    ("i/o timeout", "check that this host can reach the registry"),
    ("manifest unknown", "check name and tag: skopeo list-tags docker://REGISTRY/NAME"),
    ("name unknown", "check name and tag: skopeo list-tags docker://REGISTRY/NAME"),
    ("no image found in manifest list", "pull an image that was made for this architecture"),
    ("igest did not match", "the registry's copy is damaged: push it again"),
    ("no space left on device", "free some space: what was fetched so far is in /var/cache/tenantry/oci"),
    ("policy", "this host's policy refuses it, see containers-policy.json(5)"),
];

impl Explain for RegistryError {
    fn help(&self) -> Option<String> {
        let text = match self {
            Self::NoLayout(_) => "make one with: skopeo copy docker://REGISTRY/NAME:TAG oci:DIR:TAG",
            Self::Json { .. } | Self::Malformed(_) => "get it again from where it came from",
            Self::Manifest { source, .. } => source.help().unwrap_or("get it again from where it came from"),
            Self::Tag { wanted: Some(_), .. } => "name one of these tags",
            Self::Tag { wanted: None, .. } => "name one of them: DIR:TAG",
            Self::Architecture(_) => "pull an image that was made for this architecture",
            Self::NoBlob(_) | Self::Blob { .. } => {
                "try again: it is fetched once more; if that does not help, push it again"
            }
            Self::File { .. } => "remove the file from the source of the image and build it again",
            Self::Place { .. } => "write REGISTRY/NAME:TAG, e.g. registry.example.org/images/debian:1",
            Self::Skopeo { said } => {
                return SAYINGS
                    .iter()
                    .find(|(word, _)| said.contains(word))
                    .map(|(_, help)| (*help).to_owned());
            }
            Self::Login { registry, authfile, .. } => {
                let file = authfile.as_ref().map(|file| format!("--authfile {} ", file.display()));
                return Some(format!("log in: skopeo login {}{registry}", file.unwrap_or_default()));
            }
            Self::Option { option: "--authfile", .. } => "make it: skopeo login --authfile FILE REGISTRY",
            Self::Option { .. } => "name a directory with the certificate of the registry's CA, ca.crt",
            Self::Tool(error) => return error.help(),
            Self::Import(error) => return error.help(),
            Self::Tree(_) | Self::Io(_) => return None,
        };
        Some(text.to_owned())
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Import(error) => error.outcome(),
            Self::NoLayout(_) | Self::Tag { .. } => Outcome::NotFound,
            Self::Skopeo { said }
                if ["manifest unknown", "name unknown"].iter().any(|word| said.contains(word)) =>
            {
                Outcome::NotFound
            }
            Self::Blob { .. } | Self::File { .. } => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }
}
