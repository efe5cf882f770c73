mod events;
mod list;
mod together;

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::{Value, json};
use tenant::TenantName;

use super::*;
use crate::{
    records::tests::Trial,
    units::{UnitManager, standalone::Standalone, systemd::Systemd},
};

/// An API over a host in a temporary directory whose supervisor is a shell script.
struct Api {
    router: Router,
    host: Arc<Host>,
    trial: Trial,
}

impl Api {
    fn new(supervisor: &str) -> Self {
        let trial = Trial::new();
        let store = trial.open();
        // A signal before the trap is set would end it at once.
        let supervisor = &supervisor.replacen(" TERM; ", " TERM; : > \"$0.traps\"; ", 1);
        let units = Standalone::for_tests(trial.layout.clone(), supervisor);
        let host = Host::new(store, UnitManager::Standalone(units));
        Self { router: router(host.clone()), host, trial }
    }

    /// One whose tenants are units of a systemd that cannot be reached, with its unit files in a directory.
    fn without_systemd(unit_files: &std::path::Path) -> Self {
        let trial = Trial::new();
        let facts = crate::records::tests::facts();
        let units = Systemd::for_tests(trial.layout.clone(), &facts, unit_files.to_owned());
        let host = Host::new(trial.open(), UnitManager::Systemd(units));
        Self { router: router(host.clone()), host, trial }
    }

    /// Makes a request and hangs up as soon as `begun`: what hyper does to a handler whose client is gone.
    async fn hang_up(&self, method: &str, path: &str, body: Value, begun: impl Fn() -> bool) {
        let mut call = Box::pin(self.call(method, path, body));
        while !begun() {
            // In this order: where the machine is busy both are ready, and it is looked whether it has begun.
            tokio::select! {
                biased;
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
                answer = &mut call => panic!("{method} {path} was answered: {answer:?}"),
            }
        }
    }

    /// Starts a tenant without an interface, whose supervisor is the script, which traps SIGTERM: taking it down touches nothing of the
    /// machine's network.
    async fn start(&self, name: &str) {
        self.call("POST", "/v1/tenants", json!({"name": name, "set": ["nic=[]"]})).await;
        let socket = self.trial.layout.run().join("notify").join(name);
        let traps = self.trial.layout.root().join("supervisor.traps");
        let _ = std::fs::remove_file(&traps);
        let ready = tokio::spawn(async move {
            while !traps.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
            while sender.send_to(b"READY=1", &socket).is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let (status, done) = self.call("POST", &format!("/v1/tenants/{name}/start"), json!({})).await;
        assert_eq!((status, done["result"].as_str()), (200, Some("created")), "{done}");
        ready.await.unwrap();
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_null() {
            request = request.header("content-type", "application/json");
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = answer(&self.router, &PendingChanges::default(), request.body(body).unwrap()).await;
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, Value::Null).await
    }
}

#[tokio::test]
async fn a_tenant_is_made_shown_changed_and_removed() {
    let api = Api::new("exit 0");
    let (status, done) = api.call("POST", "/v1/tenants", json!({"name": "alice", "set": ["ttys=2"]})).await;
    assert_eq!((status, &done["result"]), (200, &json!("created")), "{done}");
    let (_, again) = api.call("POST", "/v1/tenants", json!({"name": "alice", "image": "debian"})).await;
    assert_eq!(again["code"], "name-taken", "{again}");
    let (_, again) = api.call("POST", "/v1/tenants", json!({"name": "alice", "set": ["ttys=2"]})).await;
    assert_eq!(again["result"], "unchanged");

    let (_, list) = api.get("/v1/tenants").await;
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&json!("alice"), &json!("stopped")));
    let (_, show) = api.get("/v1/tenants/alice").await;
    assert_eq!((&show["index"], &show["profile"]), (&json!(1), &json!("shared-os")));

    let change = json!({"set": ["memory_max=1G"], "unset": ["ttys"]});
    let (status, done) = api.call("PATCH", "/v1/tenants/alice/config", change).await;
    assert_eq!((status, &done["result"]), (200, &json!("changed")));
    let (_, config) = api.get("/v1/tenants/alice/config").await;
    assert!(config["text"].as_str().unwrap().contains("memory_max = \"1G\""), "{config}");
    let stale = json!({"base": "", "text": "ttys = 1"});
    let (status, failure) = api.call("PUT", "/v1/tenants/alice/config", stale).await;
    assert_eq!((status, &failure["code"]), (409, &json!("conflict")));

