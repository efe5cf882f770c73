//! What clients and tenants send.

use std::time::Instant;

use serde::{Serialize, de::DeserializeOwned};
use tenant::{
    kernel::fuse::{Server, Texts},
    model::resource_file::ResourceFile,
    protocol::{
        control::{Reply, Request},
        escape,
        wire::{self as console, Decoder, Hello, Item},
    },
};
use wire::{
    ConfigChange, ConfigReplace, CreateRequest, DriftMergeRequest, KillRequest, LabelRule, Pattern,
    RebaseRequest, RenameRequest, RolloutRequest, StartRequest, StopRequest,
};

use crate::text::text;

/// What is read of it is written and read as the same.
fn round<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(input: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(input) else { return };
    let text = serde_json::to_vec(&value).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&text).expect("what was written can be read"), value);
}

/// The body of a request to hostd, whichever: all are tried.
pub(crate) fn api_body(input: &[u8]) {
    round::<CreateRequest>(input);
    round::<RenameRequest>(input);
    round::<StartRequest>(input);
    round::<StopRequest>(input);
    round::<KillRequest>(input);
    round::<ConfigReplace>(input);
    round::<ConfigChange>(input);
    round::<RebaseRequest>(input);
    round::<RolloutRequest>(input);
    round::<DriftMergeRequest>(input);
    let Some(text) = text(input) else { return };
    if let Ok(change) = serde_json::from_str::<ConfigChange>(text) {
        for pair in change.set {
            let _ = tenant::config::set(&pair);
        }
    }
    let _ = Pattern::parse(text).map(|pattern| pattern.matches("web-1"));
    let _ = LabelRule::parse(text);
}

/// A viewer's hello, and the frames that follow it, in pieces as a socket may deliver them.
pub(crate) fn console(input: &[u8]) {
    let (line, frames) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let _ = console::parse::<Hello>(line);
    let taken = |piece: usize| {
        let (mut decoder, mut data, mut others) = (Decoder::default(), Vec::new(), Vec::new());
        for mut part in frames.chunks(piece) {
            loop {
                match decoder.next(&mut part) {
                    Ok(Some(Item::Data(bytes))) => data.extend_from_slice(bytes),
                    Ok(Some(other)) => others.push(format!("{other:?}")),
                    Ok(None) => break,
                    Err(error) => return (data, others, Some(error)),
                }
            }
            assert!(part.is_empty(), "what is not taken is lost");
        }
        (data, others, None)
    };
    let whole = taken(frames.len().max(1));
    assert_eq!(whole, taken(1));
    assert_eq!(whole, taken(7));
}

pub(crate) fn control(input: &[u8]) {
    let _ = console::parse::<Request>(input);
    let _ = console::parse::<Reply>(input);
}

/// A file that says its own name.
struct Named;

impl Texts for Named {
    fn text(&mut self, file: ResourceFile) -> Vec<u8> {
        file.name().as_bytes().to_vec()
    }
}

/// A request of the kernel for the files that tell a tenant's limits. The tenant chooses names, offsets and sizes.
pub(crate) fn limits_files(input: &[u8]) {
    let device = std::fs::File::open("/dev/null").expect("a device");
    let mut server = Server::new(device.into(), 524_288);
    let now = Instant::now();
    for request in input.chunks(64) {
        let Some(answer) = server.reply(request, &mut Named, now) else { continue };
        assert_eq!(u32::from_ne_bytes(answer[..4].try_into().expect("a length")) as usize, answer.len());
        assert!(answer.len() <= 16 + (128 << 10));
    }
    server.rest(now);
}

/// What a tenant prints: nothing of it may reach an admin's terminal or a log as a command.
pub(crate) fn tenant_bytes(input: &[u8]) {
    let is_plain = |line: &str| assert!(!line.chars().any(|c| c.is_control() && c != '\t'), "{line:?}");
    escape::plain_lines(input, 16).iter().for_each(|line| is_plain(line));
    is_plain(&escape::plain_line(input, 80));
    if let Some(text) = text(input) {
        is_plain(&escape::one_line(text, 80));
    }
    escape::replayable(input);
}
