//! The socket of PID 1, made fit for zbus.
//!
//! systemd puts its well-known name where messages say who sent them, because on its own socket no process has a
//! unique name, see sd_bus_set_sender(3). zbus takes nothing but a unique name there. So what comes in goes
//! through here, message by message, and the sender is replaced by a unique name of the same length.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

const PATH: &str = "/run/systemd/private";

/// The header field: its code, its type, the length of its value, the value.
const FROM: &[u8] = b"\x07\x01s\0\x18\0\0\0org.freedesktop.systemd1\0";
const TO: &[u8] = b"\x07\x01s\0\x18\0\0\0:1.000000000000000000001\0";

/// Longest message, see the D-Bus specification.
const MAX_MESSAGE: usize = 128 << 20;
/// Longest line of the handshake that is waited for.
const MAX_LINE: usize = 16 << 10;

/// Connects to PID 1. The connection ends when either side does.
///
/// # Errors
/// No process listens, or not to us.
pub(super) async fn connect() -> io::Result<UnixStream> {
    let (mut from_systemd, mut to_systemd) = UnixStream::connect(PATH).await?.into_split();
    let (ours, theirs) = UnixStream::pair()?;
    let (mut from_us, mut to_us) = theirs.into_split();
    tokio::spawn(async move {
        let inbound = async {
            let mut held = Vec::new();
            while from_systemd.read_buf(&mut held).await? > 0 {
                while let Some(length) = whole(&held)? {
                    rewrite(&mut held[..length]);
                    to_us.write_all(&held[..length]).await?;
                    held.drain(..length);
                }
            }
            io::Result::Ok(())
        };
        // Whichever ends first ends both.
        tokio::select! {
            ended = inbound => ended.map(|()| 0),
            ended = tokio::io::copy(&mut from_us, &mut to_systemd) => ended,
        }
    });
    Ok(ours)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let word: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(word)).ok()
}

/// Length of the header of a message, its padding included; see the D-Bus specification.
fn header(bytes: &[u8]) -> Option<usize> {
    Some(16 + number(bytes, 12)?.next_multiple_of(8))
}

/// Length of the first line of the handshake, or of the first message; none while it is not whole.
fn whole(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(first) = bytes.first() else { return Ok(None) };
    // A message of a little-endian machine; what is said before begins with a capital letter.
    if *first != b'l' {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        return if end.is_none() && bytes.len() > MAX_LINE {
            Err(too_long())
        } else {
            Ok(end.map(|end| end + 1))
        };
    }
    let (Some(header), Some(body)) = (header(bytes), number(bytes, 4)) else { return Ok(None) };
    let length = header + body;
    if length > MAX_MESSAGE {
        return Err(too_long());
    }
    Ok((bytes.len() >= length).then_some(length))
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message of systemd is too long")
}

/// Replaces the sender of a message.
fn rewrite(message: &mut [u8]) {
    if message.first() != Some(&b'l') {
        return;
    }
    let Some(end) = header(message) else { return };
    let fields = &mut message[16..end];
    // A field begins at a multiple of eight bytes.
    for at in (0..fields.len()).step_by(8) {
        if let Some(field) = fields[at..].get_mut(..FROM.len())
            && field == FROM
        {
            field.copy_from_slice(TO);
        }
    }
}

#[cfg(test)]
mod tests {
    use zbus::names::UniqueName;

    use super::*;

    /// A message with these header fields and this body.
    fn message(fields: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = b"l\x02\x01\x01".to_vec();
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(7_u32.to_le_bytes());
        bytes.extend((fields.len() as u32).to_le_bytes());
        bytes.extend(fields);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn the_stand_in_is_a_unique_name() {
        assert_eq!(FROM.len(), TO.len());
        let name = std::str::from_utf8(&TO[8..TO.len() - 1]).unwrap();
        assert!(UniqueName::try_from(name).is_ok());
    }

    #[test]
    fn only_the_sender_of_a_message_is_replaced() {
        let serial = b"\x05\x01u\0\x01\0\0\0";
        let mut bytes = message(&[serial, FROM].concat(), FROM);
        assert_eq!(whole(&bytes).unwrap(), Some(bytes.len()));
        rewrite(&mut bytes);
        assert_eq!(bytes, message(&[serial, TO].concat(), FROM));
    }

    #[test]
    fn messages_and_lines_are_taken_whole() {
        let bytes = message(FROM, b"body");
        for length in 0..bytes.len() {
            assert_eq!(whole(&bytes[..length]).unwrap(), None, "{length}");
        }
        assert_eq!(whole(&[bytes.clone(), bytes.clone()].concat()).unwrap(), Some(bytes.len()));
        assert_eq!(whole(b"OK 1234\r\nAGREE").unwrap(), Some(9));
        assert_eq!(whole(b"OK 12").unwrap(), None);
        let mut endless = bytes;
        endless[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(whole(&endless).is_err());
    }
}
