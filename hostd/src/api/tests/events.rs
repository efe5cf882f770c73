//! What is told while it happens.

use super::*;

async fn ask(api: &Api, path: &str) -> Response {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    answer(&api.router, &PendingChanges::default(), request).await
}

fn parse(bytes: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn kept(api: &Api, query: &str) -> Vec<Value> {
    let response = ask(api, &format!("/v1/events?follow=false{query}")).await;
    assert_eq!(response.status(), 200);
    parse(&to_bytes(response.into_body(), 1 << 24).await.unwrap())
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_hostd_does_is_told_in_order_and_by_name() {
    let api = Api::new("exit 0");
    api.trial.publish("alpine", tenant::model::ids::Digest::from_bytes([9; 32]));
    api.call("POST", "/v1/tenants", json!({"name": "alice"})).await;
    api.call("POST", "/v1/tenants", json!({"name": "bob"})).await;
    api.call("PATCH", "/v1/tenants/alice/config", json!({"set": ["ttys=2", "labels.a=b"]})).await;
    api.call("PATCH", "/v1/tenants/alice/config", json!({"set": ["ttys=2"]})).await;
    api.call("PATCH", "/v1/tenants/alice/config", json!({"set": ["image=alpine"]})).await;
    api.call("DELETE", "/v1/tenants/alice", Value::Null).await;
    let all = kept(&api, "").await;
    assert_eq!(
        kinds(&all),
        ["hostd-started", "created", "created", "set", "set", "image-changed", "destroyed"]
    );
    assert_eq!((&all[3]["keys"], &all[3]["tenant"]), (&json!(["labels", "ttys"]), &json!("alice")));
    assert_eq!(all[5]["to"], "alpine@090909090909", "{}", all[5]);
    assert!(all.windows(2).all(|pair| pair[0]["seq"].as_u64() < pair[1]["seq"].as_u64()));
    let of_bob = kept(&api, "&name=b*").await;
    assert_eq!(kinds(&of_bob), ["hostd-started", "created"]);
    let rest = kept(&api, &format!("&since={}", all[4]["seq"])).await;
    assert_eq!(kinds(&rest), ["image-changed", "destroyed"]);
    for query in ["nam=x", "since=x", "follow=perhaps", "name=%5B"] {
        let (status, failure) = api.get(&format!("/v1/events?{query}")).await;
        assert_eq!((status, &failure["code"]), (400, &json!("invalid")), "{query}");
    }
}

#[tokio::test]
async fn who_reads_along_is_told_at_once_and_comes_to_an_end_with_hostd() {
    let api = Api::new("exit 0");
    let mut body = ask(&api, "/v1/events").await.into_body();
    api.call("POST", "/v1/tenants", json!({"name": "alice"})).await;
    let next = async |body: &mut Body| {
        let frame =
            std::future::poll_fn(|cx| hyper::body::Body::poll_frame(std::pin::Pin::new(&mut *body), cx));
        let frame = tokio::time::timeout(Duration::from_secs(10), frame).await.expect("something is told");
        frame.map(|frame| parse(&frame.unwrap().into_data().unwrap()))
    };
    assert_eq!(kinds(&next(&mut body).await.unwrap()), ["created"]);
    api.host.events().close();
    assert!(next(&mut body).await.is_none());
}

#[tokio::test]
async fn what_supervisors_say_is_told_whoever_started_them() {
    use tenant::files::state::{Phase, ProcessRef, RunState};
    let api = Api::new("exit 0");
    std::fs::create_dir_all(api.host.layout().runtimes()).unwrap();
    api.call("POST", "/v1/tenants", json!({"name": "alice"})).await;
    api.host.watch_supervisors().await;
    let alice = "alice".parse().unwrap();
    std::fs::create_dir_all(api.host.layout().runtime(&alice)).unwrap();
    let me = ProcessRef::of(std::process::id() as i32).unwrap();
    let starting = RunState::queued(me, std::path::Path::new("/x"), 1);
    let path = api.host.layout().run_state(&alice);
    let running =
        RunState { boots: 1, phase: Phase::Running, exec_us: Some(5), ready_us: Some(9), ..starting.clone() };
    let told = async |wanted: &[&str]| {
        let begin = std::time::Instant::now();
        loop {
            let all = kept(&api, "").await;
            if kinds(&all)[2..] == *wanted {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", kinds(&all));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    starting.write(&path).unwrap();
    running.write(&path).unwrap();
    told(&["started", "ready"]).await;
    RunState { oom_kills: Some(3), ..running.clone() }.write(&path).unwrap();
    told(&["started", "ready", "oom-kill"]).await;
    std::fs::remove_dir_all(api.host.layout().runtime(&alice)).unwrap();
    told(&["started", "ready", "oom-kill", "stopped"]).await;
}
