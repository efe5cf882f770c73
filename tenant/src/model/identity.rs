//! The host name of a tenant, in its own `/etc`.
//!
//! The host sets the name before init runs. A tenant without `/etc/hostname` keeps it, whatever its init is:
//! systemd, the scripts of sysvinit and busybox leave a name alone that no file contradicts. So an absent
//! file means the name that the plan has, and a file means that the tenant's admin has set another one
//! (hostnamectl(1), an editor), which wins.
//!
//! `/etc/hosts` names the tenant in one line with a remark. That line follows the name at each boot; without
//! the remark it is the admin's.

use std::time::SystemTime;

use super::port::GATEWAY4;

/// Marks the line of `/etc/hosts` that follows the host name.
const REMARK: &str = "# follows the host name; without this remark it stays as it is";

/// The text of a new tenant's `/etc/hosts`: the tenant itself, and its host by name. `host_name` comes from
/// uname(2) and may be anything.
pub fn hosts(hostname: &str, host_name: &str) -> String {
    hosts_with(&own_line(hostname), &host_names(hostname, host_name))
}

fn hosts_with(own: &str, host: &str) -> String {
    format!(
        "127.0.0.1\tlocalhost\n\
         {own}\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n\
         {GATEWAY4}\t{host}\n"
    )
}

fn host_names(hostname: &str, host_name: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let valid = !host_name.is_empty() && host_name.chars().all(is_name) && host_name != hostname;
    if valid && host_name != "localhost" {
        format!("{host_name} host.tenantry")
    } else {
        "host.tenantry".to_owned()
    }
}

/// The whole name first, see hosts(5), and the part before its first dot.
fn own_names(hostname: &str) -> String {
    match hostname.split_once('.') {
        Some((short, _)) => format!("{hostname} {short}"),
        None => hostname.to_owned(),
    }
}

fn own_line(hostname: &str) -> String {
    format!("127.0.1.1\t{}\t{REMARK}", own_names(hostname))
}

/// The names in the second line of an `/etc/hosts` that an earlier release wrote, without a remark, and that
/// no process has changed since.
fn seeded_names(hosts: &str) -> Option<&str> {
    let own = hosts.lines().nth(1)?;
    let host = hosts.lines().nth(5)?.split_once('\t')?.1;
    let names = own.strip_prefix("127.0.1.1\t")?;
    // What is left where a process has taken the remark away has the tab before it.
    (!names.contains('\t') && hosts == hosts_with(own, host)).then_some(names)
}

/// `/etc/hosts` with the tenant's own line as it should be; none where nothing is to be changed.
pub fn follow(hosts: &str, hostname: &str) -> Option<String> {
    let seeded = seeded_names(hosts).is_some();
    let is_own = |line: &str| line.starts_with("127.0.1.1") && (line.ends_with(REMARK) || seeded);
    let own = own_line(hostname);
    let lines = hosts.lines().map(|line| if is_own(line) { own.as_str() } else { line });
    let followed: String = lines.flat_map(|line| [line, "\n"]).collect();
    (followed.trim_end() != hosts.trim_end()).then_some(followed)
}

/// The name in a text of hostname(5): the first line that is no comment. None where that is no host name:
/// init would not take it either.
pub fn parse_hostname(text: &str) -> Option<&str> {
    let name = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (name.len() <= 64 && name.chars().all(fits)).then_some(name)
}

/// A file of a tenant's `/etc`.
#[derive(Clone, Debug)]
pub struct EtcFile {
    /// What is in it.
    pub text: String,
    /// When that was written.
    pub modified: SystemTime,
}

/// What a tenant's `/etc` says about its name.
#[derive(Clone, Debug, Default)]
pub struct OwnNames {
    /// `/etc/hostname`.
    pub hostname: Option<EtcFile>,
    /// `/etc/machine-id`.
    pub machine_id: Option<EtcFile>,
    /// `/etc/hosts`.
    pub hosts: Option<EtcFile>,
}

/// What the host knows about a tenant's name.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The tenant's name.
    pub tenant: &'a str,
    /// The host name of its plan.
    pub hostname: &'a str,
    /// Its machine-id(5).
    pub uuid: &'a str,
}

impl OwnNames {
    /// The name that the tenant's admin has set; none where the plan's counts.
    pub fn set_inside(&self, planned: Planned<'_>) -> Option<&str> {
        if self.is_seeded(planned) {
            return None;
        }
        parse_hostname(&self.hostname.as_ref()?.text)
    }

