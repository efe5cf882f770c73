//! `drift`: which files of tenants hide files of their images, and how they differ.

use std::process::ExitCode;

use clap::Args;
use wire::{
    Code, Drift, DriftFile, DriftFix, DriftNode, DriftSide, DriftView, Failure, FileChange, NotLooked,
};

use super::{
    Context, candidates,
    many::{self, LOOKS_AT_ONCE},
    output,
    select::Selection,
    stale, three_way,
};

/// The exit code of `--exit-code` where a fix is hidden.
const HIDDEN: u8 = 5;
/// Digits of a hash that are shown.
const DIGITS: usize = 12;

/// Show which files of tenants hide files of their images, and which of these hide a fix
///
/// Without names it is for all tenants. `tenantctl merge` puts both together.
#[derive(Debug, Args)]
pub(super) struct ListDrift {
    #[command(flatten)]
    selection: Selection,
    /// Show three views of one file of one tenant: what it comes from, the image's now, the tenant's own
    #[arg(long, value_name = "PATH", add = candidates::of(candidates::drifted))]
    diff: Option<String>,
    /// Only files that hide a fix
    #[arg(long, conflicts_with = "diff")]
    fixes: bool,
    /// Exit with 5 if a fix is hidden
    #[arg(long, conflicts_with = "diff")]
    exit_code: bool,
}

impl ListDrift {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        if let Some(path) = &self.diff {
            return self.diff(context, path).await;
        }
        let chosen = self.selection.resolve(&context.client).await?;
        let get = |api: client::Client, name: String| async move {
            api.get::<Drift>(&client::tenant(&name, "/drift")).await
        };
        let (mut tenants, mut failed) = (Vec::new(), Vec::new());
        for (name, result) in many::requests(&context.client, &chosen.names, LOOKS_AT_ONCE, get, |_| {}).await
        {
            match result {
                Ok(drift) => tenants.push(drift),
                Err(failure) if chosen.is_one => return Err(failure),
                // What has an install of its own hides nothing; one that is named is told.
                Err(failure) if failure.code == Code::OwnInstall && !self.selection.names.contains(&name) => {
                }
                Err(error) => failed.push(NotLooked { name, error }),
            }
        }
        if self.fixes {
            for tenant in &mut tenants {
                tenant.files.retain(|file| file.fix != DriftFix::None);
            }
        }
        match (context.output.json, chosen.is_one, &tenants[..]) {
            (true, true, [one]) => context.output.value(one),
            (true, ..) => context.output.value(&stale::as_list(&tenants, &failed)),
            (false, ..) => {
                output::write(&text(&tenants));
                for tenant in &tenants {
                    let sentences = tenant.left_out.iter();
                    let sentences: Vec<_> = sentences
                        .map(|sentence| format!("{}: not looked at: {sentence}", tenant.name))
                        .collect();
                    output::warnings(&sentences);
                }
                failed.iter().for_each(|failed| context.output.failure(&failed.error));
            }
        }
        if !failed.is_empty() {
            return Ok(many::worst(failed.iter().map(|failed| &failed.error)));
        }
        let is_hidden = tenants.iter().any(|tenant| hidden(tenant) > 0);
        Ok(if self.exit_code && is_hidden { ExitCode::from(HIDDEN) } else { ExitCode::SUCCESS })
    }

    async fn diff(&self, context: &Context, path: &str) -> super::Result {
        let chosen = self.selection.resolve(&context.client).await?;
        let (true, [name]) = (chosen.is_one, &chosen.names[..]) else {
            let text = "--diff shows a file of one tenant, and not exactly one is named";
            return Err(Failure::new(Code::Invalid, text).help("tenantctl drift NAME --diff PATH"));
        };
        let view = view(&context.client, name, path).await?;
        context.output.print(&view, views);
        Ok(ExitCode::SUCCESS)
    }
}

/// Three views of a path of a tenant.
pub(super) async fn view(client: &client::Client, name: &str, path: &str) -> Result<DriftView, Failure> {
    let path = format!("/drift/view?path={}", client::segment(path));
    client.get(&client::tenant(name, &path)).await
}

fn hidden(tenant: &Drift) -> usize {
    tenant.files.iter().filter(|file| file.fix != DriftFix::None).count()
}

