//! What a list and a single tenant say, and how a list is asked for.

use super::*;

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

/// What a supervisor would have noted of its tenant's file when it started.
fn note_what_is_started(api: &Api, name: &str) {
    let (name, layout) = (name.parse().unwrap(), api.host.layout());
    std::fs::write(layout.started(&name), api.host.store().config_text(&name).unwrap()).unwrap();
}

#[tokio::test]
async fn labels_are_set_shown_and_removed_and_never_wait_for_a_start() {
    let api = Api::new("trap 'exit 0' TERM; sleep 60 & wait");
    api.start("alice").await;
    note_what_is_started(&api, "alice");
    let set = async |set: Value, unset: Value| {
        api.call("PATCH", "/v1/tenants/alice/config", json!({"set": set, "unset": unset})).await
    };
    let (status, done) =
        set(json!(["labels.tier=gold", "labels.\"example.com/no\"=7", "labels.owner=ops"]), json!([])).await;
    assert_eq!((status, &done["needs_restart"]), (200, &Value::Null), "{done}");
    let (_, done) = set(json!([]), json!(["labels.owner"])).await;
    assert_eq!(done["result"], "changed", "{done}");
    let labels = json!({"tier": "gold", "example.com/no": "7"});
    let (_, show) = api.get("/v1/tenants/alice").await;
    assert_eq!((&show["labels"], &show["waiting"]), (&labels, &Value::Null));
    let (_, list) = api.get("/v1/tenants").await;
    assert_eq!((&list[0]["labels"], &list[0]["pending"]), (&labels, &json!(false)));
    let (_, explain) = api.get("/v1/tenants/alice/explain").await;
    let has = |line: &Value| line["key"] == "labels.\"example.com/no\"" && line["source"] == "tenant";
    assert!(explain.as_array().unwrap().iter().any(has), "{explain}");
    for bad in ["labels.tier=a b", "labels.-x=1", "labels.\"a/b/c\"=1"] {
        let (status, failure) = set(json!([bad]), json!([])).await;
        assert_eq!((status, &failure["code"]), (400, &json!("invalid")), "{bad}: {failure}");
    }
    let many: Vec<_> = (0..63).map(|number| format!("labels.l{number}=x")).collect();
    let (status, failure) = set(json!(many), json!([])).await;
    assert_eq!(status, 400, "65 labels: {failure}");
    api.call("POST", "/v1/tenants/alice/kill", json!({})).await;
}

#[tokio::test]
async fn labels_of_a_profile_are_merged_one_by_one() {
    let api = Api::new("exit 0");
    let profiles = api.host.layout().etc().join("profiles");
    std::fs::create_dir_all(&profiles).unwrap();
    let profile =
        |tier: &str| format!("kind = \"shared-os\"\nlabels = {{ tier = \"{tier}\", site = \"b\" }}\n");
    std::fs::write(profiles.join("shop.toml"), profile("tin")).unwrap();
    let set = json!(["nic=[]", "labels.tier=gold"]);
    api.call("POST", "/v1/tenants", json!({"name": "alice", "profile": "shop", "set": set})).await;
    api.call("POST", "/v1/tenants", json!({"name": "bob", "profile": "shop", "set": ["nic=[]"]})).await;
    let (_, list) = api.get("/v1/tenants").await;
    assert_eq!(list[0]["labels"], json!({"tier": "gold", "site": "b"}), "{list}");
    assert_eq!(list[1]["labels"], json!({"tier": "tin", "site": "b"}));
    // The profile is looked at again when it has changed.
    std::fs::write(profiles.join("shop.toml"), profile("silver")).unwrap();
    let (_, list) = api.get("/v1/tenants").await;
    assert_eq!(list[1]["labels"]["tier"], "silver");
}

#[tokio::test]
async fn a_list_is_filtered_by_the_server() {
    let api = Api::new("trap 'exit 0' TERM; sleep 60 & wait");
    api.start("web1").await;
    for (name, set) in [("web2", json!(["labels.tier=gold", "group=shop"])), ("db", json!(["memory_max=1G"]))]
    {
        api.call("POST", "/v1/tenants", json!({"name": name, "set": set})).await;
    }
    for (query, found) in [
        ("", &["db", "web1", "web2"][..]),
        ("?name=web*", &["web1", "web2"]),
        ("?name=web*&state=stopped", &["web2"]),
        ("?state=starting&state=stopped&name=db&name=web1", &["db", "web1"]),
        ("?label=tier%3Dg*", &["web2"]),
        ("?label=tier!%3Dgold", &["db", "web1"]),
        ("?kind=shared-os&image=deb*&group=shop", &["web2"]),
        ("?image=nothing", &[]),
    ] {
        let (status, list) = api.get(&format!("/v1/tenants{query}")).await;
        assert_eq!((status, names(&list)), (200, found.to_vec()), "{query}");
    }
    let (_, list) = api.get("/v1/tenants?name=db").await;
    assert_eq!(list[0]["limits"]["memory_max_bytes"], 1 << 30, "{list}");
    assert_eq!((&list[0]["kind"], &list[0]["profile"]), (&json!("shared-os"), &json!("shared-os")));
    assert_eq!(list[0]["addresses"][0], list[0]["ipv4"]);
    for query in ["?nam=x", "?state=runing", "?name=%5B"] {
        let (status, failure) = api.get(&format!("/v1/tenants{query}")).await;
        assert_eq!((status, &failure["code"]), (400, &json!("invalid")), "{query}");
    }
    api.call("POST", "/v1/tenants/web1/kill", json!({})).await;
}

