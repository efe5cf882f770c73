//! An image whose versions go wrong in different ways, and a web server in it that answers as it is told.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use tenantry_tests::{
    Host,
    debian::{self, Change},
    host::Place,
};

/// Changes with what the functions below make.
const RECIPE: &str = "fixtures of gates 2";

/// What its version is told by.
const KIND: &str = "usr/lib/fix/kind";

/// A host with the image `gates`: `stable`, which is well, and versions that are not, each a channel by its name.
pub(crate) fn host() -> Host {
    let changes: [Change; 7] = [
        ("stable", first),
        ("candidate", |_, tree| kind(tree, "candidate")),
        ("failing", |_, tree| kind(tree, "failing")),
        ("hungry", |_, tree| kind(tree, "hungry")),
        ("rebooting", |_, tree| kind(tree, "rebooting")),
        ("looping", |_, tree| kind(tree, "looping")),
        ("deaf", deaf),
    ];
    Host::start_in(debian::versions(&Place::prepared(), "debian", "gates", RECIPE, &changes))
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().expect("it is below a directory")).expect("a directory can be made");
    fs::write(path, text).expect("a fixture can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode can be set");
}

fn kind(tree: &Path, kind: &str) {
    write(&tree.join(KIND), kind, 0o644);
}

/// Does what its version is told by, as soon as the base shows it.
const WATCH: &str = "#!/bin/sh
while :; do
    read -r kind < /usr/lib/fix/kind
    case $kind in
    failing) exit 1 ;;
    hungry) perl -e 'my $all = \"x\" x (1 << 30); sleep 1000'; sleep 1000 ;;
    rebooting) test -e /var/lib/again || { : > /var/lib/again; systemctl reboot; sleep 1000; } ;;
    looping) systemctl reboot; sleep 1000 ;;
    esac
    sleep 0.1
done
";

/// A port for each way to answer; 8080 answers by the version.
const WEB: &str = r#"#!/usr/bin/perl
use IO::Socket::INET;
$SIG{CHLD} = "IGNORE";
$| = 1;
my %ways = (
    8080 => sub { my $client = shift;
        open my $file, "<", "/usr/lib/fix/kind"; my $kind = <$file>;
        print $client $kind eq "failing" ? "HTTP/1.1 500 Broken\r\n\r\n" : "HTTP/1.1 200 OK\r\n\r\nfine" },
    8001 => sub { my $client = shift; print $client "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n" },
    8002 => sub { my $client = shift; print $client "HTTP/1.1 200 OK\r\n\r\n"; print $client "x" x 65536 while 1 },
    8003 => sub { my $client = shift; print $client "HTTP/1.1 404 Not here\r\n\r\n" },
    8004 => sub { sleep 1000 },
    8005 => sub { my $client = shift; $client->autoflush(1);
        for (split //, "HTTP/1.1 200 OK\r\n\r\n") { print $client $_; sleep 1 } },
    8006 => sub { my $client = shift; print $client "x" x 65536 while 1 },
    8007 => sub { },
    8008 => sub { my $client = shift; print $client "HTTP/1.1 100 Continue\r\n\r\n"; sleep 1000 },
    8009 => sub { my $client = shift; print $client "HTTP/1.1 \e[2J\r\n\r\n" },
);
for my $port (keys %ways) {
    next if fork;
    my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 16, ReuseAddr => 1) or die "$port: $!";
    while (my $client = $server->accept) {
        if (!fork) { sysread $client, my $request, 4096; $ways{$port}->($client); exit }
        close $client;
    }
}
sleep 1000 while 1;
"#;

fn unit(tree: &Path, name: &str) {
    let units = tree.join("usr/lib/systemd/system");
    let text = format!("[Service]\nExecStart=/usr/lib/fix/{name}\nOOMPolicy=continue\n");
    write(&units.join(format!("fix-{name}.service")), &text, 0o644);
    let wants = units.join("multi-user.target.wants");
    fs::create_dir_all(&wants).expect("a directory can be made");
    symlink(format!("../fix-{name}.service"), wants.join(format!("fix-{name}.service")))
        .expect("it is wanted");
}

fn first(_: &Place, tree: &Path) {
    kind(tree, "stable");
    write(&tree.join("usr/lib/fix/watch"), WATCH, 0o755);
    write(&tree.join("usr/lib/fix/web"), WEB, 0o755);
    unit(tree, "watch");
    unit(tree, "web");
}

/// sshd listens elsewhere.
fn deaf(_: &Place, tree: &Path) {
    kind(tree, "deaf");
    for kind in ["socket", "service"] {
        let text = match kind {
            "socket" => "[Socket]\nListenStream=\nListenStream=2222\n",
            _ => "[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D -p 2222\n",
        };
        write(&tree.join(format!("usr/lib/systemd/system/ssh.{kind}.d/deaf.conf")), text, 0o644);
    }
}
