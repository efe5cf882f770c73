//! Tenants, gates and disks that do what they like while a rollout goes on.

use std::time::Duration;

use wire::{MemberState, TenantState};

use super::fake::{Answer, Fake, digest, request, uuid};
use crate::rollout::{
    Active, Record,
    machine::Told,
    record::{End, Step, Wanted},
    run,
};

fn state_of(record: &Record, name: &str) -> (MemberState, String) {
    let member = record.members.iter().find(|member| member.name == name).unwrap();
    (member.state, member.note.clone().unwrap_or_default())
}

#[tokio::test]
async fn a_rollout_tells_of_its_waves_and_moves_the_channel_at_the_end() {
    let fake = Fake::with(30);
    let id = fake.begin(&request("bake = \"60s\"\ngate = [\"tcp:22\"]"));
    let record = fake.to_the_end(id).await;
    let inner = fake.inner();
    assert_eq!(
        inner.told,
        [1, 2, 3, 4].map(Told::WaveDone).into_iter().chain([Told::Ended(End::Finished)]).collect::<Vec<_>>()
    );
    assert_eq!(inner.channel, Some(digest("b")));
    assert!(record.waves.iter().all(|wave| wave.done.is_some()));
    // The clock of the wall jumps by decades all the while.
    let baked = inner.clock;
    assert!(baked >= Duration::from_secs(240) && baked < Duration::from_secs(250), "{baked:?}");
}

#[tokio::test]
async fn only_the_tenants_of_a_rollout_are_looked_at_once_for_each_step() {
    let fake = Fake::with(200);
    let id = fake.begin(&request("names = [\"t00*\", \"t01*\"]\nbake = \"60s\"\ngate = [\"tcp:22\"]"));
    let record = fake.to_the_end(id).await;
    assert_eq!((record.step, record.members.len()), (Step::Done(End::Finished), 2));
    // Two waves, each with twenty looks while it is watched and a few more.
    let looked = |inner: &super::fake::Inner| (inner.looks, inner.looks_at_all);
    let (looks, of_all) = looked(&fake.inner());
    assert!(looks <= 2 * 2 * 30 && of_all == 0, "{looks} looks at a tenant, {of_all} at all");
    let id = fake.begin(&request("gate = [\"tcp:22\"]"));
    fake.to_the_end(id).await;
    assert_eq!(
        fake.inner().looks_at_all,
        2,
        "those who came are looked for before the channel moves, and after"
    );
}

#[tokio::test]
async fn a_gate_that_never_answers_has_failed() {
    let fake = Fake::with(3);
    fake.change(0, |tenant| tenant.answer = Answer::Never);
    let id = fake.begin(&request("gate = [\"exec:true\"]\ngate_timeout = \"5s\""));
    let record = fake.to_the_end(id).await;
    assert_eq!(record.step, Step::Done(End::Failed));
    let reason = record.reason.unwrap();
    assert_eq!(
        reason,
        "tenant \"t00\": gate exec:true: no answer within 5 s; it holds in t01, t02, not moved yet"
    );
    assert_eq!(fake.inner().failed.len(), 1);
    assert_eq!(fake.given(&[digest("b"), digest("a")]), [0]);
    assert_eq!(fake.given(&[]), [1, 2]);
}

#[tokio::test]
async fn the_control_group_tells_that_a_version_need_not_be_the_cause() {
    let fake = Fake::with(4);
    for number in [0, 2] {
        fake.change(number, |tenant| tenant.answer = Answer::Fails);
    }
    let id = fake.begin(&request("gate = [\"http:80/\"]"));
    let reason = fake.to_the_end(id).await.reason.unwrap();
    assert!(
        reason.ends_with("; the same fails in t02, not moved yet: the version need not be the cause"),
        "{reason}"
    );
}

