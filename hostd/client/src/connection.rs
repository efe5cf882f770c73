//! HTTP over hostd's socket.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tenant::Layout;
use tokio::{
    net::UnixStream,
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

    /// One request on a connection of its own. It may take as long as what is asked for; that somebody is at work on it
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
        let begin = Instant::now();
        let (status, body) = tokio::select! {
            answered = self.exchange(method, path, has_body.then_some(bytes)) => answered?,
            () = self.silence() => return Err(self.silent(begin.elapsed())),
        };
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| Failure::of(Code::Failed, &error));
        }
        Err(serde_json::from_slice(&body).unwrap_or_else(|_| {
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            Failure::new(Code::Failed, format!("hostd answered {status}: {}", text.escape_debug()))
        }))
    }

    /// Sends a request and reads the whole answer.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let socket = self.layout.hostd_socket();
        let stream = UnixStream::connect(&socket).await.map_err(|error| self.unreachable(&socket, &error))?;
        let broken = |error: hyper::Error| {
            Failure::new(
                Code::NoHostd,
                format!("hostd at {} closed the connection: {error}", socket.display()),
            )
            .help("read its log; tenants are not affected")
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "hostd");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| Failure::of(Code::Invalid, &error))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        Ok((status, body))
    }

    /// Ends when hostd does not even say that it is there.
    async fn silence(&self) {
        loop {
            sleep(self.late).await;
            // A failure that comes at once is an answer: the request meets the same, or the end of that hostd.
            if timeout(self.sign, self.exchange(Method::GET, "/v1/host", None)).await.is_err() {
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
    async fn a_hostd_that_says_nothing_is_given_up_within_seconds() {
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