    let (_, plan) = api.get("/v1/tenants/alice/plan").await;
    assert!(plan["text"].as_str().unwrap().contains("/etc overlay rw"), "{plan}");
    let (_, explain) = api.get("/v1/tenants/alice/explain").await;
    let line =
        |key: &str| explain.as_array().unwrap().iter().find(|line| line["key"] == key).unwrap().clone();
    assert_eq!(
        (&line("memory_max")["source"], &line("memory_max")["value"]),
        (&json!("tenant"), &json!("1G"))
    );
    assert_eq!(line("dirs.\"/etc\"")["source"], "profile");
    assert_eq!(line("init")["source"], "image");
    let (_, stat) = api.get("/v1/tenants/alice/stat").await;
    assert_eq!(stat["limits"]["memory_max_bytes"], 1 << 30);

    let (status, _) = api.call("DELETE", "/v1/tenants/alice", Value::Null).await;
    assert_eq!(status, 200);
    let (status, failure) = api.get("/v1/tenants/alice").await;
    assert_eq!((status, &failure["code"]), (404, &json!("no-tenant")));
}

#[tokio::test]
async fn every_bad_request_is_a_failure_with_a_code() {
    let api = Api::new("exit 0");
    api.call("POST", "/v1/tenants", json!({"name": "alice"})).await;
    for (method, path, body, status, code) in [
        ("POST", "/v1/tenants", json!({"name": "Alice"}), 400, "invalid"),
        ("POST", "/v1/tenants", json!({"name": "x\ny"}), 400, "invalid"),
        ("POST", "/v1/tenants", json!({"name": "bob", "colour": 1}), 400, "invalid"),
        ("POST", "/v1/tenants", json!({"name": "bob", "image": "x\"\ny=1"}), 400, "invalid"),
        ("POST", "/v1/tenants", json!({"name": "bob", "set": ["a\nb=1"]}), 400, "invalid"),
        ("POST", "/v1/tenants", json!([1]), 400, "invalid"),
        ("GET", "/v1/tenants/..%2F..%2Fetc", Value::Null, 400, "invalid"),
        ("GET", "/v1/tenants/bob", Value::Null, 404, "no-tenant"),
        ("POST", "/v1/tenants/bob/start", json!({}), 404, "no-tenant"),
        ("POST", "/v1/tenants/bob/stop", json!({}), 404, "no-tenant"),
        ("POST", "/v1/tenants/alice/freeze", Value::Null, 409, "not-running"),
        ("POST", "/v1/tenants/alice/kill", json!({}), 409, "not-running"),
        ("GET", "/v1/tenants/alice/wait?for=sunset", Value::Null, 400, "invalid"),
        ("GET", "/v1/tenants/alice/wait?timeout_sec=0", Value::Null, 504, "timeout"),
        ("GET", "/v1/tenants/alice/logs?tty=99", Value::Null, 400, "invalid"),
        ("DELETE", "/v1/tenants/alice?why=1", Value::Null, 400, "invalid"),
        ("PATCH", "/v1/tenants/alice/config", json!({"set": ["memorymax=1"]}), 400, "invalid"),
        ("GET", "/nonsense", Value::Null, 404, "not-found"),
        ("PUT", "/v1/host", json!({}), 400, "invalid"),
    ] {
        let (got, failure) = api.call(method, path, body).await;
        assert_eq!((got, failure["code"].as_str()), (status, Some(code)), "{method} {path}: {failure}");
        assert!(!failure["message"].as_str().unwrap().contains('\n'), "{failure}");
    }
}

