//! A fragment as text: a whole file, or pairs for `tenantctl create --set`.

use tenant::config::{Fragment, Policy};
use toml::{Table, Value};

/// Tables whose keys are set one by one.
const TABLES: [&str; 3] = ["dirs", "env", "sysctl"];

fn policy(policy: &Policy) -> Value {
    let mut table = Table::new();
    match policy {
        Policy::Shared => return Value::from("shared"),
        Policy::Overlay => return Value::from("overlay"),
        Policy::Private => return Value::from("private"),
        Policy::Empty => return Value::from("empty"),
        Policy::Tmpfs { size } => {
            table.insert("tmpfs".to_owned(), Value::from(size.to_string()));
        }
        Policy::Bind { source, writable } => {
            table.insert("bind".to_owned(), Value::from(source.to_string_lossy().into_owned()));
            table.insert("writable".to_owned(), Value::from(*writable));
        }
    }
    Value::Table(table)
}

fn table(fragment: &Fragment) -> Table {
    let plain = Fragment { dirs: Default::default(), ..fragment.clone() };
    // What a fragment holds came out of TOML once, or is made of the same types.
    let mut table = Table::try_from(plain).unwrap_or_default();
    if !fragment.dirs.is_empty() {
        let dirs = fragment.dirs.iter().map(|(path, of)| (path.to_string(), policy(of)));
        table.insert("dirs".to_owned(), Value::Table(dirs.collect()));
    }
    table
}

/// The text of a tenant's file.
pub(super) fn text(fragment: &Fragment) -> String {
    let table = table(fragment);
    let mut text = String::new();
    let is_block = |key: &str, value: &Value| {
        TABLES.contains(&key) || key == "nic" && value.as_array().is_some_and(|nics| !nics.is_empty())
    };
    for (key, value) in table.iter().filter(|(key, value)| !is_block(key, value)) {
        text.push_str(&format!("{key} = {value}\n"));
    }
    for key in TABLES {
        let Some(Value::Table(inner)) = table.get(key) else { continue };
        text.push_str(&format!("\n[{key}]\n"));
        for (key, value) in inner {
            text.push_str(&format!("{} = {value}\n", Value::from(key.as_str())));
        }
    }
    for nic in table.get("nic").and_then(Value::as_array).into_iter().flatten() {
        text.push_str("\n[[nic]]\n");
        for (key, value) in nic.as_table().into_iter().flatten() {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

/// The fragment as `key=value` pairs, each on one line.
pub(super) fn pairs(fragment: &Fragment) -> Vec<String> {
    let mut pairs = Vec::new();
    for (key, value) in table(fragment) {
        match value {
            Value::Table(inner) if TABLES.contains(&key.as_str()) => {
                let pair = |(part, value)| format!("{key}.{}={value}", Value::String(part));
                pairs.extend(inner.into_iter().map(pair));
            }
            value => pairs.push(format!("{key}={value}")),
        }
    }
    pairs
}

/// The fragment without a key: `ttys`, `dirs."/x"`, `env.A`, `nic[1]`. None if it does not have it.
pub(super) fn without(fragment: &Fragment, key: &str) -> Option<Fragment> {
    let mut smaller = fragment.clone();
    if let Some(number) = key.strip_prefix("nic[").and_then(|rest| rest.strip_suffix(']')) {
        let number: usize = number.parse().ok()?;
        let nics = smaller.nic.as_mut().filter(|nics| number < nics.len())?;
        nics.remove(number);
        return Some(smaller);
    }
    if let Some((top, part)) = key.split_once('.') {
        let unquoted = || part.strip_prefix('"')?.strip_suffix('"');
        let path = || unquoted()?.parse().ok();
        let removed = match top {
            "env" => smaller.env.remove(part).is_some(),
            "sysctl" => unquoted().is_some_and(|part| smaller.sysctl.remove(part).is_some()),
            "dirs" => path().is_some_and(|path| smaller.dirs.remove(&path).is_some()),
            _ => false,
        };
        return removed.then_some(smaller);
    }
    let dirs = smaller.dirs.clone();
    let mut table = table(&Fragment { dirs: Default::default(), ..smaller });
    table.remove(key)?;
    let rest: Fragment = table.try_into().ok()?;
    Some(Fragment { dirs, ..rest })
}

#[cfg(test)]
mod tests {
    use tenant::config::{parse_toml, set};

    use super::*;

    const FILE: &str = "image = \"debian\"\nttys = 2\ndevices = [\"c 1:3 rw\"]\n[env]\nA = \"x\\\"y\"\n\
        [dirs]\n\"/srv\" = { bind = \"/data\", writable = true }\n\"/tmp\" = { tmpfs = \"1M\" }\n\
        [sysctl]\n\"net.ipv4.ip_forward\" = \"1\"\n\
        [[nic]]\nmode = \"phys\"\nlink = \"veth1\"\naddresses = [\"10.0.0.2/24\"]\n[[nic]]\nmode = \"routed\"\n";

    #[test]
    fn text_and_pairs_say_the_same_as_the_fragment() {
        let fragment: Fragment = parse_toml(FILE).unwrap();
        assert_eq!(parse_toml::<Fragment>(&text(&fragment)).unwrap(), fragment, "{}", text(&fragment));
        let together = pairs(&fragment).iter().fold(Fragment::default(), |sum, pair| {
            sum.overlaid(set(pair).unwrap_or_else(|error| panic!("{pair}: {error}")))
        });
        assert_eq!(together, fragment);
        let none = Fragment { nic: Some(Vec::new()), ..Fragment::default() };
        assert_eq!(parse_toml::<Fragment>(&text(&none)).unwrap(), none);
    }

    #[test]
    fn any_key_can_be_taken_out() {
        let fragment: Fragment = parse_toml(FILE).unwrap();
        for key in
            ["ttys", "image", "env.A", "dirs.\"/srv\"", "sysctl.\"net.ipv4.ip_forward\"", "nic[1]", "nic"]
        {
            let smaller = without(&fragment, key).unwrap_or_else(|| panic!("{key}"));
            assert_ne!(smaller, fragment);
            assert_eq!(without(&smaller, key).filter(|_| key != "nic[1]"), None, "{key}");
        }
        assert_eq!(without(&fragment, "nic[2]"), None);
    }
}
