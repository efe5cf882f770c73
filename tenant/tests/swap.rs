//! Another version beneath a running tenant: what is planned, what the kernel is told, and a failure at every step.

mod common;

use common::assert_golden;
use tenant::{
    Layout, Plan, apply,
    apply::SwapError,
    kernel::{Fake, Kept, Payload},
    model::{
        ids::Digest,
        image::{InitKind, Manifest, TopEntry},
    },
    plan::swap::{self, SwapPlan, SwapRefusal},
};

/// Directories at the top that a merged image has as links.
const NOT_MERGED: [&str; 3] = ["bin", "lib", "sbin"];

fn layout() -> Layout {
    Layout::new("/")
}

fn old() -> Manifest {
    common::manifest()
}

fn new() -> Manifest {
    Manifest { digest: Digest::from_bytes([0xaa; 32]), ..old() }
}

fn not_merged(manifest: Manifest) -> Manifest {
    let mut top = manifest.top.clone();
    for entry in top.iter_mut().filter(|entry| NOT_MERGED.contains(&&*entry.name)) {
        *entry = TopEntry { name: entry.name.clone(), mode: Some(0o755), target: None };
    }
    Manifest { top, ..manifest }
}

fn planned(own: &str, from: &Manifest, to: &Manifest) -> (Plan, Result<SwapPlan, SwapRefusal>) {
    let running = common::plan_with(own, &common::allocation(), from, &common::facts()).unwrap();
    let swap = swap::plan(&layout(), &running, from, to);
    (running, swap)
}

