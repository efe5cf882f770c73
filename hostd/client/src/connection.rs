//! HTTP over hostd's socket.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Serialize, de::DeserializeOwned};
use tenant::Layout;
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::mpsc,
    time::{sleep, timeout},
};
use wire::{Code, Failure};

/// A client of the hostd of one layout.
#[derive(Clone, Debug)]
pub struct Client {
    layout: Layout,
    /// An answer that takes longer is late: hostd is asked whether it is there, and again after as long.
    late: Duration,
    /// How long hostd may take to say that it is there.
    sign: Duration,
}

impl Client {
    /// A client; it connects when it is asked for something.
    pub fn new(layout: Layout) -> Self {
        // The second is long because the machine may be busy.
        Self { layout, late: Duration::from_secs(3), sign: Duration::from_secs(5) }
    }

    /// What is at a path.
    ///
    /// # Errors
    /// What hostd answers, or [`Code::NoHostd`].
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Failure> {
        self.request(Method::GET, path, &()).await
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, Failure> {
        self.request(Method::POST, path, body).await
    }

    /// One request on a connection of its own. It may take as long as what is asked for; that a process is at work on it
    /// is asked by other connections meanwhile.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn request<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, Failure> {
        let has_body = method != Method::GET && method != Method::DELETE;
        let bytes = if has_body {
            serde_json::to_vec(body).map_err(|error| Failure::of(Code::Failed, &error))?
        } else {
            Vec::new()
        };
        self.ask(method, path, if has_body { Sent::Json(bytes) } else { Sent::Nothing }).await
    }

