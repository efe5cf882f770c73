//! HTTP over hostd's socket.

use std::{io, path::Path};

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tenant::Layout;
use tokio::net::UnixStream;

use crate::error::{Code, Failure};

/// A client of the hostd of one layout.
#[derive(Clone, Debug)]
pub(super) struct Client {
    layout: Layout,
}

impl Client {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout }
    }

    pub(super) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Failure> {
        self.request(Method::GET, path, &()).await
    }

    pub(super) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, Failure> {
        self.request(Method::POST, path, body).await
    }

    /// One request on a connection of its own.
    pub(super) async fn request<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, Failure> {
        let socket = self.layout.hostd_socket();
        let stream = UnixStream::connect(&socket).await.map_err(|error| self.unreachable(&socket, &error))?;
        let broken = |error: hyper::Error| {
            Failure::new(Code::NoHostd, format!("hostd at {} hung up: {error}", socket.display()))
                .help("read its log; tenants are not affected")
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let has_body = method != Method::GET && method != Method::DELETE;
        let bytes = if has_body {
            serde_json::to_vec(body).map_err(|error| Failure::of(Code::Failed, &error))?
        } else {
            Vec::new()
        };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "hostd");
        if has_body {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|error| Failure::of(Code::Invalid, &error))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| Failure::of(Code::Failed, &error));
        }
        Err(serde_json::from_slice(&body).unwrap_or_else(|_| {
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            Failure::new(Code::Failed, format!("hostd answered {status}: {}", text.escape_debug()))
        }))
    }

    fn unreachable(&self, socket: &Path, error: &io::Error) -> Failure {
        let socket = socket.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::new(
                Code::Forbidden,
                format!("hostd at {socket} is for root and the group \"tenantry\""),
            )
            .help("run it as root, or: usermod --append --groups tenantry USER"),
            _ => {
                let start = if self.layout.is_default() {
                    "start it: systemctl start hostd (without systemd: hostd &)".to_owned()
                } else {
                    format!("start it: hostd --root {} &", self.layout.root().display())
                };
                Failure::new(
                    Code::NoHostd,
                    format!("hostd does not run: nobody answers at {socket} ({error})"),
                )
                .help(start)
            }
        }
    }
}

/// A name as a part of a URL. Names that need escaping are none, and hostd says so.
pub(super) fn segment(name: &str) -> String {
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
pub(super) fn tenant(name: &str, rest: &str) -> String {
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
}
