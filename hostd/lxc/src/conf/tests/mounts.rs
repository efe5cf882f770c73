//! Mounts, and files that list them.

use super::*;

#[test]
fn an_fstab_is_read_line_by_line() {
    let fstab = "# x\nproc proc proc defaults 0 0\n/srv\\040a srv none bind 0 0\nnonsense\n";
    let look = |path: &str| match path {
        "/etc/fstab.web" => Ok(Found::File(fstab.to_owned())),
        _ => nothing(path),
    };
    let text = "lxc.mount = /etc/fstab.web\nlxc.tty = 1\n";
    let import = import("web.conf", text, wanted(None, &look)).unwrap();
    assert_eq!(import.name.as_str(), "web");
    let rows: Vec<_> = import.rows.iter().map(|row| (row.file.as_str(), row.line, row.fate)).collect();
    assert_eq!(
        rows[..5],
        [
            ("web.conf", 1, Fate::Note),
            ("/etc/fstab.web", 2, Fate::Note),
            ("/etc/fstab.web", 3, Fate::Translated),
            ("/etc/fstab.web", 4, Fate::Warning),
            ("web.conf", 2, Fate::Translated),
        ]
    );
    assert!(import.text().contains(r#""/srv" = { bind = "/srv a", writable = true }"#), "{}", import.text());
}

#[test]
fn mounts_that_begin_with_the_root_are_inside_it() {
    let text =
        "lxc.rootfs = /r\nlxc.mount.entry = /srv /r/srv none bind\nlxc.mount.entry = /srv /other none bind\n";
    let import = translated(text);
    assert_eq!(import.fragment.dirs.keys().map(ToString::to_string).collect::<Vec<_>>(), ["/srv"]);
    assert_eq!(import.rows[2].fate, Fate::Note);
}

/// The line that names the root may come last, and LXC takes other names for it, too.
#[test]
fn a_target_below_any_name_of_the_root_is_inside_it() {
    for (rootfs, target) in [
        ("lxc.rootfs.path = /r/rootfs", "/r/rootfs/srv"),
        ("lxc.rootfs.path = dir:/r//rootfs/", "/r/rootfs//srv/"),
        ("lxc.rootfs.path = overlay:/lower:/upper", "/upper/srv"),
        ("lxc.rootfs.path = lvm:/dev/vg/web", "/var/lib/lxc/web/rootfs/srv"),
        ("lxc.rootfs.path = /r\nlxc.rootfs.mount = /run/web", "/run/web/srv"),
        ("lxc.rootfs.path = /r", "/usr/lib/x86_64-linux-gnu/lxc/srv"),
        ("lxc.rootfs.path = /r", "srv"),
    ] {
        let import = translated(&format!("lxc.mount.entry = /data {target} none bind 0 0\n{rootfs}\n"));
        let dirs: Vec<_> = import.fragment.dirs.keys().map(ToString::to_string).collect();
        assert_eq!(dirs, ["/srv"], "{rootfs} {target}: {:#?}", import.rows);
    }
}

#[test]
fn what_a_mount_is_made_from_is_looked_at() {
    let probe = |path: &str| match path {
        "/data" | "/mnt/real" => Ok(Source::Directory(path.to_owned())),
        "/link" => Ok(Source::Directory("/mnt/real".to_owned())),
        "/etc/ssl/cert.pem" | "/dev/dri" => Ok(Source::Other),
        _ => absent(path),
    };
    let of = |line: &str| {
        let text = format!("lxc.mount.entry = {line} 0 0\n");
        let wanted = Wanted { probe: &probe, ..wanted(Some("web"), &nothing) };
        let import = import("web.conf", &text, wanted).unwrap();
        let bind = import.fragment.dirs.values().next().map(|policy| format!("{policy:?}"));
        (import.rows[0].fate, bind.unwrap_or_default(), import.rows[0].text.clone())
    };
    let (fate, bind, _) = of("/data data none bind,optional");
    assert!(fate == Fate::Translated && bind.contains("/data"), "{bind}");
    // A bind follows no links: what they lead to is bound.
    let (fate, bind, text) = of("/link data none bind");
    assert!(
        fate == Fate::Translated && bind.contains("/mnt/real") && text.contains("/link"),
        "{bind}: {text}"
    );
    let (fate, bind, text) = of("/etc/ssl/cert.pem etc/ssl/cert.pem none bind,ro");
    assert!(fate == Fate::Warning && bind.is_empty() && text.contains("not a directory"), "{text}");
    let (fate, bind, text) = of("/dev/dri dev/dri none bind,optional,create=dir");
    assert!(fate == Fate::Warning && bind.is_empty() && text.contains("/dev/dri"), "{text}");
    let (fate, bind, text) = of("/absent data none bind");
    assert!(fate == Fate::Translated && bind.contains("/absent") && text.contains("must exist"), "{text}");
    let (fate, bind, _) = of("/absent data none bind,optional");
    assert!(fate == Fate::Note && bind.is_empty(), "{bind}");
}