    /// Sends a request and reads the whole answer, unless hostd does not even say that it is there.
    async fn ask<A: DeserializeOwned>(&self, method: Method, path: &str, body: Sent) -> Result<A, Failure> {
        let begin = Instant::now();
        let (status, body) = tokio::select! {
            answered = self.exchange(method, path, body) => answered?,
            () = self.silence() => return Err(self.silent(begin.elapsed())),
        };
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| Failure::of(Code::Failed, &error));
        }
        Err(refusal(status, &body))
    }

    /// Sends a request and reads the whole answer.
    async fn exchange(&self, method: Method, path: &str, body: Sent) -> Result<(StatusCode, Bytes), Failure> {
        let broken = |error| self.broken(&error);
        let response = self.open(method, path, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        Ok((status, body))
    }

    fn broken(&self, error: &hyper::Error) -> Failure {
        let socket = self.layout.hostd_socket();
        Failure::new(Code::NoHostd, format!("hostd at {} closed the connection: {error}", socket.display()))
            .help("read its log; tenants are not affected")
    }

    /// Sends a request; the answer comes as it is read.
    async fn open(&self, method: Method, path: &str, body: Sent) -> Result<Response<Incoming>, Failure> {
        let socket = self.layout.hostd_socket();
        let stream = UnixStream::connect(&socket).await.map_err(|error| self.unreachable(&socket, &error))?;
        if let Sent::Descriptor(descriptor) = &body {
            let given = stream.async_io(Interest::WRITABLE, || give(&stream, descriptor)).await;
            given.map_err(|error| self.unreachable(&socket, &error))?;
        }
        let broken = |error| self.broken(&error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "hostd");
        let body = match body {
            Sent::Nothing => {
                // Else the reason of an answer that ends early is not told.
                request = request.header(header::TE, "trailers");
                Either::Left(Full::default())
            }
            Sent::Descriptor(_) => Either::Left(Full::default()),
            Sent::Json(bytes) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Either::Left(Full::new(Bytes::from(bytes)))
            }
            Sent::Archive(pieces) => {
                request = request.header(header::CONTENT_TYPE, "application/x-tar");
                Either::Right(pieces)
            }
        };
        let request = request.body(body).map_err(|error| Failure::of(Code::Invalid, &error))?;
        sender.send_request(request).await.map_err(broken)
    }

    /// An answer that comes line by line, for as long as hostd has some.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn lines(&self, path: &str) -> Result<Lines<'_>, Failure> {
        Ok(Lines { client: self, body: self.opened(path).await?, read: Vec::new() })
    }

    /// An answer that is read as it comes.
    async fn opened(&self, path: &str) -> Result<Incoming, Failure> {
        let begin = Instant::now();
        let response = tokio::select! {
            opened = self.open(Method::GET, path, Sent::Nothing) => opened?,
            () = self.silence() => return Err(self.silent(begin.elapsed())),
        };
        let status = response.status();
        let body = response.into_body();
        if status == StatusCode::OK {
            return Ok(body);
        }
        let bytes = body.collect().await.map_err(|error| self.broken(&error))?.to_bytes();
        Err(refusal(status, &bytes))
    }

    /// An answer that is an archive, piece by piece.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn download(&self, path: &str) -> Result<Download<'_>, Failure> {
        Ok(Download { client: self, body: self.opened(path).await? })
    }

    /// Sends an archive, piece by piece, and reads the answer.
    ///
    /// # Errors
    /// As [`Client::get`]; what the pieces end with.
    pub async fn upload<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        pieces: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<A, Failure> {
        self.ask(method, path, Sent::Archive(Pieces(pieces))).await
    }

    /// Gives hostd a descriptor, from which it reads or to which it writes in place of a body; reads the answer, which comes
    /// when that is done.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn hand_over<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        descriptor: OwnedFd,
    ) -> Result<A, Failure> {
        self.ask(method, path, Sent::Descriptor(descriptor)).await
    }

    /// Ends when hostd does not even say that it is there.
    async fn silence(&self) {
        loop {
            sleep(self.late).await;
            // A failure that comes at once is an answer: the request meets the same, or the end of that hostd.
            if timeout(self.sign, self.exchange(Method::GET, "/v1/host", Sent::Nothing)).await.is_err() {
                return;
            }
        }
    }

    fn silent(&self, waited: Duration) -> Failure {
        let text = format!(
            "hostd at {} does not respond: it accepted the request {} s ago, and another connection {} s ago",
            self.layout.hostd_socket().display(),
            waited.as_secs(),
            self.sign.as_secs()
        );
        let look = if self.layout.is_default() {
            "systemctl status hostd"
        } else {
            "ps -C hostd -o pid,stat,wchan,args"
        };
        Failure::new(Code::NoHostd, text).help(format!(
            "check whether it is stopped or stuck ({look}) and restart it: tenants are not affected; a hostd that \
             resumes may still perform the request"
        ))
    }

    fn unreachable(&self, socket: &Path, error: &io::Error) -> Failure {
        let socket = socket.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::new(
                Code::Forbidden,
                format!("permission denied: only root and the group \"tenantry\" can use hostd at {socket}"),
            )
            .help("run it as root, or: usermod --append --groups tenantry USER"),
            io::ErrorKind::WouldBlock => Failure::new(
                Code::NoHostd,
                format!("hostd at {socket} accepts no connections: it is stopped or stuck"),
            )
            .help("restart it; tenants are not affected"),
            _ => {
                let start = if self.layout.is_default() {
                    "start it: systemctl start hostd (without systemd: hostd &)".to_owned()
                } else {
                    format!("start it: hostd --root {} &", self.layout.root().display())
                };
                Failure::new(
                    Code::NoHostd,
                    format!("hostd is not running: cannot connect to {socket}: {error}"),
                )
                .help(start)
            }
        }
    }
}

/// The body of a request.
enum Sent {
    Nothing,
    Json(Vec<u8>),
    Archive(Pieces),
    Descriptor(OwnedFd),
}

/// Sends a descriptor with an empty line, which every HTTP server passes over before a request.
fn give(to: &UnixStream, descriptor: &OwnedFd) -> io::Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    // Two bytes go as a whole or not at all.
    sendmsg(to, &[io::IoSlice::new(b"\r\n")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A body that is sent as its pieces come.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// An answer that is an archive.
#[derive(Debug)]
pub struct Download<'a> {
    client: &'a Client,
    body: Incoming,
}

impl Download<'_> {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// Why hostd has ended early; it does not answer any more.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let begin = Instant::now();
        loop {
            let frame = tokio::select! {
                frame = self.body.frame() => frame,
                () = self.client.silence() => return Err(self.client.silent(begin.elapsed())),
            };
            let Some(frame) = frame else { return Ok(None) };
            match frame.map_err(|error| self.client.broken(&error))?.into_data() {
                Ok(piece) => return Ok(Some(piece)),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    if let Some(failure) = trailers.get("tenantry-failure") {
                        return Err(refusal(StatusCode::OK, failure.as_bytes()));
                    }
                }
            }
        }
    }
}

