//! Connections that carry lines, and connections that carry as much as they can.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv6Addr, TcpListener, TcpStream, ToSocketAddrs as _},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket,
        sockopt::TcpCongestion,
    },
    time::TimeValLike as _,
};
use serde_json::json;

use super::words::say;

/// Bytes of one read or write.
const CHUNK: usize = 128 << 10;

/// Sends every line that comes over any connection to all connections.
pub(super) fn relay(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    let all: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    say("relaying")?;
    for stream in listener.incoming() {
        let (stream, all) = (stream?, Arc::clone(&all));
        all.lock().expect("no thread panics").push(stream.try_clone()?);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                for mut other in all.lock().expect("no thread panics").iter() {
                    // Who has gone does not hear it.
                    let _gone = writeln!(other, "{line}");
                }
            }
        });
    }
    Ok(())
}

/// A connection between standard input and standard output; says `connected` first.
pub(super) fn talk(address: &str, port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect((address, port))?;
    stream.set_nodelay(true)?;
    say("connected")?;
    let hear = BufReader::new(stream.try_clone()?);
    let listener = thread::spawn(move || {
        let mut heard = hear.lines();
        heard.try_for_each(|line| say(&line?))
    });
    for line in io::stdin().lines() {
        writeln!(stream, "{}", line?)?;
    }
    listener.join().map_err(|_| io::Error::other("the listener panicked"))?
}

/// Takes whatever comes, and answers each connection with the number of bytes, and the CPU time that it took,
/// once it has come to its end.
pub(super) fn sink(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    say("listening")?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        thread::spawn(move || -> io::Result<()> {
            let (mut buffer, mut taken) = (vec![0; CHUNK], 0_u64);
            loop {
                match stream.read(&mut buffer)? {
                    0 => break,
                    count => taken += count as u64,
                }
            }
            stream.write_all(&[taken.to_be_bytes(), cpu_time()?.to_be_bytes()].concat())
        });
    }
    Ok(())
}

/// Microseconds of CPU time that this thread has used, see getrusage(2).
fn cpu_time() -> io::Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let total = usage.user_time() + usage.system_time();
    u64::try_from(total.num_microseconds()).map_err(io::Error::other)
}

/// Connects with the congestion control that every kernel has. Others, as BBR, send at a pace of their own and leave the
/// CPU idle; what is to be measured is what a path costs. It must be chosen first: a connection that has been one of
/// BBR's, even for a moment, keeps being paced by a timer, whose interrupts are a tenth of what IPv6 seems to cost.
fn connect_with_reno(address: &str, port: u16) -> io::Result<TcpStream> {
    let address = (address, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, TcpCongestion, &OsString::from("reno"))?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(TcpStream::from(socket))
}

/// Sends to a [`sink`] for so many milliseconds; prints the bytes that arrived, the time in
/// microseconds until the sink had all of them, and the CPU time of both.
pub(super) fn pump(address: &str, port: u16, milliseconds: u64) -> io::Result<()> {
    let mut stream = connect_with_reno(address, port)?;
    let (chunk, begin) = (vec![0; CHUNK], Instant::now());
    while begin.elapsed() < Duration::from_millis(milliseconds) {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let [mut taken, mut spent] = [[0; 8]; 2];
    stream.read_exact(&mut taken)?;
    stream.read_exact(&mut spent)?;
    let microseconds = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    let spent = u64::from_be_bytes(spent) + cpu_time()?;
    say(&json!({ "bytes": u64::from_be_bytes(taken), "us": microseconds, "cpu_us": spent }).to_string())
}
