//! A registry on the loopback interface, and a connection to it that breaks.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tenantry_tests::poll;

/// A registry on the loopback interface, ended when dropped.
pub(crate) struct Registry {
    dir: PathBuf,
    pub(crate) port: u16,
    child: Child,
}

/// What a registry asks of its clients besides their requests.
#[derive(Default)]
pub(crate) struct Asks<'a> {
    /// Its certificate and key: encryption.
    pub(crate) tls: Option<(&'a Path, &'a Path)>,
    /// A file of htpasswd(1): a name and a password.
    pub(crate) login: Option<&'a Path>,
}

impl Registry {
    pub(crate) fn start(dir: PathBuf) -> Self {
        Self::start_that(dir, &Asks::default())
    }

    pub(crate) fn start_that(dir: PathBuf, asks: &Asks<'_>) -> Self {
        fs::create_dir_all(&dir).expect("a directory for the registry");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        let tls = asks
            .tls
            .map(|(certificate, key)| format!(", tls: {{certificate: {certificate:?}, key: {key:?}}}"));
        let auth = asks.login.map(|file| format!("auth: {{htpasswd: {{realm: images, path: {file:?}}}}}\n"));
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {:?}}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"{}}}\n{}",
            dir.join("data"),
            tls.unwrap_or_default(),
            auth.unwrap_or_default(),
        );
        fs::write(dir.join("config.yml"), config).expect("the registry's configuration");
        let log = fs::File::create(dir.join("log")).expect("the registry's log");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(dir.join("config.yml")).stdin(Stdio::null());
        let child = command
            .stdout(log.try_clone().expect("its log once more"))
            .stderr(log)
            .spawn()
            .expect("docker-registry is started");
        let registry = Self { dir, port, child };
        poll::until_true("the registry answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        registry
    }

    /// What it is called.
    pub(crate) fn called(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The name of an image here.
    pub(crate) fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.called())
    }

    /// Requests so far that it has answered: those of its access log.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.join("log")).expect("its log");
        let line = |line: &str| Some(line.split_once("] \"")?.1.split(" HTTP/").next()?.to_owned());
        log.lines().filter(|line| line.starts_with("127.0.0.1")).filter_map(line).collect()
    }

    /// Blobs that were fetched from it, or stored in it, by the requests after the first `from`.
    pub(crate) fn blobs(&self, from: usize, method: &str, path: &str) -> usize {
        let is_blob = |line: &&String| line.starts_with(method) && line.contains(path);
        self.requests()[from..].iter().filter(is_blob).count()
    }

    /// The file of a blob in its store.
    pub(crate) fn file(&self, hex: &str) -> PathBuf {
        let blobs = self.dir.join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) const STORED: (&str, &str) = ("PUT", "/blobs/uploads/");
pub(crate) const FETCHED: (&str, &str) = ("GET", "/blobs/sha256:");

/// A way to a port on which what is sent is counted, and which may break.
pub(crate) struct Line {
    pub(crate) port: u16,
    sent: Arc<AtomicU64>,
}

impl Line {
    /// Bytes that clients have sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Passes connections on to a port until `limit` bytes came from there; then all are cut, and no more are taken.
    pub(crate) fn to(port: u16, limit: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("its number").port();
        let (sent, left) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(limit)));
        let line = Self { port: own, sent: Arc::clone(&sent) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
                if left.load(Ordering::SeqCst) == 0 {
                    return;
                }
                let (mut up, mut to) = (client.try_clone().expect("it"), server.try_clone().expect("it"));
                let (sent, left) = (Arc::clone(&sent), Arc::clone(&left));
                thread::spawn(move || {
                    pass_on(&mut up, &mut to, |length| {
                        sent.fetch_add(length, Ordering::SeqCst);
                        true
                    });
                });
                let (mut from, mut down) = (server, client);
                thread::spawn(move || {
                    pass_on(&mut from, &mut down, |length| {
                        let taken = |left: u64| Some(left.saturating_sub(length));
                        let was = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken);
                        was.unwrap_or_default() > length
                    });
                });
            }
        });
        line
    }
}

/// Passes bytes on as long as `may_pass` says so of each piece.
fn pass_on(from: &mut TcpStream, to: &mut TcpStream, may_pass: impl Fn(u64) -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !may_pass(length as u64) || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