#[tokio::test]
async fn the_table_of_nics_is_shown_and_changed() {
    let api = Api::new("exit 0");
    let set = json!([
        "nic=[{mode=\"routed\"},{mode=\"bridge\",link=\"no-such-bridge\",addresses=[\"10.0.0.2/24\"]}]"
    ]);
    let (_, done) = api.call("POST", "/v1/tenants", json!({"name": "edge", "set": set})).await;
    assert_eq!(
        done["warnings"],
        json!(["interface \"eth1\" needs \"no-such-bridge\", which does not exist on this host now"])
    );
    let row = json!({"link": "no-such-nic", "vlan": 7, "tenant": "edge", "name": "wan", "addresses": ["fd00::1/64"]});
    let (status, done) = api.call("PUT", "/v1/nics", row.clone()).await;
    assert_eq!((status, &done["result"], &done["name"]), (200, &json!("changed"), &json!("no-such-nic.7")));
    let (_, again) = api.call("PUT", "/v1/nics", row).await;
    assert_eq!(again["result"], "unchanged");
    let (_, table) = api.get("/v1/nics").await;
    assert_eq!(
        table["nics"],
        json!([{
            "link": "no-such-nic", "vlan": 7, "state": "missing", "tenant": "edge", "name": "wan",
            "addresses": ["fd00::1/64"], "source": "nics"
        }])
    );
    let (_, show) = api.get("/v1/tenants/edge").await;
    let nics: Vec<_> =
        show["nics"].as_array().unwrap().iter().map(|nic| (&nic["name"], &nic["source"])).collect();
    let expected =
        [("eth0", "tenant"), ("eth1", "tenant"), ("wan", "nics")].map(|(a, b)| (json!(a), json!(b)));
    assert_eq!(nics, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>(), "{show}");
    let (_, explain) = api.get("/v1/tenants/edge/explain").await;
    let wan = explain.as_array().unwrap().iter().find(|line| line["key"] == "nic[2]").unwrap();
    assert_eq!((&wan["source"], &wan["value"]), (&json!("nics"), &json!("wan")));
    for (method, path, body, status, code) in [
        ("PUT", "/v1/nics", json!({"link": "lo", "tenant": "edge"}), 400, "invalid"),
        ("PUT", "/v1/nics", json!({"link": "x", "tenant": "ghost"}), 404, "no-tenant"),
        (
            "PUT",
            "/v1/nics",
            json!({"link": "x", "tenant": "edge", "addresses": ["10.0.0.1/33"]}),
            400,
            "invalid",
        ),
        ("PUT", "/v1/nics", json!({"link": "no-such-nic", "tenant": "edge"}), 409, "taken"),
        ("DELETE", "/v1/nics?link=a%2Fb", Value::Null, 400, "invalid"),
        ("GET", "/v1/nics?what=1", Value::Null, 400, "invalid"),
    ] {
        let (got, failure) = api.call(method, path, body).await;
        assert_eq!((got, failure["code"].as_str()), (status, Some(code)), "{method} {path}: {failure}");
    }
    let (_, done) = api.call("DELETE", "/v1/nics?link=no-such-nic&vlan=7", Value::Null).await;
    assert_eq!(done["result"], "changed");
    assert_eq!(api.get("/v1/nics").await.1["nics"], json!([]));
}

#[tokio::test]
async fn a_huge_body_is_refused() {
    let api = Api::new("exit 0");
    let text = "#".repeat(MAX_BODY);
    let (status, failure) =
        api.call("PUT", "/v1/tenants/alice/config", json!({"base": "", "text": text})).await;
    assert_eq!((status, failure["code"].as_str()), (400, Some("invalid")));
}

