//! The key that detaches.

use std::{fmt, str::FromStr};

/// What detaches: a control character, or one and a key behind it, as in lxc-console(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetachKey {
    key: Option<u8>,
    then: Option<u8>,
}

impl Default for DetachKey {
    fn default() -> Self {
        Self { key: Some(0x1d), then: None }
    }
}

/// A string that is not a detach key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a detach key: write a control character as ^] or ^A, with a letter as \"^A q\", or none"
)]
pub struct InvalidKey(String);

impl DetachKey {
    /// What of some typed bytes is for the tenant, and whether the rest detaches. `prefixed` is kept
    /// between calls: whether the prefix was the last byte. Typed twice it is itself.
    pub(super) fn take(self, typed: &[u8], prefixed: &mut bool) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        let Some(key) = self.key else { return (typed.to_vec(), false) };
        for byte in typed {
            match (self.then, std::mem::take(prefixed)) {
                (None, _) if *byte == key => return (passed, true),
                (Some(then), true) if *byte == then => return (passed, true),
                (Some(_), true) if *byte == key => passed.push(key),
                (Some(_), true) => passed.extend([key, *byte]),
                (Some(_), false) if *byte == key => *prefixed = true,
                _ => passed.push(*byte),
            }
        }
        (passed, false)
    }
}

impl FromStr for DetachKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let control = |key: &u8| Some(key.to_ascii_uppercase() & 0x1f);
        match text.as_bytes() {
            b"none" => Ok(Self { key: None, then: None }),
            [b'^', key @ (b'@'..=b'_' | b'a'..=b'z')] => Ok(Self { key: control(key), then: None }),
            [b'^', key @ (b'@'..=b'_' | b'a'..=b'z'), b' ', then @ b'!'..=b'~'] => {
                Ok(Self { key: control(key), then: Some(*then) })
            }
            _ => Err(InvalidKey(text.chars().take(16).collect())),
        }
    }
}

impl fmt::Display for DetachKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(key) = self.key else { return f.write_str("none") };
        write!(f, "Ctrl-{}", char::from(key | 0x40))?;
        self.then.map_or(Ok(()), |then| write!(f, " {}", char::from(then)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_passed_on_unless_the_key_follows() {
        let key: DetachKey = "^a q".parse().unwrap();
        let mut prefixed = false;
        // One call for each read of the keyboard.
        assert_eq!(key.take(b"ab", &mut prefixed), (b"ab".to_vec(), false));
        assert_eq!(key.take(b"x\x01", &mut prefixed), (b"x".to_vec(), false));
        assert_eq!(key.take(b"y", &mut prefixed), (b"\x01y".to_vec(), false));
        assert_eq!(key.take(b"\x01\x01q", &mut prefixed), (b"\x01q".to_vec(), false));
        assert_eq!(key.take(b"z\x01qmore", &mut prefixed), (b"z".to_vec(), true));
        let plain = DetachKey::default();
        assert_eq!(plain.take(b"a\x1db", &mut false), (b"a".to_vec(), true));
        assert_eq!("none".parse::<DetachKey>().unwrap().take(b"\x1d", &mut false), (b"\x1d".to_vec(), false));
    }

    #[test]
    fn a_detach_key_is_a_control_character() {
        assert_eq!("^]".parse(), Ok(DetachKey::default()));
        assert_eq!("^a".parse(), Ok(DetachKey { key: Some(1), then: None }));
        assert_eq!("^a q".parse(), Ok(DetachKey { key: Some(1), then: Some(b'q') }));
        assert_eq!("none".parse(), Ok(DetachKey { key: None, then: None }));
        assert_eq!("^a q".parse::<DetachKey>().unwrap().to_string(), "Ctrl-A q");
        assert_eq!(DetachKey::default().to_string(), "Ctrl-]");
        for bad in ["", "]", "^", "^1", "^]q", "^a ", "^a qq"] {
            assert!(bad.parse::<DetachKey>().is_err(), "{bad:?} was accepted");
        }
    }
}