#[tokio::test]
async fn what_waits_for_the_next_start_is_told_with_both_values() {
    let api = Api::new("trap 'exit 0' TERM; sleep 60 & wait");
    api.start("alice").await;
    note_what_is_started(&api, "alice");
    let (_, list) = api.get("/v1/tenants").await;
    assert_eq!(list[0]["pending"], false);
    let set = json!({"set": ["ttys=3", "env.A=1", "memory_max=1G"], "allow_unenforced": true});
    let (status, done) = api.call("PATCH", "/v1/tenants/alice/config", set).await;
    assert_eq!((status, &done["needs_restart"]), (200, &json!(true)), "{done}");
    let (_, show) = api.get("/v1/tenants/alice").await;
    assert_eq!(show["pending"], true);
    let waiting = json!([{"key": "env.A", "next": "\"1\""}, {"key": "ttys", "running": "6", "next": "3"}]);
    assert_eq!(show["waiting"], waiting, "{show}");
    assert_eq!(show["limits"]["memory_max_bytes"], 1 << 30);
    assert!(show["since"].as_str().is_none_or(|since| since.ends_with('Z')), "{show}");
    let (_, list) = api.get("/v1/tenants").await;
    assert_eq!(list[0]["pending"], true);
    api.call("POST", "/v1/tenants/alice/kill", json!({})).await;
    let (_, list) = api.get("/v1/tenants").await;
    assert_eq!((&list[0]["state"], &list[0]["pending"]), (&json!("stopped"), &json!(false)));
}