/// What a file hides, in a few words.
pub(super) fn fix(file: &DriftFile) -> String {
    match (file.fix, file.change) {
        (DriftFix::None, _) => "-".to_owned(),
        (DriftFix::Unknown, _) => format!("unknown: {} is gone", output::clean(&file.from)),
        (DriftFix::Shadowed, Some(FileChange::Added)) => "shadowed: added".to_owned(),
        (DriftFix::Shadowed, Some(FileChange::Removed)) => "shadowed: removed".to_owned(),
        (DriftFix::Shadowed, _) if file.what.is_empty() => "shadowed".to_owned(),
        (DriftFix::Shadowed, _) => format!("shadowed: {}", output::clean(&file.what.join(", "))),
    }
}

/// A row for each file, and a line for all.
fn text(tenants: &[Drift]) -> String {
    let row = |tenant: &Drift, file: &DriftFile| {
        let own = match file.hides {
            Some(count) => format!("{} ({count} files)", file.kind),
            None => file.kind.to_string(),
        };
        let [name, path, from] = [&tenant.name, &file.path, &file.from].map(|cell| output::clean(cell));
        vec![name, path, own, fix(file), from]
    };
    let rows: Vec<Vec<String>> =
        tenants.iter().flat_map(|tenant| tenant.files.iter().map(move |file| row(tenant, file))).collect();
    let table = match rows.is_empty() {
        true => String::new(),
        false => output::table(&["TENANT", "PATH", "OWN", "FIX", "FROM"], rows, &[]),
    };
    let said = match tenants {
        [one] => format!(
            "{}: {} of {} files hide a fix of {}",
            output::clean(&one.name),
            hidden(one),
            one.files.len(),
            output::clean(&one.version)
        ),
        all => {
            let count = all.iter().filter(|tenant| hidden(tenant) > 0).count();
            format!("{count} of {} tenants hide a fix", all.len())
        }
    };
    format!("{table}{said}\n")
}

/// Three views, and how their texts differ.
fn views(view: &DriftView) -> String {
    let DriftView { name, file, from, now, own } = view;
    let (path, name) = (output::clean(&file.path), output::clean(name));
    let mut text = format!("{path} of {name}: {}, {}\n", file.kind, fix(file));
    let gone = DriftSide::of(DriftNode::Nothing);
    let came = match from {
        Some(from) => side(from),
        None => format!("{}, which is gone", output::clean(&file.from)),
    };
    for (which, side) in [("from", came), ("now", side(now)), ("own", side(own))] {
        text += &format!("{which:<6}{side}\n");
    }
    let title = |which: &str, version: &str| format!("{path} ({which}{version})");
    let version = |side: &DriftSide| format!(" {}", side.version.as_deref().unwrap_or("-"));
    let base = from.as_ref().unwrap_or(now);
    let titles =
        |side: &DriftSide, which: &str| [title("image", &version(base)), title(which, &version(side))];
    let image = from.as_ref().map(|from| (from, now, titles(now, "image")));
    let own_titles = [title("image", &version(base)), title(&name, "")];
    let is_there = |side: &&DriftSide| side.what != gone.what;
    let own = Some(own).filter(is_there).map(|own| (base, own, own_titles));
    for (old, new, [before, after]) in image.into_iter().chain(own) {
        if (old.what, &old.sha256, &old.target) == (new.what, &new.sha256, &new.target)
            && old.sha256.is_some()
        {
            continue;
        }
        match three_way::diff(old, new, [&before, &after]) {
            Ok(diff) => text.extend(diff.lines().map(|line| format!("{}\n", output::clean(line)))),
            Err(reason) => text += &format!("{before} and {after}: {}\n", output::clean(&reason)),
        }
    }
    text
}

