//! The pages of the documentation as programs: every command that a page shows in a fenced `sh` block
//! is run, in the order of the page, by one shell on a host of its own.
//!
//! The script has a page's commands on the very lines where the page has them, so that what bash(1)
//! says of line 31 is true of line 31 of the page.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{Host, debian, host::Place, poll};

/// How long the commands of one page may take, on a busy machine of two cores.
const LIMIT: Duration = Duration::from_secs(180);

/// Languages that a fence may name: commands that are run, sessions that cannot be run as they stand,
/// a file, plain text.
const LANGUAGES: &[&str] = &["sh", "console", "toml", "text"];

/// Stops at the first command that fails, and tells which it was. It takes the place of the title.
const PRELUDE: &str = r#"set -Eeuo pipefail; PS4='+ $LINENO: '; trap 'status=$?; set +x; echo "line $LINENO: \`$BASH_COMMAND\` ended with $status" >&2' ERR; set -x"#;

/// One page.
#[derive(Clone, Debug)]
pub struct Page {
    script: String,
}

impl Page {
    /// A page below `docs/`, for example `how-to/read-a-plan.md`.
    ///
    /// # Panics
    /// When there is none, or it is not written as [`Self::parse`] wants it.
    pub fn read(name: &str) -> Self {
        let path = docs().join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(&text).unwrap_or_else(|fault| panic!("docs/{name}: {fault}"))
    }

    /// Takes the commands out of a page.
    ///
    /// # Errors
    /// Where a fence has another language than those known or does not end, or a command stands
    /// outside of any fence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut script = String::new();
        let mut fence: Option<(usize, &str)> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let indent = line.len() - line.trim_start().len();
            let mark = line.trim_start().strip_prefix("```");
            match (fence, mark) {
                (None, Some(language)) if !LANGUAGES.contains(&language) => {
                    return Err(format!("line {number}: a fence of the language {language:?}"));
                }
                (None, Some(language)) => fence = Some((indent, language)),
                (Some(_), Some("")) => fence = None,
                (Some((indent, "sh")), _) => {
                    script.push_str(line.get(indent..).unwrap_or_default());
                }
                (None, None) if indent >= 4 && is_command(line) => {
                    return Err(format!("line {number}: a command outside of any fence"));
                }
                _ => {}
            }
            script.push_str(if number == 1 { PRELUDE } else { "" });
            script.push('\n');
        }
        match fence {
            Some(_) => Err("a fence without an end".to_owned()),
            None => Ok(Self { script }),
        }
    }

    /// Whether it has a command to run.
    pub fn is_runnable(&self) -> bool {
        self.lines().next().is_some()
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.script.lines().skip(1).filter(|line| !line.trim().is_empty())
    }

    /// Whether a command names this image.
    fn uses_image(&self, image: &str) -> bool {
        let option = format!("--image {image}");
        self.lines().any(|line| line.contains(&option))
    }

    /// Whether a line begins with this program.
    fn runs(&self, program: &str) -> bool {
        self.lines().any(|line| line.split_ascii_whitespace().next() == Some(program))
    }
}

/// Whether an indented line begins with one of the programs that pages use.
fn is_command(line: &str) -> bool {
    let programs = ["tenantctl", "rootfsctl", "tenant", "hostd", "ip", "nft"];
    line.split_ascii_whitespace().next().is_some_and(|word| programs.contains(&word))
}

