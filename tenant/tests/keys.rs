//! Every row of the table of keys: it is read, refused by its name, explained, documented, and its effect is true.
//! `UPDATE_GOLDEN=1` writes the tables of the reference anew.

use std::{fmt::Write as _, path::PathBuf};

use tenant::{
    Tenant,
    config::{Effect, Fragment, KEYS, Key, Section, defaults, key, parse_toml, set, waiting},
    model::limits::DefaultLimits,
};

const PROFILE: &str = "kind = \"shared-os\"\nimage = \"debian\"\n[[nic]]\nmode = \"routed\"\n";

/// What a key needs of the others.
fn context(key: &Key) -> &'static str {
    match key.name {
        "paths" => "root = \"paths\"\n",
        "root" => "root = \"overlay\"\n",
        _ => "",
    }
}

fn tenant(own: &str) -> Result<Tenant, String> {
    let own: Fragment = parse_toml(own).map_err(|error| error.to_string())?;
    let profile: Fragment = parse_toml(PROFILE).unwrap();
    let profile_name = own.profile.clone().unwrap_or_else(|| "other".parse().unwrap());
    Tenant::new("alice".parse().unwrap(), profile_name, profile, own, &DefaultLimits::default())
        .map_err(|error| error.to_string())
}

fn in_file(key: &Key, value: &str) -> String {
    let context = if key.name == "root" { "" } else { context(key) };
    format!("{context}{} = {value}\n", key.name)
}

fn of_tenants() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| key.section != Section::Profiles)
}

#[test]
fn every_key_takes_its_values_and_refuses_others_by_its_name() {
    for key in of_tenants() {
        let good = in_file(key, &key.range.good());
        let file: Fragment = parse_toml(&good).unwrap_or_else(|error| panic!("{good}: {error}"));
        assert!(key.is_given(&file) && !key.is_given(&Fragment::default()), "{}", key.name);
        tenant(&good).unwrap_or_else(|error| panic!("{good}: {error}"));
        for bad in key.range.bad() {
            let error =
                tenant(&in_file(key, &bad)).err().unwrap_or_else(|| panic!("{} took {bad}", key.name));
            assert!(error.contains(key.name), "{} = {bad}: {error}", key.name);
        }
        assert!(!key.range.forms().is_empty() && !key.doc.is_empty(), "{}", key.name);
    }
    let profile = KEYS.iter().filter(|key| key.section == Section::Profiles);
    for key in profile {
        let text = in_file(key, &key.range.good());
        assert!(key.is_given(&parse_toml(&text).unwrap()), "{text}");
        assert!(tenant(&text).unwrap_err().contains(key.name), "{text}");
    }
}

#[test]
fn what_is_typed_for_a_key_is_what_its_file_takes() {
    for key in KEYS {
        let pair = format!("{}={}", key.name, key.range.good());
        let typed = set(&pair).unwrap_or_else(|error| panic!("{pair}: {error}"));
        assert!(key.is_given(&typed), "{pair}");
        for value in key.range.completions() {
            let pair = format!("{}={value}", key.name);
            set(&pair).unwrap_or_else(|error| panic!("{pair}: {error}"));
        }
    }
}

#[test]
fn a_misspelt_key_is_told_the_nearest() {
    for key in of_tenants().filter(|key| key.name.len() > 4) {
        let misspelt = format!("{}x", key.name);
        let error = set(&format!("{misspelt}=1")).unwrap_err();
        assert_eq!(error.suggestion.as_deref(), Some(key.name), "{error}");
    }
}

#[test]
fn a_default_is_the_value_of_a_tenant_without_the_key() {
    let (silent, defaults) = (tenant("").unwrap(), defaults());
    for key in KEYS.iter().filter(|key| key.is_given(defaults)) {
        let cell = key.absent.cell();
        assert_eq!(silent.value(key), cell.trim_matches('`'), "{}", key.name);
    }
}

