//! What is asked of rollouts: that two keep apart, that one is taken back.

use std::sync::Arc;

use wire::{Code, MemberState, RolloutRequest};

use super::fake::{Answer, Fake, digest, request, uuid};
use crate::rollout::{
    Record, Rollouts,
    begin::{self, Start},
    record::{End, Step},
};

fn start(id: u64) -> Start {
    Start { id, date: "2026-01-01T00:00:00Z".to_owned(), boot: "one".to_owned() }
}

fn forward(fake: &Fake, id: u64, text: &str) -> Record {
    let asked = RolloutRequest { image: Some("debian".to_owned()), ..request(text) };
    let channel = fake.inner().channel;
    begin::forward(&start(id), &asked, digest("b"), &fake.everyone(), |_| channel).unwrap()
}

#[test]
fn two_rollouts_never_have_the_same_tenant() {
    let fake = Fake::with(9);
    fake.change(8, |tenant| tenant.seen.follow = Some("edge".parse().unwrap()));
    let first = Arc::new(forward(&fake, 1, "names = [\"t0[0-3]\"]"));
    let apart = |record: &Record, other: &Arc<Record>| {
        begin::check_apart(record, std::slice::from_ref(other), &fake.everyone())
    };
    for (text, says) in [
        ("names = [\"t03\"]", "tenant \"t03\" is in rollout 1"),
        ("names = [\"t03\", \"t02\"]", "tenant \"t02\" and one other are in rollout 1"),
        ("", "tenant \"t00\" and 3 others are in rollout 1"),
    ] {
        let failure = apart(&forward(&fake, 2, text), &first).unwrap_err();
        assert_eq!(failure.code, Code::Busy);
        assert!(failure.message.ends_with(says), "{failure}");
    }
    apart(&forward(&fake, 2, "names = [\"t0[4-7]\"]"), &first).unwrap();
    // One without a selection takes at its end those that follow its channel, whether they are in it yet or not.
    let all = Arc::new(Record { members: Vec::new(), ..forward(&fake, 1, "") });
    let failure = apart(&forward(&fake, 2, "names = [\"t05\"]"), &all).unwrap_err();
    assert!(failure.message.ends_with("tenant \"t05\" is in rollout 1"), "{failure}");
    apart(&forward(&fake, 2, "names = [\"t08\"]"), &all).unwrap();
    let failure = apart(&forward(&fake, 2, "names = [\"t08\"]\nchannel = \"stable\""), &all).unwrap_err();
    assert!(failure.message.ends_with("rollout 1 moves the channel debian:stable"), "{failure}");
    let over = Arc::new(Record { step: Step::Done(End::Aborted), ..Record::clone(&first) });
    apart(&forward(&fake, 2, ""), &over).unwrap();
}

#[test]
fn a_rollout_knows_whose_tenants_are_elsewhere() {
    let fake = Fake::with(4);
    let rollouts = Rollouts::default();
    let active = rollouts.add(forward(&fake, 1, "names = [\"t0[01]\"]"));
    rollouts.add(forward(&fake, 2, "names = [\"t03\"]"));
    assert_eq!(rollouts.elsewhere(2).into_iter().collect::<Vec<_>>(), [uuid(0), uuid(1)]);
    assert_eq!(active.record().id, 1);
    rollouts.remove(1);
    assert!(rollouts.elsewhere(2).is_empty() && rollouts.active(1).is_none());
}

#[tokio::test]
async fn a_selection_without_a_tenant_is_refused_and_a_channel_without_followers_is_moved() {
    let fake = Fake::with(2);
    let asked = RolloutRequest { image: Some("debian".to_owned()), ..request("names = [\"x*\"]") };
    let failure = begin::forward(&start(1), &asked, digest("b"), &fake.everyone(), |_| None).unwrap_err();
    assert_eq!(failure.code, Code::NotFound);
    for number in [0, 1] {
        fake.change(number, |tenant| tenant.seen.follow = None);
    }
    let id = fake.begin(&RolloutRequest::default());
    let record = fake.to_the_end(id).await;
    assert!(record.waves.is_empty() && record.step == Step::Done(End::Finished));
    assert_eq!(fake.inner().channel, Some(digest("b")));
}

#[tokio::test]
async fn a_rollout_that_ended_is_taken_back_with_its_channel() {
    let fake = Fake::with(12);
    let id = fake.begin(&request(""));
    let going_on = fake.record(id);
    let failure =
        begin::backward(&start(2), &RolloutRequest::default(), &going_on, &fake.everyone()).unwrap_err();
    assert_eq!(failure.code, Code::Running);
    let record = fake.to_the_end(id).await;
    // An admin has moved one since.
    fake.change(3, |tenant| tenant.seen.pinned = digest("c"));
    let wrong = RolloutRequest { to: Some(":stable".to_owned()), ..RolloutRequest::default() };
    assert_eq!(
        begin::backward(&start(2), &wrong, &record, &fake.everyone()).unwrap_err().code,
        Code::Invalid
    );
    let back = begin::backward(&start(2), &RolloutRequest::default(), &record, &fake.everyone()).unwrap();
    assert_eq!((back.waves.len(), back.members.len(), back.back_of), (1, 11, Some(1)));
    fake.inner().disk.insert(2, back.clone());
    let back = fake.to_the_end(2).await;
    assert_eq!(back.step, Step::Done(End::Finished));
    assert_eq!(fake.given(&[digest("b"), digest("a")]).len(), 11);
    assert_eq!(fake.inner().channel, Some(digest("a")));
    let nothing =
        begin::backward(&start(3), &RolloutRequest::default(), &record, &fake.everyone()).unwrap_err();
    assert_eq!(nothing.code, Code::NotFound);
}

#[tokio::test]
async fn a_channel_that_points_elsewhere_meanwhile_is_left_when_a_rollout_is_taken_back() {
    let fake = Fake::with(3);
    let id = fake.begin(&request("gate = [\"tcp:1\"]"));
    let record = fake.to_the_end(id).await;
    fake.inner().channel = Some(digest("c"));
    let back = begin::backward(&start(2), &RolloutRequest::default(), &record, &fake.everyone()).unwrap();
    fake.inner().disk.insert(2, back.clone());
    fake.change(0, |tenant| tenant.answer = Answer::Fails);
    let back = fake.to_the_end(2).await;
    assert!(back.members.iter().all(|member| member.state == MemberState::Passed));
    assert_eq!(fake.inner().channel, Some(digest("c")));
}
