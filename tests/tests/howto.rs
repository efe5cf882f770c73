//! Every command that the how-to guides and the tutorial show is run: one test for each page.

use std::collections::BTreeSet;

use tenantry_tests::howto::{Page, follow, pages};

/// A test for each page, named after it.
macro_rules! pages {
    ($($test:ident: $page:literal;)*) => {
        $(#[test] fn $test() { follow($page); })*
        const FOLLOWED: &[&str] = &[$($page),*];
    };
}

pages! {
    first_tenant: "tutorial/first-tenant.md";
    patch_a_fleet: "tutorial/patch-a-fleet.md";
    an_admins_first_hour: "how-to/an-admins-first-hour.md";
    back_up_a_tenant: "how-to/back-up-a-tenant.md";
    connect_bridge: "how-to/connect-bridge.md";
    connect_macvlan: "how-to/connect-macvlan.md";
    connect_none: "how-to/connect-none.md";
    connect_phys: "how-to/connect-phys.md";
    connect_routed: "how-to/connect-routed.md";
    create_a_tenant: "how-to/create-a-tenant.md";
    distribute_nics: "how-to/distribute-nics.md";
    find_drift: "how-to/find-drift.md";
    find_stale_processes: "how-to/find-stale-processes.md";
    forward_a_port: "how-to/forward-a-port.md";
    give_a_tenant_an_address: "how-to/give-a-tenant-an-address.md";
    give_a_tenant_secrets: "how-to/give-a-tenant-secrets.md";
    give_tenants_internet: "how-to/give-tenants-internet.md";
    harden_a_host: "how-to/harden-a-host.md";
    import_from_lxc: "how-to/import-from-lxc.md";
    let_tenants_reach_each_other: "how-to/let-tenants-reach-each-other.md";
    limit_a_tenant: "how-to/limit-a-tenant.md";
    limit_the_network: "how-to/limit-the-network.md";
    log_in_on_a_tty: "how-to/log-in-on-a-tty.md";
    manage_users_and_ssh_keys: "how-to/manage-users-and-ssh-keys.md";
    move_images_between_hosts: "how-to/move-images-between-hosts.md";
    open_a_service_of_the_host: "how-to/open-a-service-of-the-host.md";
    park_idle_tenants: "how-to/park-idle-tenants.md";
    publish_an_image: "how-to/publish-an-image.md";
    read_a_plan: "how-to/read-a-plan.md";
    read_logs: "how-to/read-logs.md";
    rebase_a_tenant: "how-to/rebase-a-tenant.md";
    recover_from_a_crash: "how-to/recover-from-a-crash.md";
    repair_a_host: "how-to/repair-a-host.md";
    roll_back_a_tenant: "how-to/roll-back-a-tenant.md";
    roll_out_a_version: "how-to/roll-out-a-version.md";
    run_a_command: "how-to/run-a-command.md";
    run_a_router: "how-to/run-a-router.md";
    run_an_app: "how-to/run-an-app.md";
    run_an_app_plus: "how-to/run-an-app-plus.md";
    run_an_os_tenant: "how-to/run-an-os-tenant.md";
    run_jobs: "how-to/run-jobs.md";
    set_the_locale: "how-to/set-the-locale.md";
    sign_images: "how-to/sign-images.md";
    size_a_host: "how-to/size-a-host.md";
    update_an_image: "how-to/update-an-image.md";
}

/// Pages with nothing to run here; each says why.
const READ_ONLY: &[&str] = &["how-to/connect-vlan.md", "how-to/install.md", "how-to/run-the-demo.md"];

#[test]
fn no_page_is_forgotten() {
    let named: BTreeSet<_> = FOLLOWED.iter().chain(READ_ONLY).map(|name| (*name).to_owned()).collect();
    assert_eq!(pages().into_iter().collect::<BTreeSet<_>>(), named, "a page without a test");
    for name in FOLLOWED {
        assert!(Page::read(name).is_runnable(), "docs/{name} has no `sh` block");
    }
    for name in READ_ONLY {
        assert!(!Page::read(name).is_runnable(), "docs/{name} has `sh` blocks: have them run");
    }
}