/// Tenants whose base can be swapped, and how.
fn kinds() -> [(&'static str, Plan, SwapPlan); 3] {
    let kinds = [
        ("shared-os", "", old(), new()),
        ("not-merged", "", not_merged(old()), not_merged(new())),
        ("app", common::APP, old(), new()),
    ];
    kinds.map(|(kind, own, from, to)| {
        let (running, swap) = planned(own, &from, &to);
        (kind, running, swap.unwrap())
    })
}

#[test]
fn what_is_swapped_and_what_waits_is_as_it_always_was() {
    for (kind, _, swap) in kinds() {
        assert_golden(&format!("swap-{kind}.txt"), &swap.to_string());
    }
}

#[test]
fn an_install_of_its_own_is_refused() {
    let refusal = planned("profile = \"os\"", &old(), &new()).1.unwrap_err();
    assert_eq!(refusal, SwapRefusal::OwnInstall);
    assert_golden("swap-os.txt", &format!("{refusal}\nhelp: {}\n", refusal.help()));
}

#[test]
fn what_only_a_boot_brings_takes_a_restart() {
    let mut changed = vec![("arch", Manifest { arch: "riscv64".to_owned(), ..new() })];
    let mut boot = new();
    boot.boot.init.push("--verbose".to_owned());
    changed.push(("init", boot));
    let mut top = new();
    top.top.push(TopEntry { name: "nix".to_owned(), mode: Some(0o755), target: None });
    changed.push(("/nix", top));
    changed.push(("kind of init", Manifest { init_kind: Some(InitKind::OpenRc), ..new() }));
    let from = Manifest { init_kind: Some(InitKind::Systemd), ..old() };
    for (what, to) in changed {
        match planned("", &from, &to).1 {
            Err(SwapRefusal::Differs(reasons)) => {
                assert!(reasons.len() == 1 && reasons[0].contains(what), "{what}: {reasons:?}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    // Where that is not known of one of them, it is no reason.
    assert!(planned("", &old(), &Manifest { init_kind: Some(InitKind::OpenRc), ..new() }).1.is_ok());
}

fn started(plan: &Plan) -> (Fake, Payload<tenant::kernel::FakeFd>) {
    let kernel = Fake::new();
    let payload = apply::start(&kernel, plan).unwrap();
    (kernel, payload)
}

fn kept<Fd>(payload: &mut Payload<Fd>) -> &mut Kept<Fd> {
    payload.kept.as_mut().unwrap()
}

/// The mounts whose source is an image.
fn bases(kernel: &Fake) -> Vec<String> {
    kernel.mounted().into_iter().filter(|mount| mount.contains('@')).collect()
}

#[test]
fn the_kernel_is_told_what_it_was_always_told() {
    for (kind, plan, swap) in kinds() {
        let (kernel, mut payload) = started(&plan);
        let before = kernel.told().len();
        drop(apply::swap(&kernel, payload.pid, kept(&mut payload), &swap).unwrap());
        let told: String = kernel.told()[before..].iter().map(|line| format!("{line}\n")).collect();
        assert_golden(&format!("calls-swap-{kind}.txt"), &told);
    }
}

#[test]
fn a_swap_shows_the_new_version_and_a_second_one_does_nothing() {
    for (kind, plan, swap) in kinds() {
        let (kernel, mut payload) = started(&plan);
        let before = kernel.mounted();
        let (changed, _) = apply::swap(&kernel, payload.pid, kept(&mut payload), &swap).unwrap();
        let names: Vec<String> = swap.mounts.iter().map(|mount| mount.at.to_string()).collect();
        assert_eq!(changed, names, "{kind}");
        let expected: Vec<String> = before
            .iter()
            .map(|mount| match names.iter().any(|name| mount.starts_with(&format!("{name} "))) {
                true => mount.replace(&swap.from.source_name(), &swap.to.source_name()),
                false => mount.clone(),
            })
            .collect();
        assert_eq!(kernel.mounted(), expected, "{kind}");
        let (changed, _) = apply::swap(&kernel, payload.pid, kept(&mut payload), &swap).unwrap();
        assert!(changed.is_empty(), "{kind}: {changed:?}");
        // And back, as often as it is asked for.
        let back = SwapPlan { from: swap.to.clone(), to: swap.from.clone(), ..swap.clone() };
        for plan in [&back, &swap, &back] {
            drop(apply::swap(&kernel, payload.pid, kept(&mut payload), plan).unwrap());
        }
        assert_eq!(kernel.mounted(), before, "{kind}");
    }
}

#[test]
fn a_swap_that_fails_at_any_step_leaves_what_there_was_and_can_be_done_again() {
    for (kind, plan, swap) in kinds() {
        let (whole, mut payload) = started(&plan);
        whole.fail_at(usize::MAX);
        drop(apply::swap(&whole, payload.pid, kept(&mut payload), &swap).unwrap());
        let steps = whole.calls();
        assert!(steps > 8, "{kind}: {steps} steps");
        for step in 0..steps {
            let (kernel, mut payload) = started(&plan);
            let before = bases(&kernel);
            kernel.fail_at(step);
            let result = apply::swap(&kernel, payload.pid, kept(&mut payload), &swap);
            let is_done = match result {
                Err(SwapError::Failed { cleanup, .. }) => {
                    assert!(cleanup.is_empty(), "{kind}, step {step}: {cleanup:?}");
                    false
                }
                Err(SwapError::Refused(reason)) => panic!("{kind}, step {step}: {reason}"),
                Ok(_) => true,
            };
            let now = bases(&kernel);
            let has = |version: &str| now.iter().any(|mount| mount.ends_with(version));
            if is_done || step + 1 == steps {
                // What fails last of all keeps only the next swap from being done.
                assert!(has(&swap.to.source_name()), "{kind}, step {step}: {now:?}");
                continue;
            }
            assert_eq!(now, before, "{kind}: after a failure at step {step}");
            kernel.fail_at(usize::MAX);
            if kept(&mut payload).parents.is_empty() {
                continue;
            }
            drop(apply::swap(&kernel, payload.pid, kept(&mut payload), &swap).unwrap());
            assert_eq!(kernel.mounted().len(), whole.mounted().len(), "{kind}, step {step}");
        }
    }
}

#[test]
fn what_a_crash_left_half_done_is_finished() {
    let (_, plan, swap) = kinds().into_iter().next().unwrap();
    let (kernel, mut payload) = started(&plan);
    kernel.mount_beneath("usr", &swap.to.source_name());
    let before = kernel.mounted().len();
    let (changed, _) = apply::swap(&kernel, payload.pid, kept(&mut payload), &swap).unwrap();
    assert_eq!(changed, ["/usr", "/var/lib/dpkg"]);
    assert!(bases(&kernel).contains(&format!("/usr {}", swap.to.source_name())));
    assert_eq!(kernel.mounted().len(), before - 1, "{:?}", kernel.mounted());
}

#[test]
fn what_the_tenant_has_mounted_itself_is_kept_or_told() {
    let (_, plan, swap) = kinds().into_iter().next().unwrap();
    let (kernel, mut payload) = started(&plan);
    kernel.mount_inside("usr/games", "games");
    let before = kernel.mounted().len();
    drop(apply::swap(&kernel, payload.pid, kept(&mut payload), &swap).unwrap());
    assert!(kernel.mounted().contains(&"/usr/games games".to_owned()), "{:?}", kernel.mounted());
    assert_eq!(kernel.mounted().len(), before);
    kernel.mount_inside("usr", "own");
    let back = SwapPlan { from: swap.to.clone(), to: swap.from.clone(), ..swap };
    let error = apply::swap(&kernel, payload.pid, kept(&mut payload), &back).unwrap_err();
    assert!(matches!(&error, SwapError::Refused(_)), "{error:?}");
    assert_eq!(error.to_string(), "something is mounted over /usr inside: tmpfs \"own\"");
}
