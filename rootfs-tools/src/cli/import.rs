//! `rootfsctl import` and `rootfsctl publish`.

use std::path::{Path, PathBuf};

use rootfs_tools::{
    Outcome,
    first_boot::Origin,
    import::{self, IdMap, IdRange, Options},
    lint::{self, Severity},
    progress::Progress,
    staging::Staging,
};
use tenant::model::recipe::Recipe;

use super::{
    build::{self, Source, Target},
    context::{Context, Failure, Refusal},
    named, pull,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The archive or directory.
    #[arg(required_unless_present_any = ["oci", "docker_archive"])]
    from: Option<PathBuf>,
    /// Import an image of an OCI image layout.
    #[arg(long, value_name = "DIR[:TAG]", conflicts_with_all = ["from", "strip_prefix", "idmap"])]
    oci: Option<PathBuf>,
    /// Import an image of what docker save or podman save wrote.
    #[arg(long, value_name = "FILE[:NAME]", conflicts_with_all = ["from", "oci", "strip_prefix", "idmap"])]
    docker_archive: Option<PathBuf>,
    /// Do not tune it; only remove what tenants must not share.
    #[arg(long)]
    stock: bool,
    /// Directory in it that is the root filesystem, e.g. rootfs; `.` imports everything without looking for one.
    #[arg(long, value_name = "DIR")]
    strip_prefix: Option<PathBuf>,
    /// Map owners on disk to ids inside, as the container's lxc.idmap does: KIND:INSIDE:ON-DISK:COUNT, e.g.
    /// b:0:100000:65536; KIND is u (users), g (groups) or b (both). May be repeated.
    #[arg(long, value_name = "RANGE")]
    idmap: Vec<IdRange>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    /// The directory.
    from: PathBuf,
    /// Publish it even if a rule finds an error.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: Target,
}

impl Args {
    fn options(&self) -> Result<Options, Failure> {
        let invalid = |error: String| Refusal { message: error, help: None, outcome: Outcome::Failed };
        let idmap = IdMap::new(self.idmap.clone()).map_err(|e| invalid(format!("{e}: --idmap")))?;
        let options = Options { idmap, ..Options::default() };
        match &self.strip_prefix {
            None => Ok(options),
            Some(prefix) => {
                let refused = |reason| invalid(format!("--strip-prefix {prefix:?} {reason}")).into();
                options.with_prefix(prefix).map_err(refused)
            }
        }
    }
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    if let Some(layout) = args.oci {
        return pull::import_layout(context, &layout, &args.target, args.stock);
    }
    if let Some(archive) = args.docker_archive {
        return pull::import_archive(context, &archive, &args.target, args.stock);
    }
    let from = args.from.as_deref().unwrap_or(Path::new("."));
    let image = named::image_name(from, &args.target)?;
    let progress = Progress::stderr();
    let make = || -> Result<build::Built, Failure> {
        let options = args.options()?;
        let staging = Staging::new(&context.layout)?;
        let report = import::import(from, &staging.tree(), &options, &progress)?;
        let source = Source {
            line: format!("import {}", named::file_name(from)),
            sets: Vec::new(),
            origin: Origin::System,
            tune: !args.stock,
            recipe: Recipe::Import { from: named::file_name(from) },
            app: None,
        };
        let mut built = build::finish(context, &staging, &args.target, image.clone(), source, &progress)?;
        built.left_out = Some(report);
        Ok(built)
    };
    let built = make();
    progress.finish();
    build::report(context, &built.map_err(|e| e.context(format!("cannot import {from:?}")))?)
}

pub(crate) fn publish(context: &Context, args: PublishArgs) -> Result<(), Failure> {
    let image = named::image_name(&args.from, &args.target)?;
    let progress = Progress::stderr();
    let make = || -> Result<rootfs_tools::publish::Published, Failure> {
        let staging = Staging::new(&context.layout)?;
        if !args.from.is_dir() {
            return Err(Refusal {
                message: format!("{:?} is not a directory", args.from),
                help: Some("import archives with rootfsctl import".to_owned()),
                outcome: if args.from.exists() { Outcome::Refused } else { Outcome::NotFound },
            }
            .into());
        }
        import::copy(&args.from, &staging.tree(), &progress)?;
        if !args.force {
            import::recognize(&args.from, &staging.tree(), false)?;
        }
        let findings = lint::check(&lint::open(&staging.tree())?);
        if let Some(error) = findings.iter().find(|f| f.severity == Severity::Error).filter(|_| !args.force) {
            return Err(Refusal {
                message: format!("{:?}: {}", error.object, error.what),
                help: Some(
                    "rootfsctl import fixes it, rootfsctl lint shows all findings, --force publishes it as it is"
                        .to_owned(),
                ),
                outcome: Outcome::Refused,
            }
            .into());
        }
        let file = named::file_name(&args.from);
        build::publish_as_is(context, &staging, &args.target, image.clone(), &file, &progress)
    };
    let published = make();
    progress.finish();
    let published = published.map_err(|e| e.context(format!("cannot publish {:?}", args.from)))?;
    build::report_published(context, &published)
}
