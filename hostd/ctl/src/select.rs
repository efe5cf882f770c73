//! Which tenants a verb is for: names, patterns of names, all of them, and what narrows the choice.
//!
//! Every verb on tenants flattens [`Selection`]. What hostd lists is narrowed here, so that each filter means the same
//! for each verb.

use clap::{Arg, ArgGroup, Args};
use client::Client;
use tenant::Layout;
use wire::{Code, Failure, LabelRule, TenantState};

use super::{candidates, glob, keys, listed::Listed};

/// Names of tenants, and what narrows them
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Selection {
    /// Names of tenants, or patterns of names, e.g. 'web*' or 'db[1-3]'
    #[arg(value_name = "NAME", add = candidates::of(candidates::tenants))]
    pub(super) names: Vec<String>,
    #[command(flatten)]
    pub(super) filter: Filter,
}

/// What a tenant must be like to be selected
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Filter {
    /// All tenants
    #[arg(long)]
    pub(super) all: bool,
    /// Only tenants that are up, in any state
    #[arg(long)]
    running: bool,
    /// Only tenants in this state (repeatable)
    #[arg(long, value_name = "STATE")]
    state: Vec<TenantState>,
    /// Only tenants of this image, IMAGE or IMAGE@VERSION (repeatable)
    #[arg(long, value_name = "IMAGE[@VERSION]", add = candidates::of(candidates::images))]
    image: Vec<String>,
    /// Only tenants of this kind: shared-os, os, app, app-plus or router (repeatable)
    #[arg(long, value_name = "KIND", value_parser = kind, add = candidates::of(candidates::kinds))]
    kind: Vec<String>,
    /// Only tenants of this profile (repeatable)
    #[arg(long, value_name = "PROFILE", add = candidates::of(candidates::profiles))]
    profile: Vec<String>,
    /// Only tenants of this group, whose members reach each other (repeatable)
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// Only tenants with this label; KEY!=VALUE: without it, or with another value (repeatable: all must match)
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = LabelRule::parse, add = candidates::of(candidates::labels))]
    label: Vec<LabelRule>,
}

/// The arguments that select.
const ARGUMENTS: &[&str] =
    &["names", "all", "running", "state", "image", "kind", "profile", "group", "label"];
/// Verbs that are for every tenant where none is selected.
const FOR_ALL: &[&str] = &["list", "status", "stat", "top", "stale", "drift"];

/// The rules of a verb whose arguments select: all of them are at odds with names, and one must be given.
pub(super) fn with_rules(verb: clap::Command) -> clap::Command {
    let has = |id: &str| verb.get_arguments().any(|argument| argument.get_id() == id);
    if !has("all") || !has("label") {
        return verb;
    }
    let present: Vec<&str> = ARGUMENTS.iter().copied().filter(|id| has(id)).collect();
    let is_optional = FOR_ALL.contains(&verb.get_name()) || !has("names");
    let verb = match has("names") {
        true => verb.mut_arg("all", |all: Arg| all.conflicts_with("names")),
        false => verb,
    };
    verb.group(ArgGroup::new("selection").args(present).multiple(true).required(!is_optional))
}

/// The tenants that were selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Their names, each once.
    pub(super) names: Vec<String>,
    /// Whether the command line names one tenant, so that the answer is one and no list of one.
    pub(super) is_one: bool,
}

impl Selection {
    /// The names that are meant. hostd is asked for its list only where that decides.
    pub(super) async fn resolve(&self, client: &Client) -> Result<Chosen, Failure> {
        if self.is_plain() {
            let mut names: Vec<String> = Vec::new();
            for name in &self.names {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            let is_one = self.names.len() == 1;
            return Ok(Chosen { names, is_one });
        }
        let tenants = self.choose(client.get("/v1/tenants").await?)?;
        if tenants.is_empty() {
            return Err(self.nothing());
        }
        Ok(Chosen { names: tenants.into_iter().map(|tenant| tenant.summary.name).collect(), is_one: false })
    }

    /// As [`Self::resolve`], and where hostd is not running by the tenants' files, as far as names and patterns decide.
    pub(super) async fn resolve_or_read(&self, client: &Client, layout: &Layout) -> Result<Chosen, Failure> {
        let failure = match self.resolve(client).await {
            Err(failure) if failure.code == Code::NoHostd && self.filter.is_wide() => failure,
            resolved => return resolved,
        };
        let mut names = candidates::configured(layout);
        names.sort();
        names.retain(|name| self.names.is_empty() || self.names.iter().any(|word| glob::matches(word, name)));
        if names.is_empty() { Err(failure) } else { Ok(Chosen { names, is_one: false }) }
    }

    /// Whether it is names alone, none of them a pattern.
    fn is_plain(&self) -> bool {
        !self.names.is_empty()
            && self.filter.is_empty()
            && !self.names.iter().any(|name| glob::is_pattern(name))
    }

    /// Whether it lets every tenant pass.
    pub(super) fn is_everything(&self) -> bool {
        self.names.is_empty() && self.filter.is_wide()
    }

    /// Every tenant.
    pub(super) fn all() -> Self {
        Self { filter: Filter { all: true, ..Filter::default() }, ..Self::default() }
    }

    /// Whether nothing was selected.
    pub(super) fn is_nothing(&self) -> bool {
        self.names.is_empty() && self.filter.is_empty()
    }

    /// Whether a question has to be asked before what it selects is removed: the command line does not show it.
    pub(super) fn is_open(&self) -> bool {
        !self.is_plain()
    }

    /// Those of all tenants that are selected, in the order of the list.
    ///
    /// # Errors
    /// A name that no tenant has, a pattern that no name matches.
    pub(super) fn choose(&self, mut tenants: Vec<Listed>) -> Result<Vec<Listed>, Failure> {
        for name in &self.names {
            if !tenants.iter().any(|tenant| glob::matches(name, &tenant.summary.name)) {
                let text = if glob::is_pattern(name) {
                    format!("no tenant has a name that matches {name:?}")
                } else {
                    format!("there is no tenant {name:?}")
                };
                return Err(Failure::new(Code::NoTenant, text).help("list all tenants: tenantctl list"));
            }
        }
        tenants.retain(|tenant| {
            let is_named = |name: &String| glob::matches(name, &tenant.summary.name);
            (self.names.is_empty() || self.names.iter().any(is_named)) && self.filter.lets(tenant)
        });
        Ok(tenants)
    }

    fn nothing(&self) -> Failure {
        let text =
            if self.is_everything() { "there are no tenants" } else { "no tenant matches the filters" };
        Failure::new(Code::NoTenant, text).help("list all tenants: tenantctl list")
    }
}

impl Filter {
    /// Whether it says nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        !self.all && self.is_wide()
    }

