use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;
use wire::{Code, Failure, Rollout, RolloutRequest};

use super::{view, watch};
use crate::{candidates, context::Context, mode::Mode};

/// Move tenants of an image to another version
///
/// Without names and labels those tenants are moved that follow the channel, and in the end the channel points at the
/// version. hostd goes on with it, also when this command or hostd itself is ended.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").args(["image", "file"]).required(true).multiple(true))]
pub(super) struct Start {
    /// The image
    #[arg(value_name = "IMAGE", add = candidates::of(candidates::images))]
    image: Option<String>,
    /// Only these tenants: names, or patterns of names
    #[arg(value_name = "NAME", add = candidates::of(candidates::tenants))]
    names: Vec<String>,
    /// The version: :CHANNEL, or at least 6 hex digits of it; default: :candidate
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// The channel whose followers are moved, and that points at the version in the end; default: stable
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// Only tenants with this label; KEY!=VALUE: without it, or with another value (repeatable: all must match)
    #[arg(long, value_name = "KEY[=VALUE]", add = candidates::of(candidates::labels))]
    label: Vec<String>,
    /// A policy file; what is said on the command line goes before it
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyFlags,
    /// Show it until it has ended; exit code 1 where it has failed or was aborted
    #[arg(long, short)]
    watch: bool,
}

/// Give the tenants of a rollout that has ended the version back that they had
///
/// It is a rollout of its own, live and in one wave unless said otherwise.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// Number of the rollout
    id: u64,
    #[command(flatten)]
    policy: PolicyFlags,
    /// Show it until it has ended; exit code 1 where it has failed or was aborted
    #[arg(long, short)]
    watch: bool,
}

/// How a rollout goes
#[derive(Debug, Args)]
struct PolicyFlags {
    /// How many tenants have the version after each wave: 5, 10% or label:KEY=VALUE, the last one 100%; default:
    /// 1,10%,50%,100%
    #[arg(long, value_name = "WAVES", value_delimiter = ',')]
    waves: Vec<String>,
    #[command(flatten)]
    mode: Mode,
    /// What must hold after each wave: systemd, exec:COMMAND, tcp:PORT, http:PORT/PATH (repeatable)
    #[arg(long, value_name = "GATE")]
    gate: Vec<String>,
    /// How long a gate may take until it counts as failed; default: 30s
    #[arg(long, value_name = "TIME")]
    gate_timeout: Option<String>,
    /// How long each wave is watched before the next one begins, e.g. 60s, 10m
    #[arg(long, value_name = "TIME")]
    bake: Option<String>,
    /// How many tenants must fail until the rollout stops and its wave is undone; default: 1
    #[arg(long, value_name = "COUNT")]
    max_failures: Option<u32>,
    /// How many tenants are moved at the same time; default: 32, with --restart 4
    #[arg(long, value_name = "COUNT")]
    max_unavailable: Option<u32>,
}

impl PolicyFlags {
    /// What is said here goes before what is said there.
    fn over(&self, mut request: RolloutRequest) -> RolloutRequest {
        list(&mut request.waves, &self.waves);
        list(&mut request.gate, &self.gate);
        request.mode = self.mode.chosen().or(request.mode);
        request.gate_timeout = self.gate_timeout.clone().or(request.gate_timeout);
        request.bake = self.bake.clone().or(request.bake);
        request.max_failures = self.max_failures.or(request.max_failures);
        request.max_unavailable = self.max_unavailable.or(request.max_unavailable);
        request
    }
}

fn list(own: &mut Vec<String>, over: &[String]) {
    if !over.is_empty() {
        *own = over.to_vec();
    }
}

impl Start {
    fn request(&self) -> Result<RolloutRequest, Failure> {
        let mut request = RolloutRequest::default();
        if let Some(file) = &self.file {
            let cannot = |why: &dyn std::fmt::Display| {
                Failure::new(Code::Invalid, format!("cannot use {}: {why}", file.display()))
                    .help("its keys: docs/how-to/roll-out-a-version.md")
            };
            let text = fs::read_to_string(file).map_err(|error| cannot(&error))?;
            request = tenant::config::parse_toml(&text).map_err(|error| cannot(&error))?;
        }
        request.image = self.image.clone().or(request.image);
        request.to = self.to.clone().or(request.to);
        request.channel = self.channel.clone().or(request.channel);
        list(&mut request.names, &self.names);
        list(&mut request.label, &self.label);
        Ok(self.policy.over(request))
    }

    pub(super) async fn run(&self, context: &Context) -> crate::Result {
        let answer: Rollout = context.client.post("/v1/rollouts", &self.request()?).await?;
        begun(context, answer, self.watch).await
    }
}

impl Rollback {
    pub(super) async fn run(&self, context: &Context) -> crate::Result {
        let request = self.policy.over(RolloutRequest::default());
        let answer: Rollout = context.client.post(&watch::path(self.id, "/rollback"), &request).await?;
        begun(context, answer, self.watch).await
    }
}

async fn begun(context: &Context, answer: Rollout, is_watched: bool) -> crate::Result {
    if is_watched {
        return watch::watch(context, answer).await;
    }
    context.output.print(&answer, view::begun);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use wire::RebaseMode;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        start: Start,
    }

    fn start(line: &str) -> Start {
        Line::try_parse_from(["start"].into_iter().chain(line.split(' '))).unwrap().start
    }

    #[test]
    fn flags_go_before_the_policy_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        fs::write(
            &file,
            "image = \"debian\"\nwaves = [\"1\", \"100%\"]\nmode = \"restart\"\ngate = [\"systemd\"]\nbake = \"60s\"\n",
        )
        .unwrap();
        let line = format!("-f {} --waves 50%,100% --live --max-failures 2", file.display());
        let request = start(&line).request().unwrap();
        let expected = RolloutRequest {
            image: Some("debian".to_owned()),
            waves: vec!["50%".to_owned(), "100%".to_owned()],
            mode: Some(RebaseMode::Live),
            gate: vec!["systemd".to_owned()],
            bake: Some("60s".to_owned()),
            max_failures: Some(2),
            ..RolloutRequest::default()
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn a_policy_file_with_an_unknown_key_is_refused_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        for (text, says) in [
            ("image = \"debian\"\nwave = [\"1\"]", "line 2: unknown key `wave`"),
            ("\nmax_failures = \"two\"", "line 2: max_failures: "),
            ("x", "line 1: "),
        ] {
            fs::write(&file, text).unwrap();
            let failure = start(&format!("debian -f {}", file.display())).request().unwrap_err();
            assert!(failure.code == Code::Invalid && failure.message.contains(says), "{failure}");
        }
        let failure = start("debian -f /nonexistent").request().unwrap_err();
        assert!(failure.message.starts_with("cannot use /nonexistent: "), "{failure}");
    }
}
