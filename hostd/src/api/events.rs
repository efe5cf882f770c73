//! `/v1/events`: what happens to tenants, one event a line, while it happens.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, body::Body, extract::State, http::header, response::Response, routing::get};
use hyper::body::{Bytes, Frame};
use serde::Deserialize;
use tokio::sync::mpsc;
use wire::{Code, Event, EventKind, Failure};

use super::{Parameters, Refusal, select::Selection};
use crate::host::{Host, events::Reader};

/// So many events are put into one part of the answer.
const AT_ONCE: usize = 64;

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new().route("/v1/events", get(events))
}

/// From where events are read, and how long.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
pub(super) struct EventParameters {
    /// After the event of this number; from now on if this and `since_ms` are absent, and `follow` is not false.
    since: Option<u64>,
    /// Since this moment, milliseconds since 1970 UTC.
    since_ms: Option<u64>,
    /// Whether to go on with what happens; otherwise the answer ends with what is kept.
    follow: Option<bool>,
}

impl EventParameters {
    /// Takes them out of all parameters, which leaves those that say which tenants.
    fn take(parameters: Vec<(String, String)>) -> Result<(Self, Vec<(String, String)>), Failure> {
        let mut own = Self::default();
        let mut names = Vec::new();
        for (key, value) in parameters {
            let bad = || Failure::new(Code::Invalid, format!("{value:?} is not a value of {key:?}"));
            match key.as_str() {
                "since" => own.since = Some(value.parse().map_err(|_| bad())?),
                "since_ms" => own.since_ms = Some(value.parse().map_err(|_| bad())?),
                "follow" => own.follow = Some(value.parse().map_err(|_| bad())?),
                "name" => names.push((key, value)),
                _ => {
                    return Err(Failure::new(Code::Invalid, format!("events have no parameter {key:?}"))
                        .help("one of: name, since, since_ms, follow"));
                }
            }
        }
        Ok((own, names))
    }
}

/// Events as lines of JSON. The answer ends when hostd does, or with what is kept where nothing is to follow. A reader
/// that is slower than what happens is told how much it has missed, by an event `lost`.
#[cfg_attr(feature = "openapi", utoipa::path(
    get,
    path = "/v1/events",
    params(
        ("name" = Option<Vec<String>>, Query, description = "A name, or a pattern of names; all if absent"),
        EventParameters,
    ),
    responses((status = 200, body = Event, content_type = "application/x-ndjson"), (status = 400, body = Failure))
))]
pub(super) async fn events(
    State(host): State<Arc<Host>>,
    Parameters(parameters): Parameters<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let (wanted, names) = EventParameters::take(parameters)?;
    let selection = Selection::parse(&names)?;
    let follows = wanted.follow.unwrap_or(true);
    let events = host.events();
    let reader = match (wanted.since, wanted.since_ms) {
        (Some(seq), _) => events.after(seq),
        (None, Some(moment)) => events.since(moment),
        (None, None) if follows => events.from_now(),
        (None, None) => events.since(0),
    };
    // One part at a time: a reader that takes nothing holds one in memory, and reads on where it was.
    let (parts, part) = mpsc::channel(1);
    tokio::spawn(send(reader, selection, follows, parts));
    let mut response = Response::new(Body::new(Parts(part)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

fn is_wanted(selection: &Selection, event: &Event) -> bool {
    let names = [&event.tenant, &event.from, &event.to];
    let of_rename = if event.event == EventKind::Renamed { 3 } else { 1 };
    event.event.is_of_host()
        || names[..of_rename].iter().any(|name| name.as_ref().is_some_and(|name| selection.has_name(name)))
}

/// Sends events until nobody takes them, or there are no more.
async fn send(mut reader: Reader, selection: Selection, follows: bool, parts: mpsc::Sender<Bytes>) {
    loop {
        let mut lines = Vec::new();
        let taken = reader.take(AT_ONCE);
        for event in taken.iter().filter(|event| is_wanted(&selection, event)) {
            if let Ok(()) = serde_json::to_writer(&mut lines, &**event) {
                lines.push(b'\n');
            }
        }
        if !lines.is_empty() && parts.send(lines.into()).await.is_err() {
            return;
        }
        if !taken.is_empty() {
            continue;
        }
        let more = follows
            && tokio::select! {
                more = reader.more() => more,
                () = parts.closed() => false,
            };
        if !more {
            return;
        }
    }
}

/// The body of an answer that comes in parts.
struct Parts(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}