#[tokio::test]
async fn a_failed_start_reports_the_supervisors_last_messages() {
    let api = Api::new("echo 'error: no such thing' >&2; exit 1");
    api.call("POST", "/v1/tenants", json!({"name": "alice", "set": ["nic=[]"]})).await;
    let (status, failure) = api.call("POST", "/v1/tenants/alice/start", json!({})).await;
    assert_eq!((status, failure["code"].as_str()), (500, Some("start-failed")));
    let message = failure["message"].as_str().unwrap();
    assert!(message.starts_with("cannot start tenant \"alice\""), "{message}");
    assert!(message.ends_with("error: no such thing"), "{message}");
    let (_, show) = api.get("/v1/tenants/alice").await;
    assert_eq!(show["state"], "stopped");
    let (status, _) = api.call("DELETE", "/v1/tenants/alice", Value::Null).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_running_tenant_is_not_destroyed_unless_forced() {
    let api = Api::new("trap 'exit 0' TERM; sleep 60 & wait");
    api.start("alice").await;
    let (_, again) = api.call("POST", "/v1/tenants/alice/start", json!({})).await;
    assert_eq!(again["result"], "unchanged");
    let (status, failure) = api.call("DELETE", "/v1/tenants/alice", Value::Null).await;
    assert_eq!((status, failure["code"].as_str()), (409, Some("running")));
    let (status, failure) = api.call("DELETE", "/v1/tenants/alice?force=true", Value::Null).await;
    assert_eq!(status, 200, "{failure}");
    assert_eq!(api.get("/v1/tenants").await.1, json!([]));
}

#[tokio::test]
async fn a_broken_tenant_is_listed_and_told_by_every_verb() {
    let trial = Trial::new();
    let store = trial.open();
    let [alice, bob]: [TenantName; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
    store.create(&alice, &crate::records::NewTenant::default()).unwrap();
    store.create(&bob, &crate::records::NewTenant::default()).unwrap();
    drop(store);
    std::fs::write(trial.layout.allocation(&bob), "nonsense").unwrap();
    let units = Standalone::for_tests(trial.layout.clone(), "exit 0");
    let host = Host::new(trial.open(), UnitManager::Standalone(units));
    let api = Api { router: router(host.clone()), host, trial };
    let (_, list) = api.get("/v1/tenants").await;
    assert_eq!(list[1]["state"], "broken");
    assert!(list[1]["broken"].as_str().unwrap().contains("malformed"), "{list}");
    assert_eq!(list[1]["ipv4"], "10.115.0.2");
    for (method, path, body) in [
        ("GET", "/v1/tenants/bob", Value::Null),
        ("GET", "/v1/tenants/bob/plan", Value::Null),
        ("GET", "/v1/tenants/bob/stat", Value::Null),
        ("GET", "/v1/tenants/bob/wait", Value::Null),
        ("POST", "/v1/tenants/bob/start", json!({})),
        ("POST", "/v1/tenants/bob/restart", json!({})),
        ("POST", "/v1/tenants/bob/freeze", Value::Null),
        ("POST", "/v1/tenants/bob/reload", json!({})),
        ("PATCH", "/v1/tenants/bob/config", json!({"set": ["ttys=1"]})),
        ("POST", "/v1/tenants", json!({"name": "bob"})),
        ("DELETE", "/v1/tenants/bob", Value::Null),
    ] {
        let (status, failure) = api.call(method, path, body).await;
        assert_eq!((status, failure["code"].as_str()), (409, Some("broken")), "{method} {path}: {failure}");
        let help = failure["help"].as_str().unwrap();
        assert!(help.contains("tenantctl doctor --repair") && help.contains("--force"), "{failure}");
    }
    let (status, stopped) = api.call("POST", "/v1/tenants/bob/stop", json!({})).await;
    assert_eq!(
        (status, &stopped["result"]),
        (200, &json!("unchanged")),
        "a broken one can run, and be stopped"
    );
    let records = |diagnosis: &Value| -> Vec<Value> {
        let all = diagnosis["findings"].as_array().unwrap().iter();
        all.filter(|finding| finding["check"] == "records").cloned().collect()
    };
    let (_, diagnosis) = api.get("/v1/doctor").await;
    let found = records(&diagnosis);
    assert_eq!((&found[0]["health"], &found[0]["tenant"]), (&json!("fault"), &json!("bob")), "{found:?}");
    assert_eq!(found[0]["help"], "tenantctl doctor --repair");
    let (_, diagnosis) = api.call("POST", "/v1/doctor", json!({})).await;
    assert_eq!(records(&diagnosis)[0]["repaired"], true, "{diagnosis}");
    let (_, list) = api.get("/v1/tenants").await;
    assert_eq!(list[1]["state"], "stopped");
    assert_eq!(records(&api.get("/v1/doctor").await.1)[0]["health"], "ok");

    // Damaged while hostd runs, it is written again from what hostd knows.
    std::fs::write(api.trial.layout.allocation(&alice), "nonsense").unwrap();
    let (_, diagnosis) = api.call("POST", "/v1/doctor", json!({})).await;
    assert_eq!(records(&diagnosis)[0]["repaired"], true, "{diagnosis}");
    assert!(api.host.store().record_fault(&alice).is_none());
}

#[test]
fn the_document_has_every_route() {
    let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
    for path in [
        "/v1/host",
        "/v1/tenants",
        "/v1/tenants/{name}",
        "/v1/tenants/{name}/start",
        "/v1/tenants/{name}/config",
        "/v1/tenants/{name}/logs",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    assert!(document["components"]["schemas"]["Summary"].is_object());
}

#[tokio::test]
async fn a_change_that_does_not_reach_the_unit_changes_nothing() {
    let unit_files = tempfile::tempdir().unwrap();
    let api = Api::without_systemd(unit_files.path());
    let alice: TenantName = "alice".parse().unwrap();
    api.host.store().create(&alice, &crate::records::NewTenant::default()).unwrap();
    let layout = &api.trial.layout;
    let state = || {
        let read = |path| std::fs::read_to_string(path).ok();
        let drop_ins = std::fs::read_dir(unit_files.path()).unwrap().count();
        let files = [layout.tenant_config(&alice), layout.allocation(&alice), layout.applied_config(&alice)];
        (files.map(read), drop_ins)
    };
    for applied in
        [None, Some(tenant::files::applied::AppliedConfig::new("", tenant::model::limits::Limits::default()))]
    {
        if let Some(applied) = applied {
            applied.write(&layout.applied_config(&alice)).unwrap();
        }
        let before = state();
        // Limits, the drop-in that is written before systemd is told of it, whether it starts with the host.
        for set in [json!(["memory_max=1G"]), json!(["restart=always", "ttys=2"]), json!(["autostart=true"])]
        {
            let change = json!({"set": set});
            let (status, refused) = api.call("PATCH", "/v1/tenants/alice/config", change).await;
            let said = refused["message"].as_str().unwrap_or_default();
            assert!(status >= 400 && said.contains("cannot connect to systemd"), "{set}: {status} {refused}");
            assert_eq!(state(), before, "{set}");
        }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
