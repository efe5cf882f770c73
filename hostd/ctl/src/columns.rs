//! The columns of `list`, as one table: each with its name, its value, and its order.

use std::cmp::Ordering;

use clap::builder::PossibleValue;

use super::{listed::Listed, output};

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    /// Its name on the command line; in capitals it is the header.
    name: &'static str,
    /// What it shows, for the completion.
    about: &'static str,
    /// Whether it is a number or an amount: on the right, and the largest first.
    is_amount: bool,
    value: fn(&Listed) -> String,
    order: fn(&Listed, &Listed) -> Ordering,
}

/// The columns of `list` without `-o`.
pub(super) const SHORT: &[&str] = &["name", "state", "address", "uptime", "boot", "memory", "image"];
/// Those that `--wide` adds.
pub(super) const WIDE: &[&str] = &["kind", "exec", "ipv6", "labels", "pending", "unit"];

const PRIVATE: &str = "private";
const CACHE: &str = "cache";
const SHARED: &str = "shared";

/// A column of bytes, which is shown and sorted by the same value.
macro_rules! bytes {
    ($name:expr, $about:literal, $value:expr) => {
        Column {
            name: $name,
            about: $about,
            is_amount: true,
            value: |tenant| output::size(($value)(tenant)),
            order: by!($value),
        }
    };
}

/// An order by a value.
macro_rules! by {
    ($value:expr) => {
        |a, b| {
            let value = $value;
            value(a).cmp(&value(b))
        }
    };
}

const COLUMNS: &[Column] = &[
    Column {
        name: "name",
        about: "its name",
        is_amount: false,
        value: |tenant| output::clean(&tenant.summary.name),
        order: |a, b| natural(&a.summary.name, &b.summary.name),
    },
    Column {
        name: "state",
        about: "what it is doing",
        is_amount: false,
        value: |tenant| tenant.summary.state.as_str().to_owned(),
        order: by!(|tenant: &Listed| tenant.summary.state.as_str()),
    },
    Column {
        name: "address",
        about: "its IPv4 address",
        is_amount: false,
        value: |tenant| dash(&tenant.summary.ipv4),
        order: |a, b| natural(&a.summary.ipv4, &b.summary.ipv4),
    },
    Column {
        name: "ipv6",
        about: "its IPv6 address",
        is_amount: false,
        value: |tenant| dash(&tenant.summary.ipv6),
        order: |a, b| natural(&a.summary.ipv6, &b.summary.ipv6),
    },
    Column {
        name: "uptime",
        about: "for how long it has been up",
        is_amount: true,
        value: |tenant| uptime_ms(tenant).map_or_else(|| "-".to_owned(), |ms| output::duration(ms / 1000)),
        order: by!(uptime_ms),
    },
    Column {
        name: "boot",
        about: "how long its last boot took",
        is_amount: true,
        value: |tenant| output::seconds(tenant.summary.ready_us),
        order: by!(|tenant: &Listed| tenant.summary.ready_us),
    },
    Column {
        name: "exec",
        about: "how long it took until its init was executed",
        is_amount: true,
        value: |tenant| {
            tenant.summary.exec_us.map_or_else(|| "-".to_owned(), |us| format!("{:.1}ms", us as f64 / 1e3))
        },
        order: by!(|tenant: &Listed| tenant.summary.exec_us),
    },
    bytes!("memory", "memory it uses, page cache included", |tenant: &Listed| tenant.summary.memory_bytes),
    bytes!(
        PRIVATE,
        "memory of its own: of its processes, in tmpfs, of the kernel for it",
        |tenant: &Listed| tenant.memory.map(|memory| memory.private_bytes)
    ),
    bytes!(CACHE, "page cache that it is charged for", |tenant: &Listed| {
        tenant.memory.map(|memory| memory.cache_bytes)
    }),
    bytes!(
        SHARED,
        "pages of its image that its init has mapped and it is not charged for: saved by sharing",
        |tenant: &Listed| tenant.memory.and_then(|memory| memory.shared_bytes)
    ),
    Column {
        name: "image",
        about: "image and version",
        is_amount: false,
        value: |tenant| match (&tenant.summary.image, &tenant.summary.version) {
            (image, _) if image.is_empty() => "-".to_owned(),
            (image, version) => output::clean(&format!("{image}@{version}")),
        },
        order: by!(|tenant: &Listed| (tenant.summary.image.clone(), tenant.summary.version.clone())),
    },
    Column {
        name: "kind",
        about: "kind of its profile",
        is_amount: false,
        value: |tenant| dash(tenant.summary.kind.as_deref().unwrap_or_default()),
        order: by!(|tenant: &Listed| tenant.summary.kind.clone()),
    },
    Column {
        name: "profile",
        about: "its profile",
        is_amount: false,
        value: |tenant| dash(tenant.summary.profile.as_deref().unwrap_or_default()),
        order: by!(|tenant: &Listed| tenant.summary.profile.clone()),
    },
    Column {
        name: "group",
        about: "the group of tenants that reach it",
        is_amount: false,
        value: |tenant| dash(tenant.summary.group.as_deref().unwrap_or_default()),
        order: by!(|tenant: &Listed| tenant.summary.group.clone()),
    },
    Column {
        name: "limit",
        about: "memory it may use at most",
        is_amount: true,
        value: |tenant| output::size(tenant.summary.limits.memory_max_bytes),
        order: by!(|tenant: &Listed| tenant.summary.limits.memory_max_bytes),
    },
    Column {
        name: "pending",
        about: "whether changes take effect at its next start",
        is_amount: false,
        value: |tenant| if tenant.summary.pending { "yes" } else { "-" }.to_owned(),
        order: by!(|tenant: &Listed| !tenant.summary.pending),
    },
    Column {
        name: "stale",
        about: "how many units the last `tenantctl stale` found to run code of an earlier version, and when",
        is_amount: true,
        value: |tenant| match &tenant.summary.stale {
            None => "-".to_owned(),
            Some(found) => {
                let age = output::now_ms().saturating_sub(found.seen_ms) / 1000;
                format!("{} ({} ago)", found.units, output::duration(age))
            }
        },
        order: by!(|tenant: &Listed| tenant.summary.stale.map(|found| found.units)),
    },
    Column {
        name: "labels",
        about: "its labels",
        is_amount: false,
        value: |tenant| dash(&labels(tenant)),
        order: by!(labels),
    },
    Column {
        name: "unit",
        about: "what its unit is doing",
        is_amount: false,
        value: |tenant| dash(tenant.summary.unit_status.as_deref().unwrap_or_default()),
        order: by!(|tenant: &Listed| tenant.summary.unit_status.clone()),
    },
];

