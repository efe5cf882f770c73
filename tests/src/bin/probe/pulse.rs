//! How long small things take that every system does: a process, a file on the disk, an answer over HTTP.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::words::say;

/// Between two rounds: what is measured is no load itself.
const REST: Duration = Duration::from_millis(20);
/// What takes longer has failed.
const LIMIT: Duration = Duration::from_secs(10);

/// What was measured of one thing.
#[derive(Default)]
struct Series {
    took: Vec<Duration>,
    failed: u64,
}

impl Series {
    fn add(&mut self, act: impl FnOnce() -> io::Result<()>) {
        let begin = Instant::now();
        match act() {
            Ok(()) => self.took.push(begin.elapsed()),
            Err(_) => self.failed += 1,
        }
    }

    /// Milliseconds: the middle one, the 99th of a hundred, the longest.
    fn told(mut self) -> Value {
        self.took.sort();
        let at = |part: usize| {
            let last = self.took.len().saturating_sub(1);
            self.took
                .get((self.took.len() * part / 100).min(last))
                .map_or(0.0, |took| took.as_secs_f64() * 1e3)
        };
        json!({ "count": self.took.len(), "failed": self.failed, "p50": at(50), "p99": at(99), "max": at(100) })
    }
}

/// Does all three again and again, for so many seconds, with files in `dir`; tells how long they took.
pub(super) fn pulse(dir: &str, seconds: u64) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || serve(&listener));
    let path = Path::new(dir).join("pulse");
    let (mut fork, mut fsync, mut http) = (Series::default(), Series::default(), Series::default());
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        fork.add(|| {
            let ended = Command::new("/bin/true").stdin(Stdio::null()).status()?;
            ended.success().then_some(()).ok_or_else(|| io::Error::other("it failed"))
        });
        fsync.add(|| {
            let mut file = File::create(&path)?;
            file.write_all(&[7; 4096])?;
            file.sync_all()
        });
        http.add(|| get(address));
        thread::sleep(REST);
    }
    let _ = std::fs::remove_file(&path);
    say(&json!({ "fork": fork.told(), "fsync": fsync.told(), "http": http.told() }).to_string())
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        let answer = |mut stream: TcpStream| -> io::Result<()> {
            let mut request = [0; 512];
            let _ = stream.read(&mut request)?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        };
        // Who asks counts what fails.
        let _ = answer(stream);
    }
}

fn get(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.ends_with("ok").then_some(()).ok_or_else(|| io::Error::other("another answer"))
}
