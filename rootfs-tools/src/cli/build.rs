//! `rootfsctl build`.

use std::path::Path;

use clap::{
    Args, Subcommand, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use rootfs_tools::{
    Outcome, busybox,
    debian::{self, RootPassword},
    first_boot::{self, Origin},
    import::Report,
    lint::{self, Finding, Severity},
    progress::Progress,
    publish::{self, Published, Request},
    recipe,
    rootdir::RootDir,
    sets::{self, PackageSet},
    staging::Staging,
    tuning,
};
use serde::Serialize;
use tenant::model::{
    image::{App, ChannelName, ImageFormat, ImageName},
    recipe::Recipe,
};

use super::context::{Context, Failure, Refusal, bytes, printable};

#[derive(Debug, Subcommand)]
pub(crate) enum Build {
    /// A small Debian server: systemd, D-Bus, sshd, apt.
    Debian(DebianArgs),
    /// One static program that boots in milliseconds, made offline.
    Busybox(Target),
}

/// Options of every command that publishes.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Name of the image [default: the kind that is built, or the file name].
    #[arg(long, value_name = "IMAGE")]
    pub(crate) name: Option<ImageName>,
    /// Channel to point at the new version.
    #[arg(long, default_value = "stable")]
    pub(crate) channel: ChannelName,
    /// Storage format of the version.
    #[arg(long, value_enum, default_value_t = Format::Tree)]
    pub(crate) format: Format,
    /// Verify every block when it is read: a damaged block is an I/O error, never wrong data.
    #[arg(long)]
    pub(crate) verity: bool,
}

/// Storage format of a version.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// A directory.
    Tree,
    /// One read-only erofs file, mounted once for all tenants.
    Erofs,
}

#[derive(Debug, Args)]
pub(crate) struct DebianArgs {
    /// Debian release.
    #[arg(long, default_value = "bookworm")]
    suite: String,
    /// A set of packages besides those that every image has; may be repeated.
    #[arg(long, value_delimiter = ',', value_name = "SET", value_parser = set_parser())]
    with: Vec<&'static PackageSet>,
    /// More packages, separated by commas.
    #[arg(long, alias = "packages", value_delimiter = ',', value_name = "PACKAGE,…")]
    include: Vec<String>,
    /// A mirror: a URI, a `deb …` line or a sources file [default: this host's].
    #[arg(long, value_name = "MIRROR")]
    mirror: Vec<String>,
    /// Leave the image as the packages create it: no tuning, and the ssh host keys of the build.
    #[arg(long)]
    stock: bool,
    /// Set root's password to a crypt(5) hash [default: no password on a tty, and sshd requires a key].
    #[arg(long, value_name = "HASH", conflicts_with = "lock_root")]
    root_password_hash: Option<String>,
    /// Disable root's password: sshd with a key is the only login.
    #[arg(long)]
    lock_root: bool,
    /// Download all packages again instead of reusing a build of the last 24 hours.
    #[arg(long)]
    fresh: bool,
    /// Only say what would be asked for; nothing is fetched.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

/// Takes the name of a set; the help lists all of them with their packages.
fn set_parser() -> impl TypedValueParser<Value = &'static PackageSet> {
    let values = sets::SETS
        .iter()
        .map(|set| PossibleValue::new(set.name).help(format!("{}: {}", set.purpose, set.packages.join(" "))));
    PossibleValuesParser::new(values).map(|name| sets::find(&name).expect("it is one of them"))
}

/// What a build would ask for.
#[derive(Debug, Serialize)]
struct Wanted {
    image: ImageName,
    suite: String,
    sets: Vec<String>,
    packages: Vec<String>,
}

/// The result of a build or import.
#[derive(Debug, Serialize)]
pub(crate) struct Built {
    #[serde(flatten)]
    published: Published,
    /// What an import skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<Report>,
    /// What of the image's configuration does not hold for tenants, and the like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    /// What was fixed on the way.
    fixed: usize,
    /// Ids of the tuning rows that changed something.
    tuned: Vec<&'static str>,
    /// What the rules still find.
    findings: Vec<Finding>,
}