#[test]
fn a_value_counts_at_once_or_is_told_to_wait_for_the_next_start() {
    let (silent, full) = (tenant("").unwrap(), |own: &str| tenant(own).unwrap());
    for key in of_tenants() {
        let value = match key.name {
            // Another one than the default.
            "autostart" | "tun" | "fuse" | "wireguard" => "true".to_owned(),
            "console_journal" => "false".to_owned(),
            "restart" => "\"always\"".to_owned(),
            "root" => "\"overlay\"".to_owned(),
            "idle" => "\"park\"".to_owned(),
            "park" => "\"stop\"".to_owned(),
            "image" => "\"other\"".to_owned(),
            "stop_timeout_sec" | "start_timeout_sec" => "\"2min\"".to_owned(),
            _ => key.range.good(),
        };
        let context = if key.name == "paths" { "root = \"paths\"\npaths = [\"/bin\"]\n" } else { "" };
        let before = if context.is_empty() { silent.clone() } else { full(context) };
        let after = full(&in_file(key, &value));
        assert_ne!(before.value(key), after.value(key), "{} is not shown", key.name);
        let waits = waiting(&before, &after).contains(&key.name);
        assert_eq!(waits, key.effect == Effect::NextStart, "{}", key.name);
    }
}

#[test]
fn keys_are_found_by_what_they_are_called_in_errors() {
    for (name, of) in
        [("env.LANG", "env"), ("nic[0].mode", "nic"), ("dirs.\"/a.b\"", "dirs"), ("ttys", "ttys")]
    {
        assert_eq!(key(name).map(|key| key.name), Some(of), "{name}");
    }
    assert!(key("nonsense").is_none());
}

/// The rows of a table of the reference.
fn rows(heading: &str) -> String {
    let mut rows = String::from(
        "| key | type | range | default | takes effect | meaning |\n|---|---|---|---|---|---|\n",
    );
    for key in KEYS.iter().filter(|key| key.section == Section::Table(heading_of(heading))) {
        let Key { name, range, absent, effect, doc, .. } = key;
        let (kind, cell, default) = (range.kind(), range.cell(), absent.cell());
        writeln!(rows, "| `{name}` | {kind} | {cell} | {default} | {} | {doc} |", effect.cell()).unwrap();
    }
    rows.replace("|  |", "| |")
}

/// The same text, living as long as the table.
fn heading_of(heading: &str) -> &'static str {
    let headings = KEYS.iter().filter_map(|key| match key.section {
        Section::Table(own) => Some(own),
        Section::Own(_) | Section::Profiles => None,
    });
    headings.into_iter().find(|own| *own == heading).unwrap_or_default()
}

/// The reference with its tables as the keys have them.
fn reference(text: &str) -> String {
    let mut fresh = String::new();
    let (mut heading, mut in_table) = (String::new(), false);
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.to_owned();
        }
        if line.starts_with("| key | type |") && !heading_of(&heading).is_empty() {
            fresh.push_str(&rows(&heading));
            in_table = true;
        }
        in_table &= line.starts_with('|');
        if !in_table {
            fresh.push_str(line);
            fresh.push('\n');
        }
    }
    fresh
}

#[test]
fn the_reference_has_every_key_as_the_table_has_it() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/tenant.toml.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let fresh = reference(&text);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    } else {
        assert!(
            text == fresh,
            "docs/reference/tenant.toml.md differs; run again with UPDATE_GOLDEN=1:\n{fresh}"
        );
    }
    for key in KEYS {
        let told = match key.section {
            Section::Table(_) => fresh.contains(&format!("| `{}` |", key.name)),
            Section::Own(heading) => fresh.contains(&format!("## {heading}\n")),
            Section::Profiles => fresh.contains(&format!("`{}` is a key of profiles only", key.name)),
        };
        assert!(told, "{} is not in the reference", key.name);
    }
}
