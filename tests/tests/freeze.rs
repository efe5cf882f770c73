//! Freezing and thawing: what a tenant holds open stays open, and what was sent to it meanwhile arrives.

use std::time::{Duration, Instant};

use tenantry_tests::{Host, Running, Tenant, poll};

/// How often each test freezes and thaws.
const CYCLES: usize = 3;

const PORT: &str = "7000";

fn probe(tenant: &Tenant<'_>, words: &[&str]) -> Running {
    let mut all = vec!["/root/probe"];
    all.extend(words);
    Running::start(&tenant.exec(&all))
}

/// Three that hear each other over TCP: what one says comes to all. The relay is bob's.
struct Talk<'a> {
    alice: Tenant<'a>,
    bob: Tenant<'a>,
    _relay: Running,
    from_alice: Running,
    from_host: Running,
}

impl<'a> Talk<'a> {
    fn begin(host: &'a Host) -> Self {
        let group = ["--image", "busybox", "--set", "group=g"];
        let (alice, bob) = (host.boot("alice", &group), host.boot("bob", &group));
        alice.bring_probe();
        bob.bring_probe();
        let mut relay = probe(&bob, &["relay", PORT]);
        relay.expect("relaying");
        let address = bob.field("/ipv4");
        let mut from_alice = probe(&alice, &["talk", &address, PORT]);
        from_alice.expect("connected");
        let program = host.program("probe").display().to_string();
        let mut from_host = Running::start(&host.run(&program, &["talk", &address, PORT]));
        from_host.expect("connected");
        let mut talk = Self { alice, bob, _relay: relay, from_alice, from_host };
        talk.passes("hello");
        talk
    }

    /// Something said on each side comes to the other.
    fn passes(&mut self, word: &str) {
        let (up, down) = (format!("{word} from alice"), format!("{word} from the host"));
        self.from_alice.say(&up);
        self.from_host.expect(&up);
        self.from_host.say(&down);
        self.from_alice.expect(&down);
    }

    /// Says something on both sides while these are frozen; after the thaw each side has heard it.
    fn freeze(&mut self, cycle: usize, frozen: &[Tenant<'_>]) {
        for tenant in frozen {
            tenant.ctl("freeze", &[]).ok();
            assert_eq!(tenant.phase(), "frozen");
        }
        let (up, down) = (format!("cycle {cycle}, up"), format!("cycle {cycle}, down"));
        let before = self.from_alice.lines().len();
        self.from_alice.say(&up);
        self.from_host.say(&down);
        if frozen.len() == 1 && frozen[0].name() == "alice" {
            // The relay runs and has sent it; alice alone does not get to it.
            self.from_host.expect(&down);
        }
        assert_eq!(self.from_alice.lines().len(), before, "alice hears while somebody is frozen");
        for tenant in frozen {
            tenant.ctl("thaw", &[]).ok();
        }
        self.from_alice.expect(&down);
        self.from_host.expect(&up);
        self.passes(&format!("after {cycle}"));
    }
}

#[test]
fn a_frozen_client_keeps_its_connection_and_gets_what_was_sent() {
    let host = Host::start();
    let mut talk = Talk::begin(&host);
    let alice = talk.alice.clone();
    (0..CYCLES).for_each(|cycle| talk.freeze(cycle, std::slice::from_ref(&alice)));
}

#[test]
fn a_frozen_server_keeps_its_connections_and_gets_what_was_sent() {
    let host = Host::start();
    let mut talk = Talk::begin(&host);
    let bob = talk.bob.clone();
    (0..CYCLES).for_each(|cycle| talk.freeze(cycle, std::slice::from_ref(&bob)));
}

#[test]
fn a_connection_survives_when_both_ends_are_frozen() {
    let host = Host::start();
    let mut talk = Talk::begin(&host);
    let both = [talk.alice.clone(), talk.bob.clone()];
    (0..CYCLES).for_each(|cycle| talk.freeze(cycle, &both));
}

#[test]
fn a_pipe_and_a_timer_stand_still_and_go_on_without_a_gap() {
    let host = Host::start();
    let [alice, bob] = ["alice", "bob"].map(|name| host.boot(name, &["--image", "busybox"]));
    let script = "/root/probe tick 20 | while read n; do echo seen $n; done";
    let [mut clock, control] = [&alice, &bob].map(|tenant| {
        tenant.bring_probe();
        Running::start(&tenant.shell(script))
    });
    for _ in 0..CYCLES {
        clock.expect_lines(clock.lines().len() + 3);
        alice.ctl("freeze", &[]).ok();
        // What was in the pipe out of the tenant has been read when bob, who runs, was heard twice.
        control.expect_lines(control.lines().len() + 2);
        let frozen_at = clock.lines().len();
        control.expect_lines(control.lines().len() + 10);
        assert_eq!(clock.lines().len(), frozen_at, "a clock runs in a frozen tenant");
        alice.ctl("thaw", &[]).ok();
        clock.expect_lines(frozen_at + 3);
    }
    assert!(clock.goes_on());
    let seen = clock.lines();
    let wanted: Vec<String> = (1..=seen.len()).map(|number| format!("seen {number}")).collect();
    assert_eq!(seen, wanted);
}

#[test]
fn a_timer_that_ran_out_while_frozen_fires_after_the_thaw() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    // Longer than a busy machine needs for two commands.
    const TIMER: Duration = Duration::from_secs(5);
    let begin = Instant::now();
    let timer = format!(
        "systemd-run --quiet --unit=late --on-active={} --timer-property=AccuracySec=1ms touch /root/late",
        TIMER.as_secs()
    );
    alice.says(&timer);
    alice.ctl("freeze", &[]).ok();
    assert!(begin.elapsed() < TIMER, "too slow to be frozen before the timer");
    poll::until_true("the timer has run out", || begin.elapsed() > TIMER + Duration::from_millis(200));
    alice.ctl("thaw", &[]).ok();
    poll::until_true("the timer fires", || alice.shell("test -e /root/late").output().status.success());
}

#[test]
fn an_attached_session_on_a_tty_survives_and_reads_what_was_typed() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let mut terminal = alice.console(&["-t", "1"]);
    terminal.type_until("\r", "login:");
    terminal.type_in("root\r");
    terminal.type_until("\r", "alice:~#");
    terminal.type_in("mark=kept-$((40+2))\r");
    terminal.expect("#");
    for cycle in 0..CYCLES {
        alice.ctl("freeze", &[]).ok();
        terminal.type_in(&format!("echo $mark-$(({cycle}+0))\r"));
        let answer = format!("kept-42-{cycle}");
        assert!(!terminal.shown().contains(&answer), "a frozen shell answers");
        alice.ctl("thaw", &[]).ok();
        terminal.expect(&answer);
    }
}