/// The documentation.
fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// All pages whose commands are run: everything below `docs/how-to` and `docs/tutorial`.
///
/// # Panics
/// When a directory cannot be read.
pub fn pages() -> Vec<String> {
    let (mut found, mut dirs) = (Vec::new(), vec!["how-to".to_owned(), "tutorial".to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(docs().join(&dir)).expect("the documentation is there").flatten() {
            let name = format!("{dir}/{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true => dirs.push(name),
                false if name.ends_with(".md") => found.push(name),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// Runs a page's commands on a host of its own and checks that it leaves nothing there.
///
/// The host has the images `debian` and `busybox`, or the image `admin` alone where the page uses that one, and a
/// running hostd unless the page starts one. What the page changes in the image store or below `/etc` stays there.
///
/// # Panics
/// When a command fails, names page, line, command and what was printed; or when something is left.
pub fn follow(name: &str) {
    let page = Page::read(name);
    let starts_hostd = page.runs("hostd");
    let prepared = Place::prepared();
    let place = if page.uses_image(debian::ADMIN) { debian::admin(&prepared) } else { prepared };
    let mut host = Host::bare_in(place);
    if page.runs("rootfsctl") {
        host.copy_images()
    } else {
        host.share_images()
    }
    if !starts_hostd {
        host.start_hostd();
    }
    let (followed, said) = Session::begin(&host, &page).end();
    if starts_hostd {
        // What the page left running without one is taken down by this one.
        host.start_hostd();
    }
    assert!(followed, "docs/{name}: {}\n{said}", said.lines().last().unwrap_or("it said nothing"));
    assert_eq!(host.names(), Vec::<String>::new(), "docs/{name} leaves tenants\n{said}");
    // A tenant's link goes a moment after it.
    let links = || host.run("ip", &["-brief", "link"]).ok().stdout;
    poll::until_true(&format!("docs/{name} leaves no interface"), || links().lines().count() == 1);
}

/// A shell that follows a page, and everything it started in its own session.
struct Session {
    shell: Child,
    log: PathBuf,
}

/// Gives the page `/etc/tenantry` of its host, and an `/etc` whose changes are its own.
const ENTER: &str = r#"
    mount -t overlay -o "lowerdir=/etc,upperdir=$ROOT/page-etc/upper,workdir=$ROOT/page-etc/work" page /etc &&
    mkdir -p /etc/tenantry && mount --bind "$ROOT/etc/tenantry" /etc/tenantry && unset ROOT && exec bash "$1""#;

impl Session {
    fn begin(host: &Host, page: &Page) -> Self {
        let (script, log) = (host.path("page.sh"), host.path("page.log"));
        fs::write(&script, &page.script).expect("the script can be written");
        for part in ["page", "page-etc/upper", "page-etc/work", "etc/tenantry"] {
            fs::create_dir_all(host.path(part)).expect("a directory can be made");
        }
        let output = fs::File::create(&log).expect("the log can be made");
        let path = env::var("PATH").unwrap_or_default();
        let bin = host.program("hostd").parent().expect("a program lies in a directory").to_owned();
        let shell = Command::new("setsid")
            .args(host.run("unshare", &["--mount", "bash", "-c", ENTER, "bash"]).words())
            .arg(&script)
            .current_dir(host.path("page"))
            .env("ROOT", host.root())
            .env("TENANTRY_ROOT", host.root())
            .env("PATH", format!("{}:{path}", bin.display()))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the log can be shared"))
            .stderr(output)
            .spawn()
            .expect("setsid(1) can be run");
        Self { shell, log }
    }

    /// Waits until the shell has followed the page; whether it could, and what was printed.
    fn end(mut self) -> (bool, String) {
        let deadline = Instant::now() + LIMIT;
        let mut ended = None;
        while ended.is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
            ended = self.shell.try_wait().expect("a child can be waited for");
        }
        let mut said = fs::read_to_string(&self.log).unwrap_or_default();
        if ended.is_none() {
            said.push_str(&format!("it did not come to its end within {LIMIT:?}"));
        }
        (ended.is_some_and(|status| status.success()), said)
    }
}

impl Drop for Session {
    /// Ends what the page left in the background.
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.shell.id()).expect("a pid"));
        let was_there = killpg(group, Signal::SIGTERM).is_ok();
        drop(self.shell.wait());
        if was_there {
            poll::until_true("what the page started ends", || killpg(group, None).is_err());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Title\n\n```sh\ntenantctl list\n```\n\n1. One:\n\n   ```sh\n   for a in 1 2; do\n       echo $a\n   done\n   ```\n\n```console\nreboot\n```\n";

    #[test]
    fn commands_keep_their_lines() {
        let page = Page::parse(TEXT).unwrap();
        let lines: Vec<&str> = page.script.lines().collect();
        assert_eq!(lines[0], PRELUDE);
        assert_eq!(lines[3], "tenantctl list");
        assert_eq!(lines[9..12], ["for a in 1 2; do", "    echo $a", "done"]);
        assert_eq!(page.lines().count(), 4);
        assert!(page.is_runnable() && page.runs("tenantctl") && !page.runs("reboot"));
        let page = Page::parse("# T\n\n```sh\ntenantctl create a --image admin\n```\n").unwrap();
        assert!(page.uses_image("admin") && !page.uses_image("debian"));
    }

    #[test]
    fn a_page_hides_no_command_from_the_runner() {
        assert!(Page::parse("# T\n\n    tenantctl list\n").is_err());
        assert!(Page::parse("# T\n\n```bash\ntenantctl list\n```\n").is_err());
        assert!(Page::parse("# T\n\n```sh\ntenantctl list\n").is_err());
        assert!(!Page::parse("# T\n\n```console\ntenantctl list\n```\n").unwrap().is_runnable());
    }

    #[test]
    fn every_page_is_written_so_that_it_can_be_run() {
        let pages = pages();
        assert!(pages.len() > 8, "{pages:?}");
        for name in pages {
            Page::read(&name);
        }
    }
}
