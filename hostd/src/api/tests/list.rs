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