#[tokio::test]
async fn tenants_that_are_destroyed_stopped_frozen_or_moved_by_hand_fail_no_wave() {
    let fake = Fake::with(8);
    fake.change(1, |tenant| tenant.then = Some(|tenant| tenant.seen.state = TenantState::Stopped));
    fake.change(2, |tenant| tenant.then = Some(|tenant| tenant.seen.state = TenantState::Frozen));
    fake.change(3, |tenant| tenant.then = Some(|tenant| tenant.seen.state = TenantState::Destroying));
    fake.change(4, |tenant| {
        tenant.answer = Answer::Fails;
        tenant.seen.state = TenantState::Frozen;
    });
    let id = fake.begin(&request("waves = [\"1\", \"100%\"]\ngate = [\"systemd\", \"tcp:22\"]"));
    fake.inner().meanwhile = Some(|inner| {
        if inner.points == 4 {
            inner.tenants.remove(&uuid(5));
            let by_hand = inner.tenants.get_mut(&uuid(6)).unwrap();
            (by_hand.seen.pinned, by_hand.seen.running) = (digest("c"), Some(digest("c")));
            inner.tenants.get_mut(&uuid(7)).unwrap().seen.name = "renamed".to_owned();
        }
    });
    let record = fake.to_the_end(id).await;
    assert_eq!(record.step, Step::Done(End::Finished), "{}", record.render());
    assert_eq!(
        state_of(&record, "t01"),
        (MemberState::Passed, "it is not running: its gates were not asked".into())
    );
    assert_eq!(
        state_of(&record, "t02"),
        (MemberState::Passed, "it is frozen: its gates were not asked".into())
    );
    assert_eq!(state_of(&record, "t04").0, MemberState::Passed);
    for gone in ["t03", "t05", "t06"] {
        assert_eq!(state_of(&record, gone).0, MemberState::Gone, "{gone}");
    }
    assert_eq!(state_of(&record, "renamed").0, MemberState::Passed);
    assert!(fake.inner().tenants[&uuid(6)].given.is_empty(), "what an admin chose is left alone");
}

#[tokio::test]
async fn a_tenant_that_reboots_or_fails_in_its_wave_stops_it() {
    for (then, says) in [
        (
            (|tenant| tenant.seen.marks.as_mut().unwrap().boots = 2) as fn(&mut super::fake::FakeTenant),
            "it rebooted",
        ),
        (|tenant| tenant.seen.marks.as_mut().unwrap().oom_kills = 3, "killed 3 of its processes"),
        (|tenant| tenant.seen.state = TenantState::Failed, "it has failed"),
        (
            |tenant| tenant.units = Some(vec!["old.service".into(), "web.service".into()]),
            "web.service has failed",
        ),
        (|tenant| tenant.units = None, "systemctl does not answer any more"),
    ] {
        let fake = Fake::with(5);
        fake.change(1, |tenant| tenant.then = Some(then));
        let id = fake.begin(&request(
            "waves = [\"1\", \"50%\", \"100%\"]\ngate = [\"systemd\"]\ngate_timeout = \"1s\"",
        ));
        let record = fake.to_the_end(id).await;
        assert_eq!(record.step, Step::Done(End::Failed), "{says}");
        let reason = record.reason.clone().unwrap();
        assert!(reason.contains(says) && reason.contains("\"t01\""), "{reason}");
        assert_eq!(fake.given(&[digest("b"), digest("a")]), [1, 2], "{says}");
        // One that had gone down is started again with what it had.
        let starts = fake.inner().tenants[&uuid(1)].starts;
        assert_eq!(starts, usize::from(says == "it has failed"), "{says}");
    }
}

#[tokio::test]
async fn a_tenant_that_cannot_be_rebased_stops_the_rollout_and_what_cannot_be_put_back_is_told() {
    let fake = Fake::with(6);
    fake.change(4, |tenant| tenant.rebases = false);
    fake.change(3, |tenant| tenant.then = Some(|tenant| tenant.rebases = false));
    let id = fake.begin(&request("waves = [\"2\", \"100%\"]\nmax_unavailable = 1"));
    let record = fake.to_the_end(id).await;
    assert_eq!(record.reason.as_deref(), Some("tenant \"t04\": the kernel refuses it"));
    assert_eq!(
        state_of(&record, "t03"),
        (MemberState::Stuck, "cannot put it back: the kernel refuses it".into())
    );
    assert_eq!(state_of(&record, "t02").0, MemberState::Undone);
    assert_eq!(state_of(&record, "t04").0, MemberState::Failed);
    assert_eq!(state_of(&record, "t05").0, MemberState::Waiting, "nothing more is begun");
    assert_eq!(record.failures, 1);
}