/// What hostd answered instead of what was asked for.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
        Failure::new(Code::Failed, format!("hostd answered {status}: {}", text.escape_debug()))
    })
}

/// An answer of hostd, line by line.
#[derive(Debug)]
pub struct Lines<'a> {
    client: &'a Client,
    body: Incoming,
    read: Vec<u8>,
}

impl Lines<'_> {
    /// The next line, without its end; none where hostd has ended, or has no more.
    ///
    /// # Errors
    /// hostd does not answer any more, or a line has more than 1 MiB.
    pub async fn next(&mut self) -> Result<Option<String>, Failure> {
        const LONGEST: usize = 1 << 20;
        let begin = Instant::now();
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.truncate(end);
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.read.len() > LONGEST {
                return Err(Failure::new(Code::Failed, "hostd answered with a line of more than 1 MiB"));
            }
            let frame = tokio::select! {
                frame = self.body.frame() => frame,
                () = self.client.silence() => return Err(self.client.silent(begin.elapsed())),
            };
            // A hostd that was killed closes the connection in the middle of a line.
            let Some(Ok(frame)) = frame else { return Ok(None) };
            self.read.extend(frame.into_data().unwrap_or_default());
        }
    }
}

/// A name as a path segment of a URL. Names that need escaping are invalid, and hostd reports that.
pub fn segment(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'+' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The path of a tenant, or of something of it.
pub fn tenant(name: &str, rest: &str) -> String {
    format!("/v1/tenants/{}{rest}", segment(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_one_part_of_the_path() {
        assert_eq!(tenant("alice", "/start"), "/v1/tenants/alice/start");
        assert_eq!(tenant("../x?y#z\n", ""), "/v1/tenants/..%2Fx%3Fy%23z%0A");
    }

    #[tokio::test]
    async fn a_missing_hostd_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(Layout::new(dir.path()));
        let failure = client.get::<serde_json::Value>("/v1/host").await.unwrap_err();
        assert_eq!((failure.code, failure.code.exit_code()), (Code::NoHostd, 1));
        assert!(failure.help.unwrap().contains(&format!("hostd --root {}", dir.path().display())));
    }

    /// A hostd that takes connections; it answers the request for `path` alone.
    async fn hostd(dir: &Path, path: &'static str) -> (Client, tokio::task::JoinHandle<()>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let layout = Layout::new(dir);
        std::fs::create_dir_all(layout.run()).unwrap();
        let listener = tokio::net::UnixListener::bind(layout.hostd_socket()).unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut request = vec![0; 1024];
                    let length = stream.read(&mut request).await.unwrap();
                    if request[..length].starts_with(format!("GET {path} ").as_bytes()) {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue";
                        stream.write_all(answer).await.unwrap();
                    }
                    sleep(Duration::from_secs(3600)).await;
                });
            }
        });
        let [late, sign] = [100, 300].map(Duration::from_millis);
        (Client { late, sign, ..Client::new(layout) }, serving)
    }

    #[tokio::test]
    async fn an_unresponsive_hostd_is_reported_within_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let (client, serving) = hostd(dir.path(), "/nothing").await;
        let failure = client.get::<bool>("/v1/tenants").await.unwrap_err();
        assert_eq!(failure.code, Code::NoHostd);
        assert!(failure.message.contains("does not respond"), "{failure}");
        assert!(failure.help.unwrap().contains("stuck"));
        serving.abort();
    }

    #[tokio::test]
    async fn a_hostd_that_is_at_work_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (client, serving) = hostd(dir.path(), "/v1/host").await;
        timeout(3 * (client.late + client.sign), client.get::<bool>("/v1/tenants")).await.unwrap_err();
        assert!(client.get::<bool>("/v1/host").await.unwrap());
        serving.abort();
    }
}
