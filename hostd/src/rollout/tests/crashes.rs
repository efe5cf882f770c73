//! hostd dies at every point of a rollout, and another one goes on.

use wire::MemberState;

use super::fake::{Answer, Fake, digest, request};
use crate::rollout::record::{End, Step};

const POLICY: &str = "waves = [\"1\", \"10%\", \"50%\", \"100%\"]\ngate = [\"systemd\", \"tcp:22\"]\nbake = \"2s\"\nmax_unavailable = 4\n";

/// How many points there are.
async fn points(prepare: impl Fn(&Fake)) -> usize {
    let fake = Fake::with(30);
    prepare(&fake);
    let id = fake.begin(&request(POLICY));
    fake.to_the_end(id).await;
    fake.inner().points
}

fn check_finished(fake: &Fake, of: &str) {
    let record = fake.record(1);
    assert_eq!(record.step, Step::Done(End::Finished), "{of}: {}", record.render());
    assert_eq!(fake.given(&[digest("b")]).len(), 30, "{of}: each is moved once and none is left");
    assert!(record.members.iter().all(|member| member.state == MemberState::Passed), "{of}");
    assert_eq!(fake.inner().channel, Some(digest("b")), "{of}");
    assert!(fake.most_at_once() <= 4, "{of}: {}", fake.most_at_once());
}

#[tokio::test]
async fn a_hostd_that_dies_at_any_point_moves_each_tenant_once_and_loses_none() {
    let all = points(|_| {}).await;
    assert!(all > 150, "{all}");
    for death in 1..=all {
        let fake = Fake::with(30);
        let id = fake.begin(&request(POLICY));
        fake.inner().deaths.insert(death);
        fake.to_the_end(id).await;
        assert!(fake.inner().deaths.is_empty(), "it died at {death} of {all}");
        check_finished(&fake, &format!("death at {death}"));
    }
}

#[tokio::test]
async fn a_wave_is_undone_once_wherever_hostd_dies() {
    // The twelve of the third wave are t03 to t14.
    let spoil = |fake: &Fake| fake.change(9, |tenant| tenant.answer = Answer::FailsInNew);
    let all = points(spoil).await;
    for death in 1..=all {
        let fake = Fake::with(30);
        spoil(&fake);
        let id = fake.begin(&request(POLICY));
        fake.inner().deaths.insert(death);
        let record = fake.to_the_end(id).await;
        let of = format!("death at {death} of {all}");
        assert_eq!(record.step, Step::Done(End::Failed), "{of}");
        assert!(
            record.reason.as_ref().is_some_and(|why| why.contains("\"t09\"")),
            "{of}: {:?}",
            record.reason
        );
        assert_eq!(fake.given(&[digest("b")]), [0, 1, 2], "{of}: waves that were done stay");
        assert_eq!(fake.given(&[digest("b"), digest("a")]), (3..15).collect::<Vec<_>>(), "{of}");
        assert_eq!(fake.given(&[]), (15..30).collect::<Vec<_>>(), "{of}");
        assert_eq!(fake.inner().channel, Some(digest("a")), "{of}");
    }
}

#[tokio::test]
async fn a_hostd_that_dies_again_and_again_comes_to_the_end() {
    let all = points(|_| {}).await;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..50 {
        let fake = Fake::with(30);
        let id = fake.begin(&request(POLICY));
        for _ in 0..8 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            fake.inner().deaths.insert(1 + usize::try_from(random % all as u64).unwrap());
        }
        fake.to_the_end(id).await;
        check_finished(&fake, &format!("round {round}"));
    }
}

#[tokio::test]
async fn a_restart_that_was_cut_in_half_is_finished() {
    // hostd dies between the stop and the start: the record of the tenant says the new version, and it is down.
    let half = || {
        let fake = Fake::with(2);
        fake.change(0, |tenant| {
            tenant.then = Some(|tenant| {
                (tenant.seen.state, tenant.seen.running) = (wire::TenantState::Stopped, None);
            });
        });
        fake.begin(&request("waves = [\"100%\"]\nmode = \"restart\"\n"));
        fake
    };
    let whole = half();
    whole.to_the_end(1).await;
    let (all, mut cut) = (whole.inner().points, 0);
    for death in 1..=all {
        let fake = half();
        fake.inner().deaths.insert(death);
        fake.one_hostd(1).await;
        let was_given = fake.given(&[digest("b")]).contains(&0);
        let was_noted = fake.record(1).members[0].state != MemberState::Waiting;
        fake.to_the_end(1).await;
        if was_given && !was_noted {
            cut += 1;
            assert_eq!(fake.inner().tenants["uuid00"].starts, 1, "death at {death}");
        }
    }
    assert!(cut > 1, "no death was between the two");
}

#[tokio::test]
async fn a_boot_of_the_machine_is_no_reboot_of_its_tenants() {
    let all = points(|_| {}).await;
    for death in (1..=all).step_by(7) {
        let fake = Fake::with(30);
        let id = fake.begin(&request(POLICY));
        fake.inner().deaths.insert(death);
        fake.one_hostd(id).await;
        {
            let mut inner = fake.inner();
            inner.boot = "two".to_owned();
            for tenant in inner.tenants.values_mut() {
                // Supervisors have new numbers, or by chance the old ones.
                tenant.seen.marks.as_mut().unwrap().boots = 2;
                tenant.seen.running = Some(tenant.seen.pinned);
            }
        }
        fake.to_the_end(id).await;
        check_finished(&fake, &format!("death at {death}"));
    }
}
