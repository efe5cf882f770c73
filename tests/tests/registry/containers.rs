//! Images that were made for containers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tenantry_tests::{Host, Run, Tenant, poll};

use crate::{digest, path, tool};

/// What docker(1) saves: layers, and how they are run.
fn docker_archive(host: &Host) -> PathBuf {
    let dir = host.path("archive");
    let root = dir.join("root");
    fs::create_dir_all(root.join("bin")).expect("a tree");
    let busybox = Run::new("sh", ["-c", "command -v busybox"]).ok().text().to_owned();
    fs::copy(busybox, root.join("bin/busybox")).expect("busybox");
    for applet in ["sh", "sleep", "cat", "ls"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("an applet");
    }
    for (file, text) in [("etc/removed", "1"), ("etc/kept", "1"), ("srv/emptied/old", "1")] {
        fs::create_dir_all(root.join(file).parent().expect("it")).expect("a directory");
        fs::write(root.join(file), text).expect("a file");
    }
    let tar = |file: &str, from: &Path| {
        fs::create_dir_all(dir.join(file).parent().expect("it")).expect("a directory");
        Run::new("tar", ["--numeric-owner", "--owner=0", "--group=0", "-cf", path(&dir.join(file)), "-C"])
            .args([path(from), "."])
            .ok();
    };
    tar("one/layer.tar", &root);
    fs::remove_dir_all(&root).expect("the first layer is packed");
    for (file, text) in [("etc/.wh.removed", ""), ("srv/emptied/.wh..wh..opq", ""), ("srv/emptied/new", "2")]
    {
        fs::create_dir_all(root.join(file).parent().expect("it")).expect("a directory");
        fs::write(root.join(file), text).expect("a file");
    }
    tar("two/layer.tar", &root);
    let sum = |file: &str| Run::new("sha256sum", [path(&dir.join(file))]).ok().text()[..64].to_owned();
    let diff_ids: Vec<_> =
        ["one", "two"].map(|name| format!("sha256:{}", sum(&format!("{name}/layer.tar")))).into();
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let config = serde_json::json!({
        "architecture": arch, "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "config": {
            "Entrypoint": ["sh", "-c"], "Cmd": ["echo \"$GREETING from $PWD\"; exec sleep 1000"],
            "Env": ["PATH=/bin", "GREETING=hello"], "WorkingDir": "/srv", "User": "65534"
        }
    });
    fs::write(dir.join("config.json"), config.to_string()).expect("a configuration");
    let layers = ["one/layer.tar", "two/layer.tar"];
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": ["web:1"], "Layers": layers }]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).expect("a manifest");
    let saved = host.path("web.tar");
    Run::new("tar", ["-cf", path(&saved), "-C", path(&dir), "manifest.json", "config.json"])
        .args(layers)
        .ok();
    saved
}

#[test]
fn what_docker_saves_boots_as_an_app_by_its_own_entrypoint() {
    let host = Host::bare();
    let saved = docker_archive(&host);
    let said = tool(&host, &["import", path(&saved), "--name", "web"]).output().refused(4);
    assert!(said.contains("rootfsctl import --docker-archive"), "{said}");
    let made = tool(&host, &["import", "--docker-archive", path(&saved)]).ok().json();
    assert_eq!(made["image"], "web");
    assert!(made["notes"][0].as_str().is_some_and(|note| note.contains("its user \"65534\"")), "{made:#}");
    // The same by an OCI layout.
    let layout = host.path("layout");
    let from = format!("docker-archive:{}", path(&saved));
    Run::new("skopeo", ["copy", "-q", &from, &format!("oci:{}:1", path(&layout))]).ok();
    let again =
        tool(&host, &["import", "--oci", &format!("{}:1", path(&layout)), "--name", "web"]).ok().json();
    assert_eq!(digest(&again), digest(&made), "{again:#}");

    host.start_hostd();
    let paths = r#"paths=["/bin", "/etc", "/srv"]"#;
    let web: Tenant<'_> = host.boot("web", &["--profile", "app", "--image", "web", "--set", paths]);
    poll::until_true("it greets", || web.ctl("logs", &[]).output().text().contains("hello from /srv"));
    assert_eq!(
        web.exec(&["/bin/ls", "/etc", "/srv/emptied"]).ok().text().replace('\n', " ").trim(),
        "/etc: kept  /srv/emptied: new"
    );
    web.stop();
}
