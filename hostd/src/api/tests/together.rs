//! Several requests at once, and clients that hang up.

use super::*;

#[tokio::test]
async fn whoever_hangs_up_cuts_no_change_in_half() {
    let api = Api::new("exit 0");
    let alice = "alice".parse().unwrap();
    api.call("POST", "/v1/tenants", json!({"name": "alice"})).await;
    let text =
        |api: &Api, name: &str| api.host.store().config_text(&name.parse().unwrap()).unwrap_or_default();
    let base = text(&api, "alice");
    for (method, path, body, name, word) in [
        ("POST", "/v1/tenants", json!({"name": "bob", "set": ["ttys=5"]}), "bob", "ttys = 5"),
        ("PUT", "/v1/tenants/alice/config", json!({"base": base, "text": "ttys = 4"}), "alice", "ttys = 4"),
        ("PATCH", "/v1/tenants/alice/config", json!({"set": ["ttys=2"]}), "alice", "ttys = 2"),
    ] {
        let name: TenantName = name.parse().unwrap();
        // rootfsctl publishes something: the change waits for that.
        let images = rootfs_tools::store::Lock::exclusive(api.host.layout()).unwrap();
        api.hang_up(method, path, body, || api.host.is_busy(&name)).await;
        // No other process gets at the tenant while the change goes on.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(api.host.is_busy(&name), "{method} {path}");
        drop(images);
        until(&format!("{method} {path} is done"), || !api.host.is_busy(&name)).await;
        assert!(text(&api, name.as_str()).contains(word), "{method} {path}");
    }
    assert!(api.host.store().record(&alice).is_ok());
}

#[tokio::test]
async fn whoever_hangs_up_while_a_tenant_is_killed_has_it_removed_all_the_same() {
    // It takes a moment to end, and the client goes in the midst of that. Killing takes no turn that could be looked at.
    let api = Api::new("trap 'sleep 2; exit 0' TERM; sleep 60 & wait");
    api.start("alice").await;
    let alice = "alice".parse().unwrap();
    let begin = std::time::Instant::now();
    let is_in_the_midst = || begin.elapsed() > Duration::from_millis(200);
    api.hang_up("DELETE", "/v1/tenants/alice?force=true", Value::Null, is_in_the_midst).await;
    assert!(api.host.store().has(&alice), "it is not done yet");
    until("alice is removed", || !api.host.store().has(&alice)).await;
    until("her files are gone", || api.host.store().trash().is_empty()).await;
}

#[tokio::test]
async fn keys_that_are_set_at_the_same_time_are_all_set() {
    let api = Api::new("exit 0");
    api.call("POST", "/v1/tenants", json!({"name": "alice"})).await;
    let alice = "alice".parse().unwrap();
    let turn = api.host.try_turn(&alice).unwrap();
    let set = |key: &str| api.call("PATCH", "/v1/tenants/alice/config", json!({"set": [key]}));
    let both_have_begun = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        drop(turn);
    };
    let (one, other, ()) = tokio::join!(set("ttys=2"), set("memory_max=1G"), both_have_begun);
    for (status, done) in [one, other] {
        assert_eq!((status, &done["result"]), (200, &json!("changed")), "{done}");
    }
    let text = api.host.store().config_text(&alice).unwrap();
    assert!(text.contains("ttys = 2") && text.contains("memory_max = \"1G\""), "{text}");
}

#[tokio::test]
async fn a_request_reaches_no_other_supervisor_than_the_one_it_is_for() {
    use std::io::{BufRead as _, Write as _};
    let api = Api::new("trap 'exit 0' TERM; sleep 60 & wait");
    api.start("alice").await;
    // Another process serves the socket by now: the next supervisor, say.
    let socket = api.host.layout().control_socket(&"alice".parse().unwrap());
    let next = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (tell, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for client in next.incoming() {
            let mut client = client.unwrap();
            let mut line = String::new();
            std::io::BufReader::new(client.try_clone().unwrap()).read_line(&mut line).unwrap();
            // A process that asked for nothing has gone.
            let _ = client.write_all(b"{\"ok\":true}\n");
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let heard = || heard.recv_timeout(Duration::from_secs(10)).unwrap();
    let (status, failure) = api.call("POST", "/v1/tenants/alice/stop", json!({"ask_only": true})).await;
    assert_eq!((status, heard().as_str()), (500, ""), "{failure}");
    assert!(failure["message"].as_str().unwrap().ends_with("has ended"), "{failure}");
    let (status, stopped) = api.call("POST", "/v1/tenants/alice/stop", json!({"timeout_sec": 5})).await;
    assert_eq!((status, &stopped["result"]), (200, &json!("changed")), "{stopped}");
    assert_eq!(heard(), "");
}

#[tokio::test]
async fn a_wait_is_told_of_what_happens_and_looks_no_oftener() {
    let api = Api::new("trap 'sleep 0.3; exit 0' TERM; sleep 60 & wait");
    api.call("POST", "/v1/tenants", json!({"name": "alice", "set": ["nic=[]"]})).await;
    std::fs::create_dir_all(api.host.layout().runtimes()).unwrap();
    let looks = |api: &Api| api.host.looks.load(std::sync::atomic::Ordering::Relaxed);
    let (status, _) = api.get("/v1/tenants/alice/wait?timeout_sec=1").await;
    assert_eq!(status, 504);
    assert!(looks(&api) <= 4, "{} looks at a tenant of which nothing was told", looks(&api));
    api.start("alice").await;
    let router = api.router.clone();
    let stop = tokio::spawn(async move {
        let stop = Request::builder().method("POST").uri("/v1/tenants/alice/stop");
        let stop = stop.header("content-type", "application/json").body(Body::from("{}")).unwrap();
        answer(&router, &PendingChanges::default(), stop).await.status().as_u16()
    });
    let (status, waited) = api.get("/v1/tenants/alice/wait?for=stopped").await;
    assert_eq!((status, waited["state"].as_str()), (200, Some("stopped")), "{waited}");
    assert_eq!(stop.await.unwrap(), 200);
    let host = api.host.clone();
    let waits =
        tokio::spawn(
            async move { host.wait(&"alice".parse().unwrap(), true, Duration::from_secs(60)).await },
        );
    api.call("DELETE", "/v1/tenants/alice", Value::Null).await;
    let error = tokio::time::timeout(Duration::from_secs(10), waits).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code, Code::NoTenant);
}
