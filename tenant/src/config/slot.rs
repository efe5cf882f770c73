//! How the value of a key is read, by its type: what people type is understood, also where TOML has a string.

use std::{collections::BTreeMap, fmt, marker::PhantomData, net::IpAddr};

use serde::{Deserialize, Deserializer, de};

use super::{
    nic_fragment::NicFragment,
    words::{Kind, Restart, RootMode},
};
use crate::model::{
    apparmor::AppArmorProfile,
    device::DeviceRule,
    follow::Follow,
    host::GroupName,
    image::{ImageRef, ProfileName, Ready},
    limits::{ByteSize, Count, CpuQuota, Limits, Seconds, Weight},
    net::{BitRate, Forwards},
    park::{Idle, Park},
    path::TenantPath,
    syscall::AllowedCall,
};

/// The value of a key, read from what TOML has.
pub(super) trait Typed: Sized {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// What is compared with the bounds of the key.
    fn number(&self) -> Option<u64> {
        None
    }
}

/// What a file has of a key: a value or none, or a table, empty or not.
pub(super) trait Slot: Sized {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
    fn is_absent(&self) -> bool;
    /// `over` laid on top of this.
    fn overlaid(self, over: Self) -> Self;
    fn number(&self) -> Option<u64> {
        None
    }
}

impl<T: Typed> Slot for Option<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Some)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn overlaid(self, over: Self) -> Self {
        over.or(self)
    }

    fn number(&self) -> Option<u64> {
        self.as_ref()?.number()
    }
}

impl<K, V> Slot for BTreeMap<K, V>
where
    K: Ord + for<'de> Deserialize<'de>,
    V: for<'de> Deserialize<'de>,
{
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn overlaid(mut self, over: Self) -> Self {
        self.extend(over);
        self
    }
}

/// Reads an integer, also out of a string.
struct Integer<T>(PhantomData<T>);

impl<T: TryFrom<u64>> de::Visitor<'_> for Integer<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::custom(format!("{number} is out of range")))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        let fits = u64::try_from(number).ok().and_then(|number| T::try_from(number).ok());
        fits.ok_or_else(|| E::custom(format!("{number} is out of range")))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        match text.trim().parse::<u64>() {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::custom(format!("{:?} is not a number", start(text)))),
        }
    }
}

/// As much of a text as a message has room for.
fn start(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Reads a boolean, also as the words that people type.
struct Switch;

impl de::Visitor<'_> for Switch {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<bool, E> {
        Ok(value)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<bool, E> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err(E::custom(format!("{:?} is neither true nor false", start(text)))),
        }
    }
}

impl Typed for bool {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Switch)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Typed for $type {
            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Integer(PhantomData))
            }

            fn number(&self) -> Option<u64> {
                Some((*self).into())
            }
        }
    )*};
}

/// Types that read themselves, and the number in those that are quantities.
macro_rules! plain {
    ($($type:ty $(: $number:expr)?),* $(,)?) => {$(
        impl Typed for $type {
            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::deserialize(deserializer)
            }

            $(fn number(&self) -> Option<u64> {
                let number: fn(&Self) -> u64 = $number;
                Some(number(self))
            })?
        }
    )*};
}

integers!(u8, u16, u32);
plain!(
    ByteSize: |size| size.0,
    Count: |count| count.0,
    CpuQuota: |quota| if *quota == CpuQuota::MAX { Limits::MAX } else { quota.percent().into() },
    Seconds: |seconds| seconds.0.into(),
    Weight: |weight| weight.get().into(),
    String, AppArmorProfile, BitRate, Follow, Forwards, GroupName, Idle, ImageRef, Kind, Park, ProfileName, Ready, Restart, RootMode,
    Vec<AllowedCall>, Vec<DeviceRule>, Vec<IpAddr>, Vec<NicFragment>, Vec<String>, Vec<TenantPath>,
);
