use std::process::ExitCode;

use clap::Args;
use tenant::config::{Fragment, parse_toml};
use wire::{Code, Explained, Failure};

use super::{Context, candidates, output};

/// Print the value of a tenant's keys
///
/// One line for each key: its value as it counts, whether its file, its profile, the image or a default says it. For a
/// table, e.g. labels or env, a line KEY=VALUE for each of its keys.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// Name of the tenant
    #[arg(add = candidates::of(candidates::tenants))]
    name: String,
    /// Keys, e.g. memory_max or labels.tier
    #[arg(value_name = "KEY", required = true, add = candidates::of(candidates::keys))]
    keys: Vec<String>,
    /// Print where each value comes from, after a tab
    #[arg(long)]
    source: bool,
}

impl Get {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let all: Vec<Explained> = context.client.get(&client::tenant(&self.name, "/explain")).await?;
        let mut found = Vec::new();
        for key in &self.keys {
            found.extend(of(&all, key).map_err(|failure| self.unknown(key, failure))?);
        }
        let values: Vec<&Explained> = found.iter().map(|(line, _)| *line).collect();
        if context.output.json {
            context.output.value(&values);
            return Ok(ExitCode::SUCCESS);
        }
        for (line, is_of_table) in found {
            let value = output::clean(&line.value);
            let text = if is_of_table { format!("{}={value}", output::clean(&line.key)) } else { value };
            let source = if self.source { format!("\t{}", line.source.as_str()) } else { String::new() };
            client::output::write(&format!("{text}{source}\n"));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn unknown(&self, key: &str, nearest: Option<String>) -> Failure {
        let failure = Failure::new(Code::Invalid, format!("tenant {:?} has no key {key:?}", self.name));
        failure.help(match nearest {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("list all keys: tenantctl explain {}", self.name),
        })
    }
}

/// The values of a key, and whether they are those of a table that it names; the nearest key where there is none.
fn of<'a>(all: &'a [Explained], key: &str) -> Result<Vec<(&'a Explained, bool)>, Option<String>> {
    if let Some(line) = all.iter().find(|line| line.key == key) {
        return Ok(vec![(line, false)]);
    }
    let below = |line: &&Explained| {
        line.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.') || rest.starts_with('['))
    };
    let lines: Vec<_> = all.iter().filter(below).map(|line| (line, true)).collect();
    // A table in which nothing is.
    let known = parse_toml::<Fragment>(&format!("{key} = {{}}\n"));
    match (lines.is_empty(), known) {
        (false, _) | (true, Ok(_)) => Ok(lines),
        (true, Err(error)) => Err(error.suggestion),
    }
}

#[cfg(test)]
mod tests {
    use wire::Source;

    use super::*;

    #[test]
    fn a_key_is_found_and_a_table_is_its_keys() {
        let line = |key: &str| Explained {
            key: key.to_owned(),
            value: "1".to_owned(),
            source: Source::Tenant,
            note: None,
        };
        let all: Vec<_> =
            ["ttys", "labels.tier", "labels.\"a.b/c\"", "nic[0]", "dirs.\"/etc\""].map(line).into();
        let keys = |key: &str| {
            of(&all, key).map(|found| found.iter().map(|(line, _)| line.key.as_str()).collect::<Vec<_>>())
        };
        assert_eq!(keys("ttys"), Ok(vec!["ttys"]));
        assert_eq!(keys("labels"), Ok(vec!["labels.tier", "labels.\"a.b/c\""]));
        assert_eq!(keys("nic"), Ok(vec!["nic[0]"]));
        assert_eq!(keys("dirs.\"/etc\""), Ok(vec!["dirs.\"/etc\""]));
        assert_eq!(keys("env"), Ok(vec![]));
        assert_eq!(keys("tty"), Err(Some("ttys".to_owned())));
        assert_eq!(keys("labels.absent"), Err(None));
    }
}