/// `debian@0123456789ab: file, 0644, 0:0, 1.2K, sha256:0123456789ab`
fn side(side: &DriftSide) -> String {
    let version =
        side.version.as_ref().map(|version| format!("{}: ", output::clean(version))).unwrap_or_default();
    let what = match side.what {
        DriftNode::Nothing => "nothing",
        DriftNode::File => "file",
        DriftNode::Link => "link",
        DriftNode::Directory => "directory",
        DriftNode::Other => "neither file nor directory",
    };
    let mut text = format!("{version}{what}");
    if let (Some(mode), Some([uid, gid])) = (side.mode, side.owner) {
        text += &format!(", {mode:04o}, {uid}:{gid}");
    }
    if side.has_attributes {
        text += ", extended attributes";
    }
    if let Some(size) = side.size {
        text += &format!(", {}", output::size(Some(size)));
    }
    if let Some(hash) = &side.sha256 {
        text += &format!(", sha256:{}", hash.get(..DIGITS).unwrap_or(hash));
    }
    if let Some(target) = &side.target {
        text += &format!(" to {}", output::clean(target));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, kind: &str, more: serde_json::Value) -> serde_json::Value {
        let mut file = serde_json::json!({"path": path, "kind": kind, "fix": "none", "from": "debian@00", "known_by": "copy"});
        let more = more.as_object().unwrap().clone();
        file.as_object_mut().unwrap().extend(more);
        file
    }

    #[test]
    fn a_hidden_fix_is_named_as_one_and_nothing_reaches_the_terminal() {
        let drift: Drift = serde_json::from_value(serde_json::json!({"name": "web", "version": "debian@11", "files": [
            file("/etc/a\u{1b}[2Jb", "changed", serde_json::json!({"fix": "shadowed", "change": "changed", "what": ["content", "mode"]})),
            file("/etc/old", "outdated", serde_json::json!({"fix": "shadowed", "change": "removed"})),
            file("/etc/gone", "changed", serde_json::json!({"fix": "unknown"})),
            file("/etc/dir", "removed", serde_json::json!({"hides": 7})),
        ]}))
        .unwrap();
        assert_eq!(
            text(&[drift]),
            "TENANT  PATH        OWN                FIX                         FROM\n\
             web     /etc/a[2Jb  changed            shadowed: content, mode     debian@00\n\
             web     /etc/old    outdated           shadowed: removed           debian@00\n\
             web     /etc/gone   changed            unknown: debian@00 is gone  debian@00\n\
             web     /etc/dir    removed (7 files)  -                           debian@00\n\
             web: 3 of 4 files hide a fix of debian@11\n"
        );
        assert_eq!(text(&[]), "0 of 0 tenants hide a fix\n");
    }

    #[test]
    fn three_views_are_shown_with_what_differs() {
        let side = |version: Option<&str>, text: &str| DriftSide {
            version: version.map(str::to_owned),
            mode: Some(0o644),
            owner: Some([0, 0]),
            size: Some(text.len() as u64),
            sha256: Some(format!("{:064x}", text.len())),
            text: Some(text.to_owned()),
            ..DriftSide::of(DriftNode::File)
        };
        let file = file(
            "/etc/x",
            "changed",
            serde_json::json!({"fix": "shadowed", "change": "changed", "what": ["content"]}),
        );
        let view = DriftView {
            name: "web".to_owned(),
            file: serde_json::from_value(file).unwrap(),
            from: Some(side(Some("debian@00"), "one\n")),
            now: side(Some("debian@11"), "two 2\n"),
            own: side(None, "three\x1b[2J\n"),
        };
        let expected = "/etc/x of web: changed, shadowed: content\n\
            from  debian@00: file, 0644, 0:0, 4B, sha256:000000000000\n\
            now   debian@11: file, 0644, 0:0, 6B, sha256:000000000000\n\
            own   file, 0644, 0:0, 10B, sha256:000000000000\n\
            --- /etc/x (image debian@00)\n\
            +++ /etc/x (image debian@11)\n\
            @@ -1 +1 @@\n\
            -one\n\
            +two 2\n\
            --- /etc/x (image debian@00)\n\
            +++ /etc/x (web)\n\
            @@ -1 +1 @@\n\
            -one\n\
            +three[2J\n";
        assert_eq!(views(&view), expected);
        let large = DriftSide { text: None, no_text: Some("it is no text".to_owned()), ..side(None, "xxx") };
        let text = views(&DriftView { own: large, ..view });
        assert!(text.ends_with("/etc/x (image debian@00) and /etc/x (web): it is no text\n"), "{text}");
    }
}
