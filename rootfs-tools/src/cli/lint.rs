//! `rootfsctl lint`.

use std::path::Path;

use rootfs_tools::{
    Outcome,
    lint::{self, Severity},
};
use tenant::model::image::ImageRef;

use super::context::{Context, Failure, Refusal, printable, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// IMAGE, IMAGE:CHANNEL, IMAGE@VERSION, or a directory with a `/` in its name.
    image: String,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let findings = if args.image.contains('/') {
        lint::check(&lint::open(Path::new(&args.image))?)
    } else {
        let reference = reference(&args.image)?;
        let digest = context.store.resolve(&reference)?;
        let tree = super::verify::open(context, &reference.image, &digest)?;
        lint::check(&lint::open(&tree.path())?)
    };
    context.print(&findings, || {
        if findings.is_empty() {
            return "no findings\n".to_owned();
        }
        let rows = findings.iter().map(|finding| {
            let severity = format!("{:?}", finding.severity).to_lowercase();
            vec![
                severity,
                finding.rule.to_owned(),
                printable(&finding.object),
                finding.what.to_owned(),
                finding.why.to_owned(),
            ]
        });
        table(&["SEVERITY", "RULE", "OBJECT", "WHAT", "WHY"], rows)
    })?;
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if errors == 0 {
        return Ok(());
    }
    let refusal = Refusal {
        message: format!("\"{}\" has {errors} errors", args.image),
        help: Some("rootfsctl import fixes most findings".to_owned()),
        outcome: Outcome::Failed,
    };
    Err(refusal.into())
}

/// Parses an argument that can also be a path.
fn reference(text: &str) -> Result<ImageRef, Failure> {
    text.parse().map_err(|e| {
        let refusal = Refusal {
            message: format!("{e}"),
            help: Some("write a directory with a slash, e.g. ./DIR".to_owned()),
            outcome: Outcome::Failed,
        };
        refusal.into()
    })
}
