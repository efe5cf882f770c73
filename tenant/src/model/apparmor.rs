//! The AppArmor profile of a tenant's processes, see apparmor(7).

use std::{collections::BTreeSet, str::FromStr};

use serde::{Deserialize, Serialize};

/// The profile that the package brings; tenants are under it where the host has loaded it.
pub const SHIPPED: &str = "tenantry-tenant";

/// Under no profile.
const UNCONFINED: &str = "unconfined";

/// Name of a profile, or the word `unconfined`: 1 to 128 of a-z, A-Z, 0-9, `-`, `_`, `.`, `/`, the first of them no `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppArmorProfile(String);

/// Why a text is no name of a profile.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "it is not a name of an AppArmor profile, which has 1 to 128 of a-z, A-Z, 0-9, '-', '_', '.', '/', and begins with no '-'"
)]
pub struct InvalidProfile;

impl AppArmorProfile {
    /// Its name; none for `unconfined`.
    pub fn name(&self) -> Option<&str> {
        (self.0 != UNCONFINED).then_some(&self.0)
    }
}

impl FromStr for AppArmorProfile {
    type Err = InvalidProfile;

    fn from_str(text: &str) -> Result<Self, InvalidProfile> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        match (1..=128).contains(&text.len()) && !text.starts_with('-') && text.chars().all(is_allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidProfile),
        }
    }
}

super::text::text_form!(AppArmorProfile, InvalidProfile);

/// The profiles that a kernel has loaded, by the text of `/sys/kernel/security/apparmor/profiles`: `NAME (MODE)`.
pub fn loaded(profiles: &str) -> BTreeSet<String> {
    profiles.lines().filter_map(|line| Some(line.rsplit_once(" (")?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_listed_with_their_modes() {
        let text = "tenantry-tenant (enforce)\n/usr/bin/man (complain)\nlsb_release (unconfined)\nodd\n";
        let wanted = ["/usr/bin/man", "lsb_release", "tenantry-tenant"];
        assert_eq!(loaded(text), wanted.map(str::to_owned).into());
    }

    #[test]
    fn a_name_that_could_mean_something_else_to_the_kernel_is_refused() {
        let name = |text: &str| text.parse::<AppArmorProfile>();
        assert_eq!(name("shop/web-1.2").unwrap().name(), Some("shop/web-1.2"));
        assert_eq!(name("unconfined").unwrap().name(), None);
        for bad in ["", "-x", "a b", "a\nexec b", ":ns:a", "a//&b", &"a".repeat(129)] {
            assert_eq!(name(bad).err(), Some(InvalidProfile), "{bad}");
        }
    }
}
