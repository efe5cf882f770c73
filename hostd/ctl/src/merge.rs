//! `merge`: a tenant's own file and its image's become one.

use std::{fs, io, process::ExitCode};

use clap::Args;
use wire::{Changed, Code, DriftFix, DriftMerge, DriftMergeRequest, DriftMerged, DriftView, Failure};

use super::{
    Context, candidates, drift, editor, many, output,
    three_way::{self, Outcome},
};

/// Merge files of a tenant with those of its image that they hide
///
/// Without an option the changes of both sides are put together where they do not touch the same lines. Owner, mode and
/// extended attributes of the tenant's file stay. A file that is replaced is kept as PATH.dpkg-old if the tenant had
/// changed its content.
#[derive(Debug, Args)]
pub(super) struct Merge {
    /// Name of the tenant
    #[arg(add = candidates::of(candidates::tenants))]
    name: String,
    /// Paths inside, as `tenantctl drift` shows them
    #[arg(value_name = "PATH", required = true, add = candidates::of(candidates::drifted))]
    paths: Vec<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct How {
    /// Keep the tenant's file: it counts as merged until the image's changes again
    #[arg(long)]
    mine: bool,
    /// Take the image's file as it is now
    #[arg(long)]
    theirs: bool,
    /// Edit what both have become in $VISUAL or $EDITOR
    #[arg(long)]
    edit: bool,
}

impl Merge {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        if let [path] = &self.paths[..] {
            let merged = self.merge(context, path).await?;
            context.output.print(&merged, sentence);
            return Ok(ExitCode::SUCCESS);
        }
        let (mut done, mut failures) = (Vec::new(), Vec::new());
        for path in &self.paths {
            match self.merge(context, path).await {
                Ok(merged) => {
                    if !context.output.json {
                        output::write(&sentence(&merged));
                    }
                    done.push(serde_json::to_value(&merged).unwrap_or_default());
                }
                Err(failure) => {
                    if !context.output.json {
                        context.output.failure(&failure);
                    }
                    done.push(serde_json::json!({ "name": self.name, "path": path, "error": failure }));
                    failures.push(failure);
                }
            }
        }
        if context.output.json {
            context.output.value(&done);
        }
        Ok(many::worst(failures.iter()))
    }

    async fn merge(&self, context: &Context, path: &str) -> Result<DriftMerged, Failure> {
        let whole = |how| DriftMergeRequest { path: path.to_owned(), how, own_sha256: None, version: None };
        if self.how.mine {
            return self.send(context, &whole(DriftMerge::Mine)).await;
        }
        if self.how.theirs {
            return self.send(context, &whole(DriftMerge::Theirs)).await;
        }
        let view = drift::view(&context.client, &self.name, path).await?;
        if view.file.fix == DriftFix::None {
            let DriftView { name, file, now, .. } = view;
            let version = now.version.unwrap_or_default();
            return Ok(DriftMerged {
                name,
                path: file.path,
                change: Changed::Unchanged,
                version,
                kept: None,
            });
        }
        let request = |how| DriftMergeRequest {
            own_sha256: view.own.sha256.clone(),
            version: view.now.version.clone(),
            ..whole(how)
        };
        match (three_way::merge(&view), self.how.edit) {
            (Outcome::Clean(how), false) => self.send(context, &request(how)).await,
            (Outcome::Choice(reason), _) => Err(self.undecided(&view, &reason, false)),
            (Outcome::Conflict(_), false) => {
                let reason = "the tenant and the image have changed the same lines";
                Err(self.undecided(&view, reason, true))
            }
            (Outcome::Conflict(text) | Outcome::Clean(DriftMerge::Text(text)), true) => {
                self.edit(context, &view, &text, request).await
            }
            (Outcome::Clean(how), true) => {
                let text = view.now.text.clone().filter(|_| how != DriftMerge::Mine);
                let text = text.ok_or_else(|| self.undecided(&view, "it is no text", false))?;
                self.edit(context, &view, &text, request).await
            }
        }
    }

    async fn send(&self, context: &Context, request: &DriftMergeRequest) -> Result<DriftMerged, Failure> {
        context.client.post(&client::tenant(&self.name, "/drift/merge"), request).await
    }

    fn undecided(&self, view: &DriftView, reason: &str, can_edit: bool) -> Failure {
        let (name, path) = (&self.name, &view.file.path);
        let text = format!("cannot merge {path:?} of tenant {name:?}: {reason}");
        let edit = if can_edit {
            format!("decide in an editor: tenantctl merge {name} {path} --edit; or ")
        } else {
            String::new()
        };
        Failure::new(Code::Conflict, text).help(format!(
            "{edit}see both: tenantctl drift {name} --diff {path}; keep one: tenantctl merge {name} {path} --mine, or --theirs"
        ))
    }

    /// Lets the admin decide, as often as marks remain or hostd refuses.
    async fn edit(
        &self,
        context: &Context,
        view: &DriftView,
        text: &str,
        request: impl Fn(DriftMerge) -> DriftMergeRequest,
    ) -> Result<DriftMerged, Failure> {
        let io = |error: io::Error| Failure::of(Code::Failed, &error);
        let copy = tempfile::Builder::new().prefix("tenant-").suffix(".merge").tempfile().map_err(io)?;
        fs::write(copy.path(), text).map_err(io)?;
        loop {
            editor::open(copy.path())?;
            let edited = fs::read_to_string(copy.path()).map_err(io)?;
            let sent = match three_way::first_mark(&edited, view) {
                Some(line) => Err(self.undecided(view, &format!("line {line} still marks a conflict"), true)),
                None => self.send(context, &request(DriftMerge::Text(edited))).await,
            };
            match sent {
                Ok(merged) => return Ok(merged),
                Err(failure) if editor::again(context, &failure) => {}
                Err(failure) => {
                    let (_, kept) = copy.keep().map_err(|error| io(error.error))?;
                    let help = format!("nothing was changed; your text is saved in {}", kept.display());
                    return Err(failure.help(help));
                }
            }
        }
    }
}

/// `alice: /etc/motd merged with debian@0123456789ab; the file before is /etc/motd.dpkg-old`
fn sentence(merged: &DriftMerged) -> String {
    let [name, path, version] = [&merged.name, &merged.path, &merged.version].map(|text| output::clean(text));
    if merged.change == Changed::Unchanged {
        return format!("{name}: {path} unchanged, it hides no fix of {version}\n");
    }
    let kept = merged.kept.as_ref().map(|kept| format!("; the file before is {}", output::clean(kept)));
    format!("{name}: {path} merged with {version}{}\n", kept.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_file_is_one_sentence() {
        let merged = |change, kept: Option<&str>| DriftMerged {
            name: "web".to_owned(),
            path: "/etc/x".to_owned(),
            change,
            version: "debian@00".to_owned(),
            kept: kept.map(str::to_owned),
        };
        for (merged, expected) in [
            (merged(Changed::Changed, None), "web: /etc/x merged with debian@00\n"),
            (
                merged(Changed::Changed, Some("/etc/x.dpkg-old")),
                "web: /etc/x merged with debian@00; the file before is /etc/x.dpkg-old\n",
            ),
            (merged(Changed::Unchanged, None), "web: /etc/x unchanged, it hides no fix of debian@00\n"),
        ] {
            assert_eq!(sentence(&merged), expected);
        }
    }
}