    /// Whether it lets every tenant pass.
    fn is_wide(&self) -> bool {
        let Self { all: _, running, state, image, kind, profile, group, label } = self;
        !running
            && state.is_empty()
            && label.is_empty()
            && [image, kind, profile, group].iter().all(|list| list.is_empty())
    }

    /// Whether a tenant is as it asks: of one of the states, images, kinds, profiles and groups, with all labels.
    fn lets(&self, tenant: &Listed) -> bool {
        let summary = &tenant.summary;
        let is_one_of = |asked: &[String], own: &Option<String>| {
            asked.is_empty() || asked.iter().any(|asked| own.as_ref() == Some(asked))
        };
        (!self.running || summary.state.is_up())
            && (self.state.is_empty() || self.state.contains(&summary.state))
            && (self.image.is_empty() || self.image.iter().any(|image| tenant.is_of(image)))
            && is_one_of(&self.kind, &summary.kind)
            && is_one_of(&self.profile, &summary.profile)
            && is_one_of(&self.group, &summary.group)
            && self.label.iter().all(|rule| rule.is_of(&summary.labels))
    }
}

/// A kind by its name.
fn kind(text: &str) -> Result<String, String> {
    let kinds = keys::values("kind");
    let is_known = kinds.contains(&text);
    if is_known { Ok(text.to_owned()) } else { Err(format!("the kinds are {}", kinds.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants() -> Vec<Listed> {
        let tenant = |(name, state, image, kind, role): (&str, &str, &str, &str, &str)| {
            serde_json::from_value(serde_json::json!({
                "name": name, "state": state, "ipv4": "", "ipv6": "", "image": image, "version": "2f2f0123abcd",
                "kind": kind, "profile": kind, "group": role, "labels": { "role": role },
            }))
            .unwrap()
        };
        [
            ("db", "running", "debian", "os", "db"),
            ("web1", "running", "debian", "shared-os", "web"),
            ("web2", "stopped", "debian", "shared-os", "web"),
            ("web3", "queued", "busybox", "app", "web"),
        ]
        .map(tenant)
        .to_vec()
    }

    fn parsed(line: &str) -> Selection {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            selection: Selection,
        }
        <Line as clap::Parser>::try_parse_from(["x"].into_iter().chain(line.split_whitespace()))
            .unwrap_or_else(|error| panic!("{line}: {error}"))
            .selection
    }

    fn chosen(line: &str) -> Result<Vec<String>, Code> {
        let tenants = parsed(line).choose(tenants()).map_err(|failure| failure.code)?;
        Ok(tenants.into_iter().map(|tenant| tenant.summary.name).collect())
    }

    #[test]
    fn names_patterns_and_filters_narrow_each_other() {
        for (line, expected) in [
            ("--all", &["db", "web1", "web2", "web3"][..]),
            ("web*", &["web1", "web2", "web3"]),
            ("web[12] db", &["db", "web1", "web2"]),
            ("--running", &["db", "web1", "web3"]),
            ("--state stopped --state queued", &["web2", "web3"]),
            ("web* --image debian", &["web1", "web2"]),
            ("--image debian@2f2f --kind os", &["db"]),
            ("--kind app --kind os", &["db", "web3"]),
            ("--profile app", &["web3"]),
            ("--group web --state running", &["web1"]),
            ("--label role=web --running", &["web1", "web3"]),
            ("--label role", &["db", "web1", "web2", "web3"]),
            ("--label role=web --label zone", &[]),
            ("db --label role=web", &[]),
        ] {
            assert_eq!(chosen(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn a_name_or_pattern_without_a_tenant_is_an_error() {
        assert_eq!(chosen("web1 ghost --running"), Err(Code::NoTenant));
        assert_eq!(chosen("web1 gh*"), Err(Code::NoTenant));
    }

    #[tokio::test]
    async fn plain_names_are_taken_as_they_are_and_once() {
        // No hostd answers here: none is asked.
        let client = Client::new(tenant::Layout::new("/nonexistent"));
        let one = parsed("web1").resolve(&client).await.unwrap();
        assert_eq!(one, Chosen { names: vec!["web1".to_owned()], is_one: true });
        let two = parsed("b a b").resolve(&client).await.unwrap();
        assert_eq!(two, Chosen { names: vec!["b".to_owned(), "a".to_owned()], is_one: false });
        assert_eq!(parsed("web*").resolve(&client).await.unwrap_err().code, Code::NoHostd);
    }
}
