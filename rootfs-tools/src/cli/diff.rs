//! `rootfsctl diff`.

use rootfs_tools::{
    diff::{self, Change, Difference, PackageChange},
    rootdir::RootDir,
};
use serde::Serialize;
use tenant::{kernel::image::Contents, model::image::ImageRef};

use super::{
    context::{Context, Failure, printable},
    verify,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The older version: IMAGE, IMAGE:CHANNEL or IMAGE@VERSION.
    old: ImageRef,
    /// The newer version.
    new: ImageRef,
    /// Compare Debian packages only, not files.
    #[arg(long)]
    packages: bool,
}

#[derive(Serialize)]
struct Diff {
    packages: Vec<PackageChange>,
    files: Vec<Difference>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let open = |reference: &ImageRef| {
        let digest = context.store.resolve(reference)?;
        verify::open(context, &reference.image, &digest)
    };
    let (old, new) = (open(&args.old)?, open(&args.new)?);
    let diff = Diff {
        packages: diff::packages(&status(&old)?, &status(&new)?),
        files: if args.packages { Vec::new() } else { diff::trees(&old.path(), &new.path())? },
    };
    context.print(&diff, || {
        let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
        let mut text = String::new();
        for p in &diff.packages {
            text += &format!("package {} {} -> {}\n", p.package, version(&p.from), version(&p.to));
        }
        for file in &diff.files {
            let sign = match file.change {
                Change::Added => '+',
                Change::Removed => '-',
                Change::Changed => '~',
            };
            let what =
                if file.what.is_empty() { String::new() } else { format!(" ({})", file.what.join(", ")) };
            text += &format!("{sign} /{}{what}\n", printable(&file.path.to_string_lossy()));
        }
        text
    })
}

fn status(contents: &Contents) -> Result<String, Failure> {
    let path = contents.path();
    let read = || RootDir::open(&path)?.text_up_to("var/lib/dpkg/status", 64 << 20);
    let status = read().map_err(|e| Failure::plain(format!("cannot read the packages of {path:?}"), e))?;
    Ok(status.unwrap_or_default())
}
