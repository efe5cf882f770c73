//! Capabilities, filters, labels, kernel parameters.

use rootfs_tools::import::IdRange;

use super::{
    draft::{Draft, Pair},
    report::Verdict,
};

/// Names of all capabilities without their `cap_`, see capabilities(7).
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// `lxc.cap.drop` and `lxc.cap.keep`; a keep list drops all others.
pub(super) fn capabilities(draft: &mut Draft<'_>, pairs: &[Pair<'_>]) -> Vec<(usize, Verdict)> {
    let mut found = Vec::new();
    let mut drop: Vec<&str> = Vec::new();
    let mut keep: Option<Vec<&str>> = None;
    for pair in pairs {
        let words: Vec<String> = pair.value.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
        let is_keep = pair.name == "lxc.cap.keep";
        let known = |word: &String| {
            let word = word.strip_prefix("cap_").unwrap_or(word);
            CAPABILITIES.iter().find(|name| **name == word).copied()
        };
        let names: Vec<&str> = words.iter().filter_map(known).collect();
        let unknown = words.iter().find(|word| known(word).is_none() && !(is_keep && *word == "none"));
        if is_keep {
            let kept = keep.get_or_insert_default();
            if words.iter().any(|word| word == "none") {
                kept.clear();
            }
            kept.extend(&names);
        } else {
            drop.extend(&names);
        }
        let verdict = match (unknown, is_keep) {
            (Some(word), _) => Verdict::warning(format!("{word:?} is not a capability")),
            (None, true) => Verdict::done("drop_capabilities", "drop_capabilities: all but these"),
            (None, false) => {
                Verdict::done("drop_capabilities", format!("drop_capabilities: {}", names.join(", ")))
            }
        };
        found.push((pair.at, verdict));
    }
    if let Some(keep) = &keep {
        drop.extend(CAPABILITIES.iter().filter(|name| !keep.contains(name)));
    }
    let dropped = CAPABILITIES.iter().filter(|name| drop.contains(name));
    let dropped: Vec<String> = dropped.map(|name| format!("CAP_{}", name.to_ascii_uppercase())).collect();
    if !dropped.is_empty() {
        draft.fragment.drop_capabilities = Some(dropped);
    }
    found
}

/// A range of ids: it is on disk that the container's owners are shifted.
pub(super) fn idmap(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let range = pair.value.split_ascii_whitespace().collect::<Vec<_>>().join(":");
    match range.parse::<IdRange>() {
        Ok(_) => {
            draft.idmap.push(range);
            Verdict::note(
                "every tenant has its own 65536 ids, chosen by the host; the import of the root filesystem maps owners \
                 back",
            )
        }
        Err(error) => Verdict::warning(format!("{error}; a tenant has 65536 ids")),
    }
}

pub(super) fn sysctl(draft: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let key = pair.name.strip_prefix("lxc.sysctl.").unwrap_or(pair.name);
    draft.fragment.sysctl.insert(key.to_owned(), pair.value.to_owned());
    Verdict::done(&format!("sysctl.\"{key}\""), format!("sysctl.\"{key}\" = {:?}", pair.value))
}

pub(super) fn seccomp(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    if pair.value.ends_with("/common.seccomp") || pair.value == "none" {
        return Verdict::note(
            "the filter of tenants refuses the same system calls as LXC's, and more: tenantctl plan",
        );
    }
    Verdict::warning("tenants have their own filter, shown by tenantctl plan; this one is not added")
}

pub(super) fn apparmor(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    let usual = pair.value.starts_with("lxc-container-default")
        || matches!(
            pair.value,
            "generated" | "unconfined" | "unchanged" | "lxc-default" | "lxc-default-cgns"
        );
    if usual {
        return Verdict::note("tenants have a profile of their own where the host has AppArmor");
    }
    Verdict::warning(
        "this AppArmor profile is not taken over: tenants have their own, or that of the key `apparmor`",
    )
}

pub(super) fn selinux(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "unconfined_t" => Verdict::note("tenants are confined by user namespace, capabilities and seccomp"),
        _ => Verdict::warning("tenants have no SELinux context"),
    }
}

pub(super) fn keyring(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "1" => Verdict::note("a tenant has its own session keyring"),
        _ => Verdict::warning("a tenant always has its own session keyring"),
    }
}

pub(super) fn no_new_privs(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "0" => Verdict::note("setuid programs work inside"),
        _ => Verdict::warning(
            "setuid programs work inside; start services with NoNewPrivileges=yes or setpriv --no-new-privs",
        ),
    }
}

pub(super) fn sched_core(_: &mut Draft<'_>, pair: &Pair<'_>) -> Verdict {
    match pair.value {
        "0" => Verdict::note("core scheduling is not supported"),
        _ => Verdict::warning("core scheduling is not supported: disable SMT where that matters"),
    }
}