#[tokio::test]
async fn a_list_tells_what_files_say_however_they_were_written() {
    use std::{fs, io::Write as _, os::unix::fs::symlink};
    let api = Api::new("trap 'exit 0' TERM; sleep 60 & wait");
    api.start("alice").await;
    note_what_is_started(&api, "alice");
    api.host.watch_supervisors().await;
    let layout = api.host.layout();
    let alice: TenantName = "alice".parse().unwrap();
    let file = layout.tenant_config(&alice);
    let listed = async |key: &str| api.get("/v1/tenants").await.1[0][key].clone();
    // The first look is at the files, the next ones ask only what has happened.
    for _ in 0..2 {
        assert_eq!(listed("labels").await, json!({}));
    }
    let mut open = fs::OpenOptions::new().append(true).open(&file).unwrap();
    open.write_all(b"[labels]\ntier = \"tin\"\n").unwrap();
    assert_eq!(listed("labels").await, json!({"tier": "tin"}), "a line was added");
    // Of the same length, by the same descriptor, and within the same tick of the filesystem's clock.
    let text = fs::read_to_string(&file).unwrap();
    let other = text.replace("tin", "nit");
    std::os::unix::fs::FileExt::write_all_at(&open_to_write(&file), other.as_bytes(), 0).unwrap();
    assert_eq!(listed("labels").await, json!({"tier": "nit"}), "written over");
    let staged = file.with_extension("new");
    fs::write(&staged, text.replace("tin", "gold")).unwrap();
    fs::rename(&staged, &file).unwrap();
    assert_eq!(listed("labels").await, json!({"tier": "gold"}), "replaced");
    // Of what a link leads to nothing is told.
    let elsewhere = layout.root().join("elsewhere.toml");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    for tier in ["silver", "copper", "brass"] {
        fs::write(&elsewhere, text.replace("tin", tier)).unwrap();
        assert_eq!(listed("labels").await, json!({"tier": tier}), "by a link");
    }
    fs::remove_file(&file).unwrap();
    fs::hard_link(&elsewhere, &file).unwrap();
    for tier in ["lead", "zinc"] {
        fs::write(&elsewhere, text.replace("tin", tier)).unwrap();
        assert_eq!(listed("labels").await, json!({"tier": tier}), "by another name");
    }
    // A backup takes the place of the whole directory.
    let (dir, aside) = (layout.tenant_configs(), layout.etc().join("aside"));
    fs::rename(&dir, &aside).unwrap();
    fs::create_dir(&dir).unwrap();
    for tier in ["one", "two"] {
        fs::write(&file, text.replace("tin", tier)).unwrap();
        assert_eq!(listed("labels").await, json!({"tier": tier}), "in another directory");
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(listed("kind").await, Value::Null, "removed");
    fs::write(&file, &text).unwrap();
    assert_eq!(listed("labels").await, json!({"tier": "tin"}), "there again");
    // What a supervisor says.
    let says = |parked: &str| {
        let supervisor = api.host.units().supervisor(&alice).unwrap();
        let mut state = tenant::files::state::RunState::queued(supervisor, std::path::Path::new("/x"), 1);
        state.phase = serde_json::from_value(json!(parked)).unwrap();
        let staged = layout.runtime(&alice).join(".staged");
        fs::write(&staged, serde_json::to_vec(&state).unwrap()).unwrap();
        fs::rename(&staged, layout.run_state(&alice)).unwrap();
    };
    for phase in ["booting", "running", "stopping", "running"] {
        says(phase);
        assert_eq!(listed("state").await, phase);
        assert_eq!(listed("state").await, phase);
    }
    api.call("POST", "/v1/tenants/alice/kill", json!({})).await;
}

fn open_to_write(path: &std::path::Path) -> std::fs::File {
    std::fs::OpenOptions::new().write(true).open(path).unwrap()
}

#[tokio::test]
async fn rows_of_a_list_are_in_the_order_of_names_also_where_some_are_broken() {
    let api = Api::new("exit 0");
    for name in ["alice", "bob", "carol"] {
        api.call("POST", "/v1/tenants", json!({"name": name})).await;
    }
    let record = api.host.layout().allocation(&"bob".parse().unwrap());
    std::fs::write(record, "damaged").unwrap();
    let trial = &api.trial;
    drop(api.host);
    drop(api.router);
    let units = Standalone::for_tests(trial.layout.clone(), "exit 0");
    let host = Host::new(trial.open(), UnitManager::Standalone(units));
    let response =
        super::super::tenants::list(axum::extract::State(host), crate::api::extract::Parameters(Vec::new()));
    let body = axum::response::IntoResponse::into_response(response.await.unwrap()).into_body();
    let list: Value = serde_json::from_slice(&to_bytes(body, 1 << 20).await.unwrap()).unwrap();
    assert_eq!(names(&list), ["alice", "bob", "carol"]);
    assert_eq!(list[1]["state"], "broken");
}

#[tokio::test]
async fn a_look_at_what_is_stale_is_for_those_that_are_named() {
    let api = Api::new("exit 0");
    api.call("POST", "/v1/tenants", json!({"name": "alice"})).await;
    for query in ["", "?name=alice&name=b*"] {
        let (status, list) = api.get(&format!("/v1/stale{query}")).await;
        assert_eq!((status, list), (200, json!({"tenants": []})), "none is running: {query}");
    }
    for query in ["?label=tier", "?name=%5B"] {
        let (status, failure) = api.get(&format!("/v1/stale{query}")).await;
        assert_eq!((status, &failure["code"]), (400, &json!("invalid")), "{query}");
    }
}

#[tokio::test]
async fn what_all_tenants_use_is_one_answer_with_what_the_host_has() {
    let api = Api::new("trap 'exit 0' TERM; sleep 60 & wait");
    api.start("web1").await;
    api.call("POST", "/v1/tenants", json!({"name": "db", "set": ["memory_max=1G"]})).await;
    let (status, stats) = api.get("/v1/stat").await;
    let name = |at: usize| stats["tenants"][at]["name"].as_str();
    assert_eq!((status, name(0), name(1), name(2)), (200, Some("db"), Some("web1"), None), "{stats}");
    for tenant in stats["tenants"].as_array().unwrap() {
        let (_, one) = api.get(&format!("/v1/tenants/{}/stat", tenant["name"].as_str().unwrap())).await;
        let parts =
            |stat: &Value| [&stat["state"], &stat["limits"], &stat["usage"]["tasks"]].map(Clone::clone);
        assert_eq!(parts(tenant), parts(&one));
    }
    assert!(stats["host"]["used_bytes"].as_u64() < stats["host"]["total_bytes"].as_u64(), "{stats}");
    // The units of this host have no memory controller: nothing is said rather than something wrong.
    assert_eq!((&stats["host"]["tenants_bytes"], &stats["host"]["host_bytes"]), (&Value::Null, &Value::Null));
    let (_, some) = api.get("/v1/stat?name=web*").await;
    assert_eq!(some["tenants"].as_array().unwrap().len(), 1, "{some}");
    assert_eq!(api.get("/v1/stat?state=running").await.0, 400);
    api.call("DELETE", "/v1/tenants/web1?force=true", Value::Null).await;
}

/// Whether a request is answered within a moment, by a router that holds requests back.
async fn is_answered(router: &Router, path: &str) -> bool {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let answering = answer(router, &PendingChanges::default(), request);
    tokio::time::timeout(Duration::from_millis(200), answering).await.is_ok()
}

#[tokio::test]
async fn a_list_waits_for_what_runs_and_all_else_for_the_packet_filter_as_well() {
    use crate::host::Progress;
    let api = Api::new("exit 0");
    let router = serve::held_back(api.host.clone());
    for (progress, expected) in [
        (None, [true, false, false]),
        (Some(Progress::Knowing), [true, true, false]),
        (Some(Progress::Ready), [true, true, true]),
    ] {
        progress.into_iter().for_each(|progress| api.host.come(progress));
        let mut answered = Vec::new();
        for path in ["/v1/host", "/v1/tenants", "/v1/nics"] {
            answered.push(is_answered(&router, path).await);
        }
        assert_eq!(answered, expected, "{progress:?}");
    }
}
