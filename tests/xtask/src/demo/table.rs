//! What the demo shows at its end.

use std::path::Path;

use serde_json::Value;

/// Names in the answer of `tenantctl --json list`.
pub(super) fn names(list: &Value) -> Vec<String> {
    rows(list).iter().filter_map(|row| Some(row.get("name")?.as_str()?.to_owned())).collect()
}

fn rows(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// Prints these tenants of the answer of `tenantctl --json list`, and what to try next.
pub(super) fn print(list: &Value, tenants: &[&str], bin: &Path, root: &Path) {
    let head = ["TENANT", "STATE", "ADDRESS", "BOOT", "MEMORY", "IMAGE VERSION"].map(str::to_owned);
    let mut table = vec![head];
    for row in rows(list).iter().filter(|row| tenants.contains(&text(row, "/name").as_str())) {
        let boot = row.pointer("/ready_us").and_then(Value::as_f64);
        let memory = row.pointer("/memory_bytes").and_then(Value::as_f64);
        table.push([
            text(row, "/name"),
            text(row, "/state"),
            text(row, "/ipv4"),
            boot.map_or("-".to_owned(), |us| format!("{:.0} ms", us / 1e3)),
            memory.map_or("-".to_owned(), |bytes| format!("{:.1} MiB", bytes / f64::from(1 << 20))),
            format!("{}@{}", text(row, "/image"), text(row, "/version")),
        ]);
    }
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    println!();
    for row in &table {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    let mut ctl = bin.join("tenantctl").display().to_string();
    if root != Path::new("/") {
        ctl = format!("{ctl} --root {}", root.display());
    }
    let down = match root != Path::new("/") {
        true => format!("cargo xtask demo --root {} --down", root.display()),
        false => "cargo xtask demo --down".to_owned(),
    };
    println!(
        "\nThree systems over one read-only root. Try next:\n\
         \n  alias tenantctl='{ctl}'\
         \n  tenantctl list\
         \n  tenantctl exec alice -- systemctl is-system-running\
         \n  tenantctl shell bob\
         \n  tenantctl console alice -t 1        a login; Ctrl-] detaches\
         \n  tenantctl exec alice -- sh -c 'echo hello > /etc/motd'; tenantctl exec bob -- cat /etc/motd\
         \n  tenantctl stat carol\
         \n  tenantctl plan alice\
         \n\nTake it all away again: {down}"
    );
}
