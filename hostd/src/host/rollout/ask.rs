//! Ports and pages of a tenant that gates ask. Each may be dropped before it is answered.

use std::net::IpAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::rollout::gates;

/// Connects to a port.
pub(super) async fn tcp(address: IpAddr, port: u16) -> Result<TcpStream, String> {
    let connected = TcpStream::connect((address, port)).await;
    connected.map_err(|error| {
        format!("cannot connect to {address}: {}", tenant::cause::without_numbers(&error.to_string()))
    })
}

/// Asks for a path over HTTP.
pub(super) async fn http(address: IpAddr, port: u16, path: &str) -> Result<(), String> {
    let mut stream = tcp(address, port).await?;
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nUser-Agent: tenantry\r\nConnection: close\r\n\r\n"
    );
    let failed = |error: std::io::Error| tenant::cause::without_numbers(&error.to_string());
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < 4096 {
        if stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
            break;
        }
    }
    gates::http_status(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_and_a_page_are_asked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.0 503 Not yet\r\n\r\n", ""];
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let length = stream.read(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                assert!(text.starts_with("GET /health?x=1 HTTP/1.0\r\nHost: 127.0.0.1:"), "{text}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let ask = || http(address.ip(), address.port(), "/health?x=1");
        assert_eq!(ask().await, Ok(()));
        assert_eq!(ask().await.unwrap_err(), "it answers with status 503");
        assert_eq!(ask().await.unwrap_err(), "it does not answer in HTTP");
        let refused = tcp("127.0.0.1".parse().unwrap(), 1).await.unwrap_err();
        assert!(
            refused.starts_with("cannot connect to 127.0.0.1: ") && !refused.contains("os error"),
            "{refused}"
        );
    }
}
