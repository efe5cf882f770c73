//! The words of a network configuration: hardware addresses, networks, interface names, rates.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};

/// A word of a network configuration that is malformed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {what}: {reason}")]
pub struct InvalidWord {
    what: &'static str,
    text: String,
    reason: &'static str,
}

fn refuse(what: &'static str, text: &str, reason: &'static str) -> InvalidWord {
    InvalidWord { what, text: text.chars().take(64).collect(), reason }
}

/// A unicast hardware address: `4a:49:43:49:79:bf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address's six bytes.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// A locally administered unicast address from any six bytes.
    pub fn local(bytes: [u8; 6]) -> Self {
        let [first, rest @ ..] = bytes;
        let [b, c, d, e, f] = rest;
        Self([(first & 0xfc) | 0x02, b, c, d, e, f])
    }
}

impl FromStr for Mac {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        let refuse = |reason| refuse("a hardware address", text, reason);
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            let part = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = part.ok_or_else(|| refuse("write six bytes, e.g. 4a:49:43:49:79:bf"))?;
        }
        if parts.next().is_some() || text.contains('+') {
            return Err(refuse("write six bytes, e.g. 4a:49:43:49:79:bf"));
        }
        if bytes[0] & 1 == 1 {
            return Err(refuse("it is a multicast address; an interface needs a unicast address"));
        }
        if bytes == [0; 6] {
            return Err(refuse("it is all zeros"));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address with the length of its network's prefix: `10.0.0.2/24`. Without a length it is the
/// whole address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    /// The address; host bits are kept.
    pub address: IpAddr,
    /// Length of the prefix: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub prefix: u8,
}

impl Cidr {
    /// The address alone: /32 or /128.
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether an address lies in this network.
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        let refuse = |reason| refuse("an address", text, reason);
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refuse("write e.g. 10.0.0.2/24 or fd00::2/64"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(text) if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(refuse("its prefix length is not a number"));
            }
            Some(text) => text.parse().map_err(|_| refuse("its prefix is too long"))?,
        };
        if prefix > longest {
            return Err(refuse("its prefix is too long"));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A route: `10.1.0.0/16 via 10.0.0.1`, or without `via` when the network is on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Route {
    /// Where to.
    pub to: Cidr,
    /// Over whom; none is directly.
    pub via: Option<IpAddr>,
}

impl FromStr for Route {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        let refuse = |reason| refuse("a route", text, reason);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (to, via) = match words[..] {
            [to] => (to, None),
            [to, "via", via] => (to, Some(via)),
            _ => return Err(refuse("write e.g. 10.1.0.0/16 via 10.0.0.1")),
        };
        let to: Cidr = to.parse().map_err(|_| refuse("its network is malformed"))?;
        let via: Option<IpAddr> =
            via.map(str::parse).transpose().map_err(|_| refuse("its next hop is malformed"))?;
        if via.is_some_and(|via| via.is_ipv4() != to.address.is_ipv4()) {
            return Err(refuse("network and next hop belong to different address families"));
        }
        Ok(Self { to, via })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.via {
            Some(via) => write!(f, "{} via {via}", self.to),
            None => write!(f, "{}", self.to),
        }
    }
}

/// A name for an interface: 1 to 15 bytes, no `/`, no white space, neither `lo` nor a dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