impl Column {
    /// Whether it shows what [`Listed::memory`] has, which is asked for apart: it takes longer than all else of a list.
    pub(super) fn needs_memory(&self) -> bool {
        [PRIVATE, CACHE, SHARED].contains(&self.name)
    }
}

/// A column by its name.
pub(super) fn named(name: &str) -> Option<&'static Column> {
    COLUMNS.iter().find(|column| column.name == name)
}

/// The names of all columns, for the command line.
pub(super) fn names() -> Vec<PossibleValue> {
    COLUMNS.iter().map(|column| PossibleValue::new(column.name).help(column.about)).collect()
}

/// Puts tenants in the order of a column: names and words from A, amounts from the largest; equal ones by name.
pub(super) fn sort(tenants: &mut [Listed], column: &Column, reverse: bool) {
    tenants.sort_by(|a, b| {
        let order = (column.order)(a, b);
        let order = if column.is_amount { order.reverse() } else { order };
        let order = if reverse { order.reverse() } else { order };
        order.then_with(|| natural(&a.summary.name, &b.summary.name))
    });
}

/// The table of some columns.
pub(super) fn table(tenants: &[Listed], columns: &[&Column], header: bool) -> String {
    let names: Vec<String> = columns.iter().map(|column| column.name.to_uppercase()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rows =
        tenants.iter().map(|tenant| columns.iter().map(|column| (column.value)(tenant)).collect()).collect();
    let right: Vec<usize> =
        columns.iter().enumerate().filter(|(_, column)| column.is_amount).map(|(at, _)| at).collect();
    if header { output::table(&names, rows, &right) } else { output::rows(rows, &right) }
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { output::clean(text) }
}

fn uptime_ms(tenant: &Listed) -> Option<u64> {
    Some(output::now_ms().saturating_sub(tenant.summary.started_ms?))
}

fn labels(tenant: &Listed) -> String {
    let pairs = tenant.summary.labels.iter();
    let pairs =
        pairs.map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key}={value}") });
    pairs.collect::<Vec<_>>().join(",")
}

/// The order of people: `web2` before `web10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (digits_a, digits_b) = (digits(a), digits(b));
        let order = match (digits_a.is_empty(), digits_b.is_empty()) {
            (false, false) => {
                let [x, y] = [digits_a, digits_b].map(|digits| digits.trim_start_matches('0'));
                let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
                (a, b) = (&a[digits_a.len()..], &b[digits_b.len()..]);
                order.then_with(|| digits_a.len().cmp(&digits_b.len()))
            }
            _ => {
                let (mut rest_a, mut rest_b) = (a.chars(), b.chars());
                let (x, y) = (rest_a.next(), rest_b.next());
                if x.is_none() && y.is_none() {
                    return Ordering::Equal;
                }
                (a, b) = (rest_a.as_str(), rest_b.as_str());
                x.cmp(&y)
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str, memory: Option<u64>) -> Listed {
        serde_json::from_value(serde_json::json!({
            "name": name, "state": "running", "ipv4": "", "ipv6": "", "image": "debian", "version": "2f",
            "memory_bytes": memory,
        }))
        .unwrap()
    }

    #[test]
    fn names_are_in_the_order_of_people_and_amounts_from_the_largest() {
        let mut tenants = vec![tenant("web10", Some(1)), tenant("web2", None), tenant("db", Some(9))];
        let sorted = |tenants: &mut Vec<Listed>, column, reverse| {
            sort(tenants, named(column).unwrap(), reverse);
            tenants.iter().map(|tenant| tenant.summary.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(sorted(&mut tenants, "name", false), ["db", "web2", "web10"]);
        assert_eq!(sorted(&mut tenants, "name", true), ["web10", "web2", "db"]);
        assert_eq!(sorted(&mut tenants, "memory", false), ["db", "web10", "web2"]);
        assert_eq!(sorted(&mut tenants, "image", false), ["db", "web2", "web10"]);
        assert_eq!(natural("10.9.0.2", "10.10.0.1"), Ordering::Less);
        assert_eq!(natural("a01", "a1"), Ordering::Greater);
    }

    #[test]
    fn a_table_has_the_columns_asked_for() {
        let columns = ["memory", "name"].map(|name| named(name).unwrap());
        let tenants = [tenant("a", Some(1 << 20))];
        assert_eq!(table(&tenants, &columns, true), "MEMORY  NAME\n  1.0M  a\n");
        assert_eq!(table(&tenants, &columns, false), "1.0M  a\n");
    }

    #[test]
    fn every_column_of_the_shown_sets_exists_and_all_names_differ() {
        assert!(SHORT.iter().chain(WIDE).all(|name| named(name).is_some()));
        for (at, column) in COLUMNS.iter().enumerate() {
            assert!(COLUMNS[..at].iter().all(|other| other.name != column.name), "{}", column.name);
        }
    }
}