#[tokio::test]
async fn a_tenant_that_is_stopped_or_destroyed_while_it_is_moved_fails_no_wave() {
    let fake = Fake::with(4);
    for number in [1, 2] {
        fake.change(number, |tenant| tenant.breaks = true);
    }
    let id = fake.begin(&request("waves = [\"1\", \"100%\"]\ngate = [\"tcp:1\"]"));
    let record = fake.to_the_end(id).await;
    assert_eq!(record.step, Step::Done(End::Finished), "{:?}", record.reason);
    assert_eq!(state_of(&record, "t01").0, MemberState::Gone);
    assert_eq!(
        state_of(&record, "t02"),
        (MemberState::Passed, "it is not running: its gates were not asked".into())
    );
    assert_eq!(fake.given(&[digest("b")]), [0, 1, 2], "one of the four is not there any more");
}

#[tokio::test]
async fn fewer_failures_than_allowed_are_put_back_alone() {
    let fake = Fake::with(10);
    for number in [2, 7] {
        fake.change(number, |tenant| tenant.answer = Answer::FailsInNew);
    }
    let id = fake.begin(&request("waves = [\"50%\", \"100%\"]\ngate = [\"tcp:1\"]\nmax_failures = 3"));
    let record = fake.to_the_end(id).await;
    assert_eq!((record.step, record.failures), (Step::Done(End::Finished), 2));
    assert_eq!(fake.given(&[digest("b"), digest("a")]), [2, 7]);
    assert_eq!(fake.given(&[digest("b")]).len(), 8);
}

#[tokio::test]
async fn a_disk_that_is_full_holds_it_until_there_is_room() {
    let fake = Fake::with(3);
    let id = fake.begin(&request("waves = [\"100%\"]"));
    fake.inner().full = 4;
    let record = fake.to_the_end(id).await;
    assert_eq!(record.step, Step::Done(End::Finished));
    assert!(fake.inner().clock >= Duration::from_secs(20), "it has waited");
}

#[tokio::test]
async fn who_comes_meanwhile_gets_the_old_version_and_is_moved_before_the_end() {
    let fake = Fake::with(3);
    let id = fake.begin(&request("gate = [\"tcp:1\"]"));
    fake.inner().meanwhile = Some(|inner| {
        if inner.points == 6 {
            inner.tenants.insert("uuidnew".to_owned(), Fake::tenant("new"));
            let mut pinned = Fake::tenant("pinned");
            pinned.seen.follow = None;
            inner.tenants.insert("uuidpinned".to_owned(), pinned);
            inner.tenants.insert("uuidother".to_owned(), Fake::tenant("other"));
            inner.elsewhere.insert("uuidother".to_owned());
        }
    });
    let record = fake.to_the_end(id).await;
    assert_eq!(record.waves.last().map(|wave| wave.size.as_str()), Some("new"));
    assert_eq!(state_of(&record, "new").0, MemberState::Passed);
    assert_eq!(fake.given(&[digest("b")]).len(), 4, "neither one that is pinned nor one of another rollout");
    assert_eq!(fake.inner().channel, Some(digest("b")));
}

#[tokio::test]
async fn a_rollout_pauses_goes_on_and_is_aborted_where_it_is() {
    let fake = Fake::with(20);
    let id = fake.begin(&request("waves = [\"10\", \"100%\"]\nmax_unavailable = 1"));
    let active = Active::new(fake.record(id));
    let task = tokio::spawn(run(active.clone(), fake.clone()));
    while fake.given(&[digest("b")]).len() < 3 {
        tokio::task::yield_now().await;
    }
    active.want(&*fake, Wanted::Pause).await.unwrap();
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    let paused = fake.given(&[digest("b")]).len();
    assert!((3..6).contains(&paused), "{paused}");
    assert!(!task.is_finished());
    active.want(&*fake, Wanted::Run).await.unwrap();
    while fake.given(&[digest("b")]).len() < 12 {
        tokio::task::yield_now().await;
    }
    active.want(&*fake, Wanted::Abort).await.unwrap();
    task.await.unwrap();
    let record = fake.record(id);
    let moved = fake.given(&[digest("b")]).len();
    assert!(record.step == Step::Done(End::Aborted) && (12..20).contains(&moved), "{moved}");
    assert_eq!(fake.inner().channel, Some(digest("a")), "the channel is left");
    let noted = record.members.iter().filter(|member| member.state != MemberState::Waiting).count();
    assert_eq!(noted, moved);
}