pub(crate) fn run(context: &Context, build: Build) -> Result<(), Failure> {
    let (target, default, tune) = match &build {
        Build::Debian(args) => (&args.target, "debian", !args.stock),
        Build::Busybox(target) => (target, "busybox", true),
    };
    let image = target.name.clone().unwrap_or_else(|| default.parse().expect("the default is a valid name"));
    let refused = |failure: Failure| failure.context(format!("cannot build image \"{image}\""));
    if let Build::Debian(args) = &build
        && args.dry_run
    {
        return args.tell(context, image.clone()).map_err(refused);
    }
    let progress = Progress::stderr();
    let make = || -> Result<Built, Failure> {
        let staging = Staging::new(&context.layout)?;
        let line = match &build {
            Build::Debian(args) => debian::build(&context.layout, &staging, &args.options(), &progress)?,
            Build::Busybox(_) => busybox::build(&staging.tree())?,
        };
        let recipe = build.recipe(tune);
        let source = Source { line, sets: build.sets(), origin: Origin::Packages, tune, recipe, app: None };
        finish(context, &staging, target, image.clone(), source, &progress)
    };
    let built = make();
    progress.finish();
    report(context, &built.map_err(refused)?)
}

impl Build {
    /// How the version is made, for its manifest.
    fn recipe(&self, tune: bool) -> Recipe {
        match self {
            Self::Debian(args) => recipe::of_debian(&args.options(), tune),
            Self::Busybox(_) => Recipe::Busybox {},
        }
    }

    /// The sets of packages that were asked for.
    fn sets(&self) -> Vec<String> {
        match self {
            Self::Debian(args) => sets::names(&args.with),
            Self::Busybox(_) => Vec::new(),
        }
    }
}

impl Target {
    fn request(&self, image: ImageName, source: &Source) -> Request {
        let format = match self.format {
            Format::Tree => ImageFormat::Tree,
            Format::Erofs => ImageFormat::Erofs,
        };
        Request {
            sets: source.sets.clone(),
            tuned: source.tune,
            verity: self.verity,
            app: source.app.clone(),
            recipe: Some(source.recipe.clone()),
            ..Request::new(image, self.channel.clone(), format, source.line.clone())
        }
    }
}

impl DebianArgs {
    /// Prints what would be asked for.
    fn tell(&self, context: &Context, image: ImageName) -> Result<(), Failure> {
        debian::check(&self.options())?;
        let (sets, packages) = (sets::names(&self.with), sets::packages(&self.with, &self.include));
        let wanted = Wanted { image, suite: self.suite.clone(), sets, packages };
        context.print(&wanted, || {
            let sets = if wanted.sets.is_empty() { "-".to_owned() } else { wanted.sets.join(" ") };
            format!(
                "image     {}\nsuite     {}\nsets      {sets}\npackages  {}\n",
                wanted.image,
                wanted.suite,
                wanted.packages.join(" ")
            )
        })
    }

    fn options(&self) -> debian::Options {
        let root_password = match (&self.root_password_hash, self.lock_root) {
            (Some(hash), _) => RootPassword::Hash(hash.clone()),
            (None, true) => RootPassword::Locked,
            (None, false) => RootPassword::Empty,
        };
        debian::Options {
            suite: self.suite.clone(),
            sets: self.with.clone(),
            include: self.include.clone(),
            mirrors: self.mirror.clone(),
            root_password,
            fresh: self.fresh,
        }
    }
}

/// What is known of a staged tree.
pub(crate) struct Source {
    /// One line for the manifest.
    pub(crate) line: String,
    /// The sets of packages it was built with.
    pub(crate) sets: Vec<String>,
    pub(crate) origin: Origin,
    /// Whether it is to be tuned.
    pub(crate) tune: bool,
    /// How it was made.
    pub(crate) recipe: Recipe,
    /// What it runs if it has a program instead of an init.
    pub(crate) app: Option<App>,
}

/// What was done to a staged tree.
#[derive(Debug)]
pub(super) struct Prepared {
    fixed: usize,
    tuned: Vec<&'static str>,
    findings: Vec<Finding>,
}

impl Prepared {
    /// The result with what was published.
    pub(super) fn built(self, published: Published) -> Built {
        let Self { fixed, tuned, findings } = self;
        Built { published, left_out: None, notes: Vec::new(), fixed, tuned, findings }
    }
}

impl Built {
    /// What was published as it came.
    pub(crate) fn untouched(published: Published, left_out: Report, notes: Vec<String>) -> Self {
        let (tuned, findings) = (Vec::new(), Vec::new());
        Self { published, left_out: Some(left_out), notes, fixed: 0, tuned, findings }
    }
}

