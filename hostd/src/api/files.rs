//! `/v1/tenants/NAME/files`: files of a tenant as the tenant sees them, as a tar archive.
//!
//! The work is done by `tenant files`, in the tenant's own namespaces: hostd opens nothing there.

use std::{os::unix::process::ExitStatusExt as _, process::Stdio, sync::Arc, time::Instant};

use axum::{
    Extension, Router,
    body::Body as HttpBody,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tenant::TenantName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};
use wire::{Changed, Code, Done, Failure, programs};

use super::{
    Answer, Named, Parameters, Refusal,
    answer::done,
    connection::Given,
    copies::{SILENCE, stream},
};
use crate::host::{Host, copies::Still};

/// Longest text of a failure, bytes.
const LONGEST: u64 = 8 << 10;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new().route("/v1/tenants/{name}/files", get(read).put(write))
}

/// What is read.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct ReadParameters {
    /// The path inside, from the tenant's root. Links on the way are followed as inside, the last component is not.
    path: String,
    /// What it is called in the archive, if not by its name.
    r#as: Option<String>,
    /// Whether the archive goes to the descriptor that came with the first byte of the connection, see `SCM_RIGHTS` of
    /// unix(7). The answer is a `Done` then, when all is written.
    #[serde(default)]
    descriptor: bool,
}

/// Where files are put.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub(super) struct WriteParameters {
    /// A directory inside; or, in one, the name that the first entry of the archive gets.
    path: String,
    /// Whether files have the owners that the archive says, by number as inside; otherwise they are root's.
    #[serde(default)]
    keep_owners: bool,
    /// Whether the archive is read from the descriptor that came with the first byte of the connection, see `SCM_RIGHTS` of
    /// unix(7). The body is empty then.
    #[serde(default)]
    descriptor: bool,
}

/// `tenant files`, which ends when it is dropped.
fn program(host: &Host, name: &str, words: &[&str]) -> Result<Command, Failure> {
    let mut command = Command::new(programs::tenant()?);
    command.arg("--root").arg(host.layout().root()).arg("files").args(words).arg("--").arg(name);
    command.kill_on_drop(true).stderr(Stdio::piped());
    Ok(command)
}

/// Keeps a tenant that is down from being started. One that is running may be stopped: that ends what is done inside.
async fn kept_down(host: &Arc<Host>, name: &TenantName) -> Result<Option<Still>, Failure> {
    match host.units().is_running(name) {
        true => Ok(None),
        false => host.still(name, true).await.map(Some),
    }
}

/// What a program that has ended has done.
async fn judge(name: &TenantName, mut child: Child) -> Result<(), Failure> {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // What was read before a failure counts.
        let _ = stderr.take(LONGEST).read_to_end(&mut said).await;
    }
    let about = |what: &str| {
        format!("cannot copy files of tenant {:?}: the program `tenant files` {what}", name.as_str())
    };
    let status = child
        .wait()
        .await
        .map_err(|error| Failure::new(Code::Failed, about(&format!("cannot be waited for: {error}"))))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let line = |prefix: &str| said.lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
    let code = match status.code() {
        Some(3) => Code::NotFound,
        Some(4) => Code::NotRunning,
        _ if said.contains("No space left on device") => Code::DiskFull,
        _ => Code::Failed,
    };
    let text = line("error: ").unwrap_or_else(|| {
        let how = status.signal().map(|signal| format!("was killed by signal {signal}"));
        let how = how.unwrap_or_else(|| format!("ended with {}", status.code().unwrap_or_default()));
        about(&how)
    });
    let failure = Failure::new(code, text);
    Err(match line("help: ") {
        Some(help) => failure.help(help),
        None => failure,
    })
}

/// Starts a program and waits until it has ended. No copy of what it was given stays open meanwhile.
async fn end(name: &TenantName, mut command: Command) -> Result<(), Failure> {
    let child = command.spawn().map_err(|error| Failure::of(Code::Failed, &error))?;
    drop(command);
    judge(name, child).await
}

