//! Which tenants a list is asked for: the parameters of `GET /v1/tenants`.

use wire::{Code, Failure, LabelRule, MOST_PARAMETERS, Pattern, Summary, TenantState, image_and_digits};

/// Longest pattern, bytes.
const LONGEST: usize = 512;

/// What is wanted of tenants. Of several names, states and so on one must fit, of labels all.
#[derive(Debug, Default)]
pub(super) struct Selection {
    names: Vec<Pattern>,
    states: Vec<TenantState>,
    images: Vec<(Pattern, String)>,
    kinds: Vec<Pattern>,
    profiles: Vec<Pattern>,
    groups: Vec<Pattern>,
    labels: Vec<LabelRule>,
}

/// Reads a text that is, or ends in, a pattern.
fn parsed<T>(
    text: &str,
    what: &str,
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<T, Failure> {
    let parsed = if text.len() > LONGEST { Err("it is too long") } else { parse(text) };
    parsed.map_err(|reason| {
        let shown: String = text.chars().take(64).collect();
        Failure::new(Code::Invalid, format!("{shown:?} is not a {what}: {reason}"))
            .help("* stands for any characters, ? for one, [a-f] for one of these")
    })
}

fn pattern(text: &str) -> Result<Pattern, Failure> {
    parsed(text, "pattern", Pattern::parse)
}

fn state(text: &str) -> Result<TenantState, Failure> {
    TenantState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let all: Vec<_> = TenantState::ALL.iter().map(|state| state.as_str()).collect();
        Failure::new(Code::Invalid, format!("there is no state {text:?}"))
            .help(format!("one of: {}", all.join(", ")))
    })
}

/// `debian`, `debian*`, `debian@2f2f`.
fn image(text: &str) -> Result<(Pattern, String), Failure> {
    let (name, digits) = image_and_digits(text);
    Ok((pattern(name)?, digits.to_owned()))
}

fn one_of(patterns: &[Pattern], text: Option<&str>) -> bool {
    patterns.is_empty() || text.is_some_and(|text| patterns.iter().any(|pattern| pattern.matches(text)))
}

impl Selection {
    /// Takes the parameters of a request.
    ///
    /// # Errors
    /// A parameter that there is not, or one with a value that it cannot have.
    pub(super) fn parse(parameters: &[(String, String)]) -> Result<Self, Failure> {
        if parameters.len() > MOST_PARAMETERS {
            let text = format!("a list takes at most {MOST_PARAMETERS} parameters");
            return Err(Failure::new(Code::Invalid, text));
        }
        let mut wanted = Self::default();
        for (key, value) in parameters {
            match key.as_str() {
                "name" => wanted.names.push(pattern(value)?),
                "state" => wanted.states.push(state(value)?),
                "image" => wanted.images.push(image(value)?),
                "kind" => wanted.kinds.push(pattern(value)?),
                "profile" => wanted.profiles.push(pattern(value)?),
                "group" => wanted.groups.push(pattern(value)?),
                "label" => wanted.labels.push(parsed(value, "label", LabelRule::parse)?),
                _ => {
                    return Err(Failure::new(Code::Invalid, format!("a list has no parameter {key:?}"))
                        .help("one of: name, state, image, kind, profile, group, label"));
                }
            }
        }
        Ok(wanted)
    }

    /// Takes the parameters of a request that selects by names alone.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(super) fn of_names(what: &str, parameters: &[(String, String)]) -> Result<Self, Failure> {
        if let Some((key, _)) = parameters.iter().find(|(key, _)| key != "name") {
            let text = format!("{what} has no parameter {key:?}");
            return Err(Failure::new(Code::Invalid, text).help("there is one, which may be repeated: name"));
        }
        Self::parse(parameters)
    }

    /// Whether a tenant of this name can be meant: what is dear is looked up of these alone.
    pub(super) fn has_name(&self, name: &str) -> bool {
        one_of(&self.names, Some(name))
    }

    /// Whether a tenant is one of those that are wanted.
    pub(super) fn has(&self, tenant: &Summary) -> bool {
        let of_image =
            |(name, digits): &(Pattern, String)| name.matches(&tenant.image) && tenant.has_version(digits);
        self.has_name(&tenant.name)
            && (self.states.is_empty() || self.states.contains(&tenant.state))
            && (self.images.is_empty() || self.images.iter().any(of_image))
            && one_of(&self.kinds, tenant.kind.as_deref())
            && one_of(&self.profiles, tenant.profile.as_deref())
            && one_of(&self.groups, tenant.group.as_deref())
            && self.labels.iter().all(|rule| rule.is_of(&tenant.labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> Summary {
        serde_json::from_value(serde_json::json!({
            "name": "web1", "state": "running", "ipv4": "", "ipv6": "", "image": "debian", "version": "2f2f0123abcd",
            "kind": "shared-os", "labels": {"tier": "gold", "example.com/owner": "ops"},
        }))
        .unwrap()
    }

    fn has(query: &[(&str, &str)]) -> bool {
        let owned: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Selection::parse(&owned).unwrap().has(&tenant())
    }

    #[test]
    fn a_tenant_is_found_by_all_that_is_known_of_it() {
        for query in [
            &[][..],
            &[("name", "web*")],
            &[("name", "db"), ("name", "web?")],
            &[("name", "web[0-9]"), ("state", "stopped"), ("state", "running")],
            &[("image", "debian")],
            &[("image", "deb*@2f2f")],
            &[("image", "debian@sha256:2f2f0123abcd99")],
            &[("kind", "shared-*")],
            &[("label", "tier"), ("label", "tier=g*"), ("label", "tier!=tin")],
            &[("label", "example.com/owner=o?s"), ("label", "absent!=x")],
        ] {
            assert!(has(query), "{query:?}");
        }
        for query in [
            &[("name", "web")][..],
            &[("state", "stopped")],
            &[("image", "deb")],
            &[("image", "debian@2f2e")],
            &[("group", "*")],
            &[("profile", "*")],
            &[("label", "tier=gold"), ("label", "absent")],
            &[("label", "tier!=gold")],
            &[("label", "tier=")],
        ] {
            assert!(!has(query), "{query:?}");
        }
    }

    #[test]
    fn what_is_no_parameter_or_no_pattern_is_refused() {
        for (key, value, text) in [
            ("stat", "running", "has no parameter"),
            ("state", "runing", "there is no state"),
            ("name", "web[", "is not a pattern"),
            ("label", "a=[", "is not a label"),
            ("label", "!=a", "is not a label"),
        ] {
            let failure = Selection::parse(&[(key.to_owned(), value.to_owned())]).unwrap_err();
            assert_eq!(failure.code, Code::Invalid);
            assert!(failure.message.contains(text) && failure.help.is_some(), "{failure}");
        }
        let long = "*".repeat(LONGEST + 1);
        assert!(pattern(&long).is_err());
        assert!(pattern("a***b").unwrap().matches("axb"));
    }
}