/// Fixes the staged tree, tunes it and publishes it.
pub(crate) fn finish(
    context: &Context,
    staging: &Staging,
    target: &Target,
    image: ImageName,
    source: Source,
    progress: &Progress,
) -> Result<Built, Failure> {
    let prepared = prepare(staging, source.origin, source.tune, progress)?;
    let request = target.request(image, &source);
    let published = publish::publish(&context.layout, staging, &request, progress)?;
    Ok(prepared.built(published))
}

/// Fixes the staged tree and tunes it.
pub(super) fn prepare(
    staging: &Staging,
    origin: Origin,
    tune: bool,
    progress: &Progress,
) -> Result<Prepared, Failure> {
    let tree = staging.tree();
    progress.step("applying the rules and the tuning");
    // An untuned image has no first-boot steps either, which would make new keys.
    let kept = first_boot::kept(origin, tune);
    let fixed = lint::fix(&tree, &kept)?.len();
    let tuned = if tune { tuning::apply(&open(&tree)?)? } else { Vec::new() };
    let mut findings = lint::check(&lint::open(&tree)?);
    for finding in findings.iter_mut().filter(|finding| kept.contains(&finding.rule)) {
        finding.severity = Severity::Warning;
    }
    refuse_errors(&findings)?;
    Ok(Prepared { fixed, tuned, findings })
}

/// A tree with errors that could not be fixed is not published.
fn refuse_errors(findings: &[Finding]) -> Result<(), Failure> {
    let mut errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let Some(first) = errors.next() else { return Ok(()) };
    let more = match errors.count() {
        0 => String::new(),
        more => format!(" (and {more} more errors)"),
    };
    Err(Refusal {
        message: format!("/{}: {}{more}", printable(&first.object), first.what),
        help: Some(format!("{}; fix it in the source of the image", first.why)),
        outcome: Outcome::Refused,
    }
    .into())
}

/// Publishes the staged tree untouched.
pub(crate) fn publish_as_is(
    context: &Context,
    staging: &Staging,
    target: &Target,
    image: ImageName,
    file: &str,
    progress: &Progress,
) -> Result<Published, Failure> {
    let source = Source {
        line: format!("publish {file}"),
        sets: Vec::new(),
        origin: Origin::System,
        tune: tuning::missing(&open(&staging.tree())?).is_empty(),
        recipe: Recipe::Import { from: file.to_owned() },
        app: None,
    };
    Ok(publish::publish(&context.layout, staging, &target.request(image, &source), progress)?)
}

fn open(tree: &Path) -> Result<RootDir, Failure> {
    RootDir::open(tree).map_err(|e| Failure::plain(format!("cannot open {tree:?}"), e))
}

/// Prints what was published and what the rules still find.
pub(crate) fn report(context: &Context, built: &Built) -> Result<(), Failure> {
    context.print(built, || built.describe())
}

impl Built {
    /// What was published, and what the rules still find.
    pub(super) fn describe(&self) -> String {
        let mut text = describe(&self.published);
        if let Some(left_out) = self.left_out.as_ref().and_then(Report::left_out) {
            text += &format!("  skipped: {}\n", printable(&left_out));
        }
        for note in &self.notes {
            text += &format!("  note: {}\n", printable(note));
        }
        for finding in self.findings.iter().filter(|f| f.severity > Severity::Note).take(10) {
            let severity = format!("{:?}", finding.severity).to_lowercase();
            text += &format!("  {severity}: {}: {}\n", printable(&finding.object), finding.what);
        }
        text
    }
}

/// Prints what was published.
pub(crate) fn report_published(context: &Context, published: &Published) -> Result<(), Failure> {
    context.print(published, || describe(published))
}

fn describe(published: &Published) -> String {
    let verb = if published.created { "created" } else { "unchanged" };
    let moved = if published.channel_moved { "" } else { ", as before" };
    let shared = match published.shared.bytes {
        0 => String::new(),
        shared => format!(", {} of it shared with earlier versions", bytes(shared)),
    };
    format!(
        "{verb} {}@{} ({}, {} files{shared}), channel {}{moved}\n",
        published.image,
        published.digest,
        bytes(published.size_bytes),
        published.files,
        published.channel,
    )
}
