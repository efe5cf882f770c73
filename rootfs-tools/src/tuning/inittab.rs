//! `/etc/inittab` of sysvinit, which OpenRC on Debian uses too, and of busybox: `ID:RUNLEVELS:ACTION:PROGRAM`.

/// Where it is.
pub(crate) const PATH: &str = "etc/inittab";

/// The script that sysvinit's own inittab runs when the power fails; no package of Debian contains it.
pub(super) const POWERFAIL: &str = "etc/init.d/powerfail";

const LOGIN_REMARK: &str = "# The host starts a login on a tty when a client attaches.";

/// The text for a tenant; `has_powerfail` says whether the image has [`POWERFAIL`].
///
/// Logins on ttys are commented out: the supervisor starts one when a client attaches, and two on the same tty
/// would compete for input. SIGPWR, by which the host asks sysvinit to stop, powers off.
pub(super) fn fit(text: &str, has_powerfail: bool) -> String {
    let mut fitted = String::new();
    for line in text.lines() {
        let Some(entry) = Entry::parse(line) else {
            fitted += &format!("{line}\n");
            continue;
        };
        if entry.is_login() {
            if !fitted.contains(LOGIN_REMARK) {
                fitted += &format!("{LOGIN_REMARK}\n");
            }
            fitted += &format!("#{line}\n");
        } else if has_powerfail || !entry.is_powerfail() {
            fitted += &format!("{line}\n");
        } else if entry.action == "powerwait" {
            fitted += &format!("{}:{}:powerwait:/sbin/shutdown -h now\n", entry.id, entry.levels);
        } else {
            fitted += &format!("#{line}\n");
        }
    }
    fitted
}

/// The text with one more program that runs before all others, and is waited for.
pub(crate) fn with_first(text: &str, program: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let entries = || lines.iter().enumerate().filter_map(|(at, line)| Some((at, Entry::parse(line)?)));
    if entries().any(|(_, entry)| entry.program == program) {
        return text.to_owned();
    }
    let Some((first, entry)) = entries().find(|(_, entry)| entry.action == "sysinit") else {
        return text.to_owned();
    };
    // For sysvinit the first field is a unique name, for busybox a tty or empty.
    let id = if entry.id.is_empty() { "" } else { "tfb" };
    let levels = entry.levels;
    let own = format!("{id}:{levels}:sysinit:{program}");
    let lines = lines[..first].iter().copied().chain([own.as_str()]).chain(lines[first..].iter().copied());
    lines.flat_map(|line| [line, "\n"]).collect()
}

struct Entry<'a> {
    id: &'a str,
    levels: &'a str,
    action: &'a str,
    program: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(4, ':');
        let entry = Self {
            id: fields.next()?,
            levels: fields.next()?,
            action: fields.next()?,
            program: fields.next()?,
        };
        (!line.trim_start().starts_with('#')).then_some(entry)
    }

    /// The file name of the program. `+` keeps sysvinit from writing a record, `-` makes a login shell.
    fn program_name(&self) -> &'a str {
        let program = self.program.split_ascii_whitespace().next().unwrap_or_default();
        program.trim_start_matches(['+', '-']).rsplit('/').next().unwrap_or_default()
    }

    fn is_login(&self) -> bool {
        matches!(self.action, "respawn" | "askfirst") && self.program_name().ends_with("getty")
    }

    fn is_powerfail(&self) -> bool {
        self.action.starts_with("power") && self.program_name() == "powerfail"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_power_supply_powers_off_and_no_login_waits_on_a_tty() {
        let debian = "# /etc/inittab\nid:2:initdefault:\nl2:2:wait:/etc/init.d/rc 2\n\
                      pf::powerwait:/etc/init.d/powerfail start\npn::powerfailnow:/etc/init.d/powerfail now\n\
                      1:2345:respawn:/sbin/getty --noclear 38400 tty1\n2:23:respawn:/sbin/getty 38400 tty2\n\
                      z6:6:respawn:/sbin/sulogin --force\n#T0:23:respawn:/sbin/getty -L ttyS0\n";
        let fitted = fit(debian, false);
        assert_eq!(
            fitted,
            format!(
                "# /etc/inittab\nid:2:initdefault:\nl2:2:wait:/etc/init.d/rc 2\n\
                 pf::powerwait:/sbin/shutdown -h now\n#pn::powerfailnow:/etc/init.d/powerfail now\n\
                 {LOGIN_REMARK}\n#1:2345:respawn:/sbin/getty --noclear 38400 tty1\n\
                 #2:23:respawn:/sbin/getty 38400 tty2\nz6:6:respawn:/sbin/sulogin --force\n\
                 #T0:23:respawn:/sbin/getty -L ttyS0\n"
            )
        );
        assert_eq!(fit(&fitted, false), fitted);
        assert!(fit(debian, true).contains("\npf::powerwait:/etc/init.d/powerfail start\n"));
    }

    #[test]
    fn one_more_program_comes_first() {
        let sysvinit = "id:2:initdefault:\n\n#x\nsi::sysinit:/etc/init.d/rcS\nl2:2:wait:/etc/init.d/rc 2\n";
        let with = with_first(sysvinit, "/first");
        assert!(with.contains("\n#x\ntfb::sysinit:/first\nsi::sysinit:/etc/init.d/rcS\n"), "{with}");
        assert_eq!(with_first(&with, "/first"), with);
        assert_eq!(
            with_first("::sysinit:/sbin/openrc\n", "/first"),
            "::sysinit:/first\n::sysinit:/sbin/openrc\n"
        );
        assert_eq!(with_first("# nothing\n", "/first"), "# nothing\n");
    }

    #[test]
    fn an_inittab_of_busybox_keeps_its_shell_and_its_services() {
        let alpine = "::sysinit:/sbin/openrc sysinit\ntty1::respawn:/sbin/getty 38400 tty1\n\
                      ::askfirst:-/bin/sh\n::shutdown:/sbin/openrc shutdown\n";
        let fitted = fit(alpine, false);
        assert!(
            fitted.contains("\n#tty1::respawn:") && fitted.contains("\n::askfirst:-/bin/sh\n"),
            "{fitted}"
        );
    }
}
