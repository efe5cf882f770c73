//! A tenant's bytes are data: what they become before they reach a log, a message or a terminal that
//! did not ask for them.

/// What a byte stream of a terminal is made of.
enum Piece<'a> {
    Text(&'a [u8]),
    /// A control byte other than ESC.
    Control(u8),
    /// `ESC [ … m`: colours and weight.
    Style(&'a [u8]),
    /// Any other escape sequence.
    Sequence,
}

/// Splits off the first piece, see ECMA-48 section 5.4 and console_codes(4).
fn piece(bytes: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first != 0x1b {
        if first < 0x20 || first == 0x7f {
            return Some((Piece::Control(first), rest));
        }
        let end = bytes.iter().position(|b| *b < 0x20 || *b == 0x7f).unwrap_or(bytes.len());
        return Some((Piece::Text(&bytes[..end]), &bytes[end..]));
    }
    match rest.first() {
        Some(b'[') => {
            // Parameters and intermediates, then a final byte; anything else breaks the sequence off.
            let inner = bytes[2..].iter().take_while(|b| (0x20..0x40).contains(*b)).count();
            let plain = bytes[2..2 + inner].iter().all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'));
            match bytes.get(2 + inner) {
                Some(b'm') if plain => Some((Piece::Style(&bytes[..3 + inner]), &bytes[3 + inner..])),
                Some(0x40..=0x7e) => Some((Piece::Sequence, &bytes[3 + inner..])),
                _ => Some((Piece::Sequence, &bytes[2 + inner..])),
            }
        }
        // OSC, DCS, APC, PM, SOS: up to BEL or ESC \.
        Some(b']' | b'P' | b'_' | b'^' | b'X') => {
            let mut at = 2;
            while at < bytes.len() && bytes[at] != 0x07 && bytes[at] != 0x1b {
                at += 1;
            }
            let end = match bytes.get(at) {
                Some(0x1b) if bytes.get(at + 1) == Some(&b'\\') => at + 2,
                Some(0x07) => at + 1,
                _ => at,
            };
            Some((Piece::Sequence, &bytes[end..]))
        }
        Some(b'(' | b')' | b'*' | b'+' | b'#' | b'%' | b' ') => {
            Some((Piece::Sequence, &bytes[bytes.len().min(3)..]))
        }
        _ => Some((Piece::Sequence, &bytes[bytes.len().min(2)..])),
    }
}

/// The last `count` lines of console output as plain text: escape sequences removed, other control
/// characters and bytes that are not UTF-8 spelled out, each line at most 400 characters.
pub fn plain_lines(bytes: &[u8], count: usize) -> Vec<String> {
    let clean = plain(bytes);
    let text = String::from_utf8_lossy(&clean);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| one_line(line, 400)).collect()
}

/// One line of console output, written as [`plain_lines`] does, at most `longest` bytes.
pub fn plain_line(bytes: &[u8], longest: usize) -> String {
    let mut line = one_line(&String::from_utf8_lossy(&plain(bytes)), longest);
    while line.len() > longest {
        line.pop();
    }
    line
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((piece, next)) = piece(rest) {
        match piece {
            Piece::Text(text) => clean.extend_from_slice(text),
            Piece::Control(b'\r') | Piece::Style(_) | Piece::Sequence => {}
            Piece::Control(byte @ (b'\n' | b'\t')) => clean.push(byte),
            Piece::Control(byte) => clean.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
        rest = next;
    }
    clean
}

/// Text without control characters but tabs, at most `longest` characters: for messages and status lines.
pub fn one_line(text: &str, longest: usize) -> String {
    let visible =
        |c: char| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| visible(*c) || *c == '\t').take(longest).collect()
}

/// Output of the past, made fit to be shown again: text, line ends and colours stay, every sequence
/// that moves, asks or sets something is removed. A terminal would answer a replayed question, and
/// its answer would be typed into the tenant.
pub fn replayable(bytes: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((piece, next)) = piece(rest) {
        match piece {
            Piece::Text(text) | Piece::Style(text) => clean.extend_from_slice(text),
            Piece::Control(byte @ (b'\r' | b'\n' | b'\t' | 0x08)) => clean.push(byte),
            Piece::Control(_) | Piece::Sequence => {}
        }
        rest = next;
    }
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_lines_are_the_last_ones_without_control_characters() {
        let bytes = b"one\r\n\x1b[31mtwo\x1b[0m\r\n\r\nth\x07ree\xff\n";
        assert_eq!(plain_lines(bytes, 2), ["two", "th\\x07ree\u{fffd}"]);
        assert_eq!(plain_lines(b"\x1b]0;title\x07x\n\x1b]2;t\x1b\\y", 9), ["x", "y"]);
    }

    #[test]
    fn a_replay_keeps_text_and_colour_and_asks_nothing() {
        let bytes = b"a\x1b[6n\x1b[c\x1b[1;31mb\x1b[0m\r\n\x1bPq\x1b\\c\x1b]52;c;eA==\x07\x1b[?1049hd\x1b(0e";
        assert_eq!(replayable(bytes), b"a\x1b[1;31mb\x1b[0m\r\ncde");
        assert_eq!(replayable(b"\x1b[\xe2\x80\xa6 kept"), b"\xe2\x80\xa6 kept");
        assert_eq!(replayable(b"cut \x1b["), b"cut ");
        assert_eq!(replayable(b"cut \x1b"), b"cut ");
        assert_eq!(replayable(b"\x1b[>4;2m\x1b[m"), b"\x1b[m");
    }

    proptest! {
        #[test]
        fn nothing_but_styles_escapes_a_replay(bytes: Vec<u8>) {
            let clean = replayable(&bytes);
            for (at, byte) in clean.iter().enumerate() {
                prop_assert!(*byte >= 0x20 || matches!(byte, b'\r' | b'\n' | b'\t' | 8 | 0x1b));
                if *byte == 0x1b {
                    prop_assert_eq!(clean.get(at + 1), Some(&b'['));
                }
            }
        }

        #[test]
        fn a_plain_line_is_one_line_and_no_longer_than_it_may_be(bytes: Vec<u8>, longest in 0_usize..64) {
            let line = plain_line(&bytes, longest);
            prop_assert!(line.len() <= longest && !line.chars().any(|c| c.is_control() && c != '\t'));
        }

        #[test]
        fn plain_lines_never_hold_control_characters(bytes: Vec<u8>) {
            for line in plain_lines(&bytes, 50) {
                prop_assert!(!line.chars().any(|c| c.is_control() && c != '\t'));
            }
        }
    }
}