/// What is at a path of a tenant, as a tar archive. An answer that ends early has the trailer `tenantry-failure`.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/tenants/{name}/files",
    params(("name" = String, Path), ReadParameters),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/x-tar"),
        (status = "4XX", body = Failure),
        (status = "5XX", body = Failure),
    )
))]
pub(super) async fn read(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Parameters(parameters): Parameters<ReadParameters>,
    Extension(given): Extension<Given>,
) -> Result<Response, Refusal> {
    let since = Instant::now();
    host.store().ready(&name)?;
    let still = kept_down(&host, &name).await?;
    let ReadParameters { path, r#as, descriptor } = parameters;
    let mut command = program(&host, name.as_str(), &[])?;
    command.arg(&path).stdin(Stdio::null()).stdout(Stdio::piped());
    if let Some(shown) = r#as {
        command.args(["--as", &shown]);
    }
    if descriptor {
        command.stdout(given.take()?);
        end(&name, command).await?;
        drop(still);
        return Ok(done(name, Changed::Unchanged, since).into_response());
    }
    let failed = |error: std::io::Error| Failure::of(Code::Failed, &error);
    let mut child = command.spawn().map_err(failed)?;
    let mut out = child.stdout.take().ok_or_else(|| Failure::new(Code::Failed, "it has no output"))?;
    let mut first = vec![0; 64 << 10];
    // What fails before anything is there is an answer of its own.
    let length = out.read(&mut first).await.map_err(failed)?;
    if length == 0 {
        judge(&name, child).await?;
        return Err(Failure::new(Code::Failed, "there was nothing to read").into());
    }
    first.truncate(length);
    Ok(stream(move |pieces, _| async move {
        let still = still;
        pieces.pass(first.into()).await?;
        loop {
            let mut piece = vec![0; 256 << 10];
            let length = out.read(&mut piece).await.map_err(failed)?;
            if length == 0 {
                break;
            }
            piece.truncate(length);
            pieces.pass(piece.into()).await?;
        }
        drop(still);
        judge(&name, child).await
    }))
}

/// Puts the files of a tar archive into a tenant.
#[cfg_attr(feature = "openapi", utoipa::path(
    put,
    path = "/v1/tenants/{name}/files",
    params(("name" = String, Path), WriteParameters),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 200, body = Done), (status = "4XX", body = Failure), (status = "5XX", body = Failure))
))]
pub(super) async fn write(
    State(host): State<Arc<Host>>,
    Named(name): Named,
    Parameters(parameters): Parameters<WriteParameters>,
    Extension(given): Extension<Given>,
    mut body: HttpBody,
) -> Answer<Done> {
    let since = Instant::now();
    host.store().ready(&name)?;
    let still = kept_down(&host, &name).await?;
    let mut words = vec!["--unpack"];
    words.extend(parameters.keep_owners.then_some("--keep-owners"));
    let mut command = program(&host, name.as_str(), &words)?;
    command.arg(&parameters.path).stdin(Stdio::piped()).stdout(Stdio::null());
    if parameters.descriptor {
        command.stdin(given.take()?);
        end(&name, command).await?;
        drop(still);
        return Ok(done(name, Changed::Changed, since));
    }
    let failed = |error: std::io::Error| Failure::of(Code::Failed, &error);
    let mut child = command.spawn().map_err(failed)?;
    let mut into = child.stdin.take().ok_or_else(|| Failure::new(Code::Failed, "it has no input"))?;
    let mut ended = Ok(());
    loop {
        let Ok(frame) = timeout(SILENCE, body.frame()).await else {
            ended = Err(Failure::new(Code::Timeout, "nothing more of the archive arrived"));
            break;
        };
        let Some(frame) = frame else { break };
        let piece = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => {
                ended = Err(Failure::new(Code::Failed, format!("the archive did not arrive whole: {error}")));
                break;
            }
        };
        // A program that has ended says why.
        if into.write_all(&piece).await.is_err() {
            break;
        }
    }
    drop(into);
    let judged = judge(&name, child).await;
    drop(still);
    ended?;
    judged?;
    Ok(done(name, Changed::Changed, since))
}