impl LinkName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkName {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        let refuse = |reason| refuse("a name for an interface", text, reason);
        if !(1..=15).contains(&text.len()) {
            return Err(refuse("it is not 1 to 15 bytes long"));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(refuse("it contains characters other than letters, digits, -, _ and ."));
        }
        if matches!(text, "lo" | "." | ".." | "all" | "default") {
            return Err(refuse("it is reserved"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rate in bit/s, at least 8 kbit/s; written as `64K`, `100M` or `1G` (powers of 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitRate(u64);

impl BitRate {
    /// Bits per second.
    pub fn bits(self) -> u64 {
        self.0
    }
}

impl FromStr for BitRate {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        let refuse = |reason| refuse("a rate", text, reason);
        let (digits, unit) = match text.as_bytes().last() {
            Some(b'K') => (&text[..text.len() - 1], 1_000),
            Some(b'M') => (&text[..text.len() - 1], 1_000_000),
            Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
            _ => (text, 1),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refuse("write bit/s with a suffix K, M or G, e.g. 100M"));
        }
        let rate = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        match rate {
            Some(rate) if (8_000..=1_000_000_000_000).contains(&rate) => Ok(Self(rate)),
            _ => Err(refuse("it is outside 8K to 1000G")),
        }
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, letter) in [(1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'K')] {
            if self.0.is_multiple_of(unit) {
                return write!(f, "{}{letter}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// tcp(7).
    Tcp,
    /// udp(7).
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host that leads to a port of the tenant: `2222:22/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Forward {
    /// Of which protocol.
    pub protocol: Protocol,
    /// Port on every address of the host, 1 to 65,535.
    pub host_port: u16,
    /// Port of the tenant, 1 to 65,535.
    pub tenant_port: u16,
}

impl FromStr for Forward {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        let refuse = |reason| refuse("a port forward", text, reason);
        let (ports, protocol) = protocol_of(text).ok_or_else(|| refuse(NO_PROTOCOL))?;
        let (host, tenant) =
            ports.split_once(':').ok_or_else(|| refuse("write HOST:TENANT/tcp, e.g. 2222:22/tcp"))?;
        let port = |text: &str| port_number(text).ok_or_else(|| refuse(NO_PORT));
        Ok(Self { protocol, host_port: port(host)?, tenant_port: port(tenant)? })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host_port, self.tenant_port, self.protocol)
    }
}

/// A service by its protocol and port: `53/udp`, or `22` for TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Service {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port, 1 to 65,535.
    pub port: u16,
}

impl FromStr for Service {
    type Err = InvalidWord;

    fn from_str(text: &str) -> Result<Self, InvalidWord> {
        let refuse = |reason| refuse("a service", text, reason);
        let (port, protocol) = protocol_of(text).ok_or_else(|| refuse(NO_PROTOCOL))?;
        Ok(Self { protocol, port: port_number(port).ok_or_else(|| refuse(NO_PORT))? })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

const NO_PROTOCOL: &str = "its protocol is neither tcp nor udp";
const NO_PORT: &str = "a port is not a number from 1 to 65535";

/// What stands before `/tcp` or `/udp`, and the protocol; TCP where none is named.
fn protocol_of(text: &str) -> Option<(&str, Protocol)> {
    match text.split_once('/').unwrap_or((text, "tcp")) {
        (rest, "tcp") => Some((rest, Protocol::Tcp)),
        (rest, "udp") => Some((rest, Protocol::Udp)),
        _ => None,
    }
}

fn port_number(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| *port > 0 && is_plain)
}

macro_rules! text_form {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = InvalidWord;

            fn try_from(text: String) -> Result<Self, InvalidWord> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}

text_form!(Mac, Cidr, Route, LinkName, BitRate, Forward, Service);

/// A list that may also be written as one string with commas: `ports = "2222:22/tcp,8080:80/tcp"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Forwards(pub Vec<Forward>);

impl<'de> Deserialize<'de> for Forwards {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            List(Vec<String>),
        }
        let expected = "a list of ports, e.g. [\"2222:22/tcp\"]";
        let words = match Form::deserialize(deserializer).map_err(|_| de::Error::custom(expected))? {
            Form::Text(text) => text.split(',').map(|word| word.trim().to_owned()).collect(),
            Form::List(words) => words,
        };
        let words = words.iter().filter(|word| !word.is_empty());
        words.map(|word| word.parse()).collect::<Result<_, _>>().map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written_alike() {
        assert_eq!("4A:49:43:49:79:bf".parse::<Mac>().unwrap().to_string(), "4a:49:43:49:79:bf");
        assert_eq!("10.0.0.2".parse::<Cidr>().unwrap().to_string(), "10.0.0.2/32");
        assert_eq!("fd00::2/64".parse::<Cidr>().unwrap().to_string(), "fd00::2/64");
        assert_eq!("0.0.0.0/0 via 10.0.0.1".parse::<Route>().unwrap().to_string(), "0.0.0.0/0 via 10.0.0.1");
        assert_eq!("100M".parse::<BitRate>().unwrap().bits(), 100_000_000);
        assert_eq!("1500K".parse::<BitRate>().unwrap().to_string(), "1500K");
        assert_eq!("2222:22".parse::<Forward>().unwrap().to_string(), "2222:22/tcp");
        assert_eq!("53/udp".parse::<Service>().unwrap().to_string(), "53/udp");
        assert_eq!("22".parse::<Service>().unwrap().to_string(), "22/tcp");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "1:2:3:4:5:6", "01:00:00:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00:0g"] {
            assert!(text.parse::<Mac>().is_err(), "{text:?} was accepted");
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::1/129", "10.0.0.1/", "10.0.0.1/+8"] {
            assert!(text.parse::<Cidr>().is_err(), "{text:?} was accepted");
        }
        for text in ["", "lo", "a/b", "a b", "sixteen-bytes-xx", ".."] {
            assert!(text.parse::<LinkName>().is_err(), "{text:?} was accepted");
        }
        for text in ["22", "0:22", "22:0", "22:22/sctp", "+1:2", "70000:1"] {
            assert!(text.parse::<Forward>().is_err(), "{text:?} was accepted");
        }
        for text in ["", "0", "22/", "22/sctp", "+22", "70000/udp", "udp/53", "2222:22/tcp"] {
            assert!(text.parse::<Service>().is_err(), "{text:?} was accepted");
        }
        assert!("10.0.0.0/8 via fd00::1".parse::<Route>().is_err());
        assert!("1K".parse::<BitRate>().is_err());
    }

    #[test]
    fn networks_hold_their_addresses() {
        let net: Cidr = "10.0.0.7/24".parse().unwrap();
        assert!(net.contains("10.0.0.255".parse().unwrap()));
        assert!(!net.contains("10.0.1.0".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("9.9.9.9".parse().unwrap()));
        assert!(!"::/0".parse::<Cidr>().unwrap().contains("9.9.9.9".parse().unwrap()));
    }
}