    /// Whether `/etc/hostname` is there because an earlier release wrote it into every new tenant, directly
    /// before `/etc/machine-id`, and has not been written since.
    pub fn is_seeded(&self, planned: Planned<'_>) -> bool {
        let (Some(hostname), Some(machine_id)) = (&self.hostname, &self.machine_id) else { return false };
        let Some(name) = parse_hostname(&hostname.text) else { return false };
        let names = self.hosts.as_ref().and_then(|hosts| seeded_names(&hosts.text));
        let given = [Some(planned.tenant), Some(planned.hostname), names.and_then(|n| n.split(' ').next())];
        hostname.modified <= machine_id.modified
            && machine_id.text.trim() == planned.uuid
            && given.contains(&Some(name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const UUID: &str = "0123456789abcdef0123456789abcdef";
    const PLANNED: Planned<'_> = Planned { tenant: "alice", hostname: "web", uuid: UUID };

    /// What the releases before this one wrote.
    fn seeded_hosts(own: &str) -> String {
        format!(
            "127.0.0.1\tlocalhost\n127.0.1.1\t{own}\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n169.254.1.1\tmachine host.tenantry\n"
        )
    }

    #[test]
    fn hosts_names_the_tenant_and_its_host() {
        let text = hosts("alice", "machine");
        assert!(text.contains("127.0.1.1\talice\t# "), "{text}");
        assert!(text.contains("169.254.1.1\tmachine host.tenantry\n"), "{text}");
        assert!(hosts("a.example.org", "x").contains("127.0.1.1\ta.example.org a\t"));
        assert!(!hosts("alice", "evil\n127.0.0.1 bank").contains("bank"));
    }

    #[test]
    fn the_own_line_follows_the_name_and_no_other_does() {
        let first = hosts("alice", "machine");
        assert_eq!(follow(&first, "alice"), None);
        let edited = format!("{first}10.0.0.1\tbank # mine\n");
        let followed = follow(&edited, "web.example.org").unwrap();
        assert!(followed.contains("127.0.1.1\tweb.example.org web\t"), "{followed}");
        assert!(!followed.contains("alice") && followed.ends_with("10.0.0.1\tbank # mine\n"), "{followed}");
        assert_eq!(follow(&followed, "web.example.org"), None);
        let taken = first.replace(REMARK, "");
        assert_eq!(follow(&taken, "web"), None, "without the remark it is the admin's");
        assert_eq!(follow("127.0.0.1 localhost", "web"), None);
        assert_eq!(follow("", "web"), None);
    }

    #[test]
    fn a_hosts_file_of_an_earlier_release_follows_unless_it_was_edited() {
        assert_eq!(follow(&seeded_hosts("alice"), "web").unwrap(), hosts("web", "machine"));
        assert_eq!(follow(&seeded_hosts("a.b a"), "a.b").unwrap(), hosts("a.b", "machine"));
        let edited = format!("{}10.0.0.1\tbank\n", seeded_hosts("alice"));
        assert_eq!(follow(&edited, "web"), None);
    }

    #[test]
    fn a_name_is_read_as_init_reads_it() {
        assert_eq!(parse_hostname("# x\n\n box \nother\n"), Some("box"));
        for text in ["", "\n", "# x", "a b", "a\u{1b}[0m", "ü", &"x".repeat(65)] {
            assert_eq!(parse_hostname(text), None, "{text:?}");
        }
    }

    fn own(name: &str, after: u64, machine_id: &str, hosts: String) -> OwnNames {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let file = |text: &str, second| Some(EtcFile { text: text.to_owned(), modified: at(second) });
        OwnNames {
            hostname: file(&format!("{name}\n"), 100 + after),
            machine_id: file(&format!("{machine_id}\n"), 100),
            hosts: file(&hosts, 100),
        }
    }

    #[test]
    fn a_file_that_came_with_the_tenant_does_not_count_and_any_other_does() {
        for (name, hosts) in [
            ("alice", String::new()),
            ("web", String::new()),
            ("old.example.org", seeded_hosts("old.example.org old")),
        ] {
            let seeded = own(name, 0, UUID, hosts);
            assert!(seeded.is_seeded(PLANNED), "{name}");
            assert_eq!(seeded.set_inside(PLANNED), None);
        }
        let set = |own: OwnNames| own.set_inside(PLANNED).map(str::to_owned);
        assert_eq!(set(own("alice", 1, UUID, seeded_hosts("alice"))).as_deref(), Some("alice"), "later");
        assert_eq!(set(own("box", 0, UUID, seeded_hosts("alice"))).as_deref(), Some("box"), "another name");
        assert_eq!(set(own("alice", 0, "f00d", seeded_hosts("alice"))).as_deref(), Some("alice"));
        assert_eq!(set(OwnNames::default()), None);
        assert_eq!(set(own("a b", 1, UUID, String::new())), None);
    }
}
