//! The record of a new rollout. Pure.

use tenant::model::{
    ids::Digest,
    image::{ChannelName, ImageName},
};
use wire::{Code, Failure, MemberState, RolloutRequest};

use super::{
    policy::{self, Policy},
    record::{Channel, Record, Step, Wanted},
    seen::Tenants,
    waves,
};

/// What a record begins with, besides what is asked for.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its number.
    pub id: u64,
    /// The date, RFC 3339.
    pub date: String,
    /// This boot of the machine.
    pub boot: String,
}

/// The tenants that a rollout has for itself.
pub fn holds(record: &Record) -> Vec<String> {
    let is_held = |state| !matches!(state, MemberState::Gone | MemberState::Undone | MemberState::Stuck);
    let held = record.members.iter().filter(|member| is_held(member.state) && !record.is_over());
    held.map(|member| member.uuid.clone()).collect()
}

fn blank(start: &Start, image: ImageName, request: &RolloutRequest) -> Record {
    Record {
        format_version: Record::FORMAT_VERSION,
        id: start.id,
        image,
        to: None,
        policy: request.clone(),
        back_of: None,
        takes_newcomers: false,
        channel: None,
        created: start.date.clone(),
        ended: None,
        wanted: Wanted::Run,
        step: Step::Prepare,
        wave: 0,
        failures: 0,
        bake_left_ms: None,
        boot: start.boot.clone(),
        reason: None,
        waves: Vec::new(),
        members: Vec::new(),
    }
}

/// A rollout to a version. `channel_at` is where a channel points now.
///
/// # Errors
/// What the request says wrong.
pub fn forward(
    start: &Start,
    request: &RolloutRequest,
    to: Digest,
    tenants: &Tenants,
    channel_at: impl Fn(&ChannelName) -> Option<Digest>,
) -> Result<Record, Failure> {
    let policy = Policy::parse(request)?;
    let named = policy::channel(request)?;
    let is_named = named.is_some();
    let name = named.unwrap_or_else(ChannelName::stable);
    let order = waves::meant(&policy, &name, to, tenants);
    if order.is_empty() && policy.selects() {
        let text = "no tenant of the image is selected that has another version";
        return Err(Failure::new(Code::NotFound, format!("cannot start a rollout: {text}"))
            .help("see which version each has: tenantctl list -o name,image,version,labels"));
    }
    let mut record = blank(start, policy::image(request)?, request);
    (record.waves, record.members) =
        waves::build(&policy, &request.waves, tenants, &order, |_, seen| (seen.pinned, to));
    record.to = Some(to);
    record.takes_newcomers = !policy.selects();
    if !policy.selects() || is_named {
        let before = channel_at(&name);
        let is_moved = before == Some(to);
        record.channel = Some(Channel { name, before, to, only_from_before: false, is_moved });
    }
    Ok(record)
}

/// A rollout that takes another one back: its tenants get what they had, and the channel points where it pointed.
///
/// # Errors
/// It goes on; nothing of it can be taken back; what the request says wrong.
pub fn backward(
    start: &Start,
    request: &RolloutRequest,
    of: &Record,
    tenants: &Tenants,
) -> Result<Record, Failure> {
    let cannot = |why: &str| format!("cannot roll rollout {} back: {why}", of.id);
    if !of.is_over() {
        return Err(Failure::new(Code::Running, cannot("it goes on"))
            .help(format!("abort it first: tenantctl rollout abort {}", of.id)));
    }
    let says_which = request.image.is_some() || request.to.is_some() || request.channel.is_some();
    if says_which || !request.names.is_empty() || !request.label.is_empty() {
        return Err(Failure::new(Code::Invalid, cannot("its tenants and their versions are known"))
            .help("leave out the image, the version, the channel and the selection"));
    }
    let mut request = request.clone();
    if request.waves.is_empty() {
        request.waves = vec!["100%".to_owned()];
    }
    let policy = Policy::parse(&request)?;
    let member = |uuid: &str| of.members.iter().find(|member| member.uuid == uuid);
    let is_back = |uuid: &String| {
        let was_moved =
            |state| matches!(state, MemberState::Moved | MemberState::Passed | MemberState::Stuck);
        member(uuid).is_some_and(|member| was_moved(member.state) && tenants[uuid].pinned == member.to)
    };
    let mut order: Vec<String> = tenants.keys().filter(|uuid| is_back(uuid)).cloned().collect();
    order.sort_by_key(|uuid| (!tenants[uuid].state.is_up(), &tenants[uuid].name));
    if order.is_empty() {
        return Err(Failure::new(Code::NotFound, cannot("no tenant has the version that it gave")));
    }
    let mut record = blank(start, of.image.clone(), &request);
    (record.waves, record.members) = waves::build(&policy, &request.waves, tenants, &order, |uuid, seen| {
        member(uuid).map_or((seen.pinned, seen.pinned), |member| (member.to, member.from))
    });
    record.back_of = Some(of.id);
    let moved = of.channel.as_ref().filter(|channel| channel.is_moved);
    record.channel = moved.and_then(|channel| {
        let to = channel.before.filter(|before| *before != channel.to)?;
        let (name, before) = (channel.name.clone(), Some(channel.to));
        Some(Channel { name, before, to, only_from_before: true, is_moved: false })
    });
    Ok(record)
}

/// Whether a new rollout has tenants of one that goes on, or moves its channel.
///
/// # Errors
/// [`Code::Busy`] with the names of the tenants.
pub fn check_apart(
    new: &Record,
    others: &[std::sync::Arc<Record>],
    tenants: &Tenants,
) -> Result<(), Failure> {
    for other in others.iter().filter(|other| !other.is_over()) {
        let held: std::collections::BTreeSet<String> = holds(other).into_iter().collect();
        // Those that it takes when it comes to its end.
        let follows = |uuid: &str| {
            let channel =
                other.channel.as_ref().filter(|_| other.takes_newcomers && other.image == new.image);
            let follow = tenants.get(uuid).and_then(|seen| seen.follow.as_ref());
            channel.is_some_and(|channel| Some(&channel.name) == follow)
        };
        let shared: Vec<&str> = new
            .members
            .iter()
            .filter(|member| held.contains(&member.uuid) || follows(&member.uuid))
            .map(|member| member.name.as_str())
            .collect();
        let help = format!("wait for it: tenantctl rollout status {} --watch", other.id);
        if let Some(first) = shared.first() {
            let more = match shared.len() - 1 {
                0 => "is".to_owned(),
                1 => "and one other are".to_owned(),
                more => format!("and {more} others are"),
            };
            let text = format!("cannot start a rollout: tenant {first:?} {more} in rollout {}", other.id);
            return Err(Failure::new(Code::Busy, text).help(help));
        }
        if let (Some(own), Some(theirs)) = (&new.channel, &other.channel)
            && new.image == other.image
            && own.name == theirs.name
        {
            let text = format!(
                "cannot start a rollout: rollout {} moves the channel {}:{}",
                other.id, other.image, own.name
            );
            return Err(Failure::new(Code::Busy, text).help(help));
        }
    }
    Ok(())
}
