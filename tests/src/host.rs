//! A host of its own: a root directory, a network namespace and a hostd, gone when dropped.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::mount::{MntFlags, MsFlags};
use tempfile::TempDir;

use crate::{Elsewhere, Namespace, Run, poll};

/// Directory of the programs under test.
pub const BIN_DIR: &str = "TENANTRY_TEST_BIN";
/// A root whose image store holds the images `debian`, `busybox` and `bird`, and `services` where a mirror
/// has its packages.
pub const IMAGES: &str = "TENANTRY_TEST_IMAGES";
/// Where temporary roots go: a filesystem that can carry an overlay's upper directory.
pub const TMP: &str = "TENANTRY_TEST_TMP";

/// Set where nothing is left out that takes long.
pub const ALL: &str = "TENANTRY_TEST_ALL";

/// What a host is made from.
#[derive(Clone, Debug)]
pub struct Place {
    /// Directory of the programs.
    pub bin: PathBuf,
    /// A root whose image store it shares.
    pub images: PathBuf,
    /// Where its root goes.
    pub tmp: PathBuf,
}

impl Place {
    /// What `cargo xtask test` has prepared.
    ///
    /// # Panics
    /// Where it has not: the native tier cannot run by `cargo test` alone.
    pub fn prepared() -> Self {
        let variable = |key| -> PathBuf {
            let value = env::var_os(key);
            value.unwrap_or_else(|| panic!("{key} is not set; use: cargo xtask test --tier native")).into()
        };
        Self { bin: variable(BIN_DIR), images: variable(IMAGES), tmp: variable(TMP) }
    }
}

/// A running host.
#[derive(Debug)]
pub struct Host {
    pub(crate) place: Place,
    /// Before the root, whose removal must not reach what is mounted there.
    mounted: Mounts,
    root: TempDir,
    net: Elsewhere,
    hostd: Mutex<Option<Child>>,
}

/// What is mounted below a root, for as long as this lives.
#[derive(Debug, Default)]
struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Takes everything away; what could not be.
    fn take_down(&mut self) -> Vec<String> {
        let failed = self.0.drain(..).rev().filter_map(|path| {
            let error = nix::mount::umount2(&path, MntFlags::MNT_DETACH).err()?;
            Some(format!("unmounting {}: {error}", path.display()))
        });
        failed.collect()
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for fault in self.take_down() {
            eprintln!("{fault}");
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::start()
    }
}

impl Host {
    /// A host with the prepared images and a running hostd.
    ///
    /// # Panics
    /// When any of it cannot be had.
    pub fn start() -> Self {
        Self::start_in(Place::prepared())
    }

    /// [`Self::start`] somewhere else.
    ///
    /// # Panics
    /// When any of it cannot be had.
    pub fn start_in(place: Place) -> Self {
        let mut host = Self::bare_in(place);
        host.share_images();
        host.start_hostd();
        host
    }

    /// A host with images and a running hostd that reads this configuration.
    ///
    /// # Panics
    /// When any of it cannot be had.
    pub fn start_with(config: &str) -> Self {
        let mut host = Self::bare();
        host.share_images();
        host.configure(config);
        host.start_hostd();
        host
    }

    /// Writes `hostd.toml`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, config: &str) {
        fs::create_dir_all(self.path("etc/tenantry")).expect("the directory can be made");
        fs::write(self.path("etc/tenantry/hostd.toml"), config).expect("the configuration can be written");
    }

    /// A root directory and a network namespace, nothing else.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn bare() -> Self {
        Self::bare_in(Place::prepared())
    }

    /// [`Self::bare`] somewhere else.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn bare_in(place: Place) -> Self {
        fs::create_dir_all(&place.tmp).expect("the directory for temporary roots can be made");
        let root = tempfile::Builder::new().prefix("h").tempdir_in(&place.tmp).expect("a temporary root");
        // Tenants' ids must be able to pass through it, as they can through `/`.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.path(), open).expect("the mode of the root can be set");
        let mut host =
            Self { place, mounted: Mounts::default(), root, net: Elsewhere::new(), hostd: Mutex::new(None) };
        // As that of every host is: what is put in its place there waits for no disk.
        let run = host.path("run");
        fs::create_dir(&run).expect("the runtime directory can be made");
        nix::mount::mount(
            Some("tmpfs"),
            &run,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("mode=755"),
        )
        .expect("tmpfs can be mounted");
        host.mounted.0.push(run);
        host
    }

    /// Binds the prepared image store into this root.
    ///
    /// # Panics
    /// When it cannot be bound.
    pub fn share_images(&mut self) {
        let source = self.place.images.join("var/lib/tenantry/images");
        let target = self.path("var/lib/tenantry/images");
        fs::create_dir_all(&target).expect("the image directory can be made");
        nix::mount::mount(Some(&source), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .expect("the image store can be bound");
        self.mounted.0.push(target);
    }

    /// Puts the state directory on a small ext4 filesystem of its own.
    ///
    /// # Panics
    /// When it cannot be made or mounted.
    pub fn small_disk(&mut self, size: &str) {
        let (file, state) = (self.path("disk"), self.path("var/lib/tenantry"));
        Run::new("truncate", ["-s", size]).args([&file]).ok();
        Run::new("mkfs.ext4", ["-q", "-F"]).args([&file]).ok();
        fs::create_dir_all(&state).expect("the state directory can be made");
        Run::new("mount", ["-o", "loop"]).args([&file, &state]).ok();
        self.mounted.0.push(state);
    }

    /// Puts the state directory on a filesystem of a type that needs no device.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn state_on(&mut self, kind: &str) {
        let state = self.path("var/lib/tenantry");
        fs::create_dir_all(&state).expect("the state directory can be made");
        nix::mount::mount(Some(kind), &state, Some(kind), MsFlags::empty(), None::<&str>)
            .unwrap_or_else(|errno| panic!("{kind} cannot be mounted: {errno}"));
        self.mounted.0.push(state);
    }

    /// Puts the runtime directory on a small tmpfs of its own; where it is.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn small_run(&mut self, size: &str) -> PathBuf {
        let run = self.path("run/tenantry");
        fs::create_dir_all(&run).expect("the runtime directory can be made");
        Run::new("mount", ["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).args([&run]).ok();
        self.mounted.0.push(run.clone());
        run
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A path below the root.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(relative)
    }

    /// A program in this host's network namespace.
    pub fn run(&self, program: &str, args: &[&str]) -> Run {
        self.network().run(program, args)
    }

    /// This host's network namespace.
    pub fn network(&self) -> Namespace {
        self.net.network()
    }

    /// Does something in this host's network namespace, on a thread of its own.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or `act` panics.
    pub fn in_network<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        self.network().inside(act)
    }

    /// `tenantctl` for this host.
    pub fn ctl(&self, args: &[&str]) -> Run {
        self.tool("tenantctl", args)
    }

    /// One of the programs under test, for this host. Not in its network namespace: they talk over
    /// files and Unix sockets.
    pub fn tool(&self, name: &str, args: &[&str]) -> Run {
        Run::new(self.program(name), args).env("TENANTRY_ROOT", self.root())
    }

    /// The path of a program under test.
    pub fn program(&self, name: &str) -> PathBuf {
        self.place.bin.join(name)
    }

    /// Starts hostd and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_hostd(&self) {
        self.start_hostd_behind(&[]);
    }

    /// Starts hostd where a program is not to be found, neither by it nor by the supervisors it starts.
    pub fn start_hostd_without(&self, program: &str) {
        self.start_hostd_with(program, Path::new("/dev/null"));
    }

    /// Starts hostd where another program lies in the place of one.
    pub fn start_hostd_with(&self, program: &str, other: &Path) {
        let mount = "mount --bind \"$0\" \"$1\" && shift";
        self.start_hostd_where(mount, &[&other.to_string_lossy(), program]);
    }

    /// Starts hostd where a cgroup v1 controller is not mounted.
    ///
    /// # Panics
    /// As [`Self::start_hostd`].
    pub fn start_hostd_without_controller(&self, name: &str) {
        self.start_hostd_where("umount /sys/fs/cgroup/\"$0\"", &[name]);
    }

    fn start_hostd_where(&self, change: &str, words: &[&str]) {
        let script = format!("{change} && exec \"$@\"");
        self.start_hostd_behind(&[&["unshare", "--mount", "sh", "-c", &script], words].concat());
    }

    /// Starts hostd by another program, which becomes it, and waits until it answers.
    ///
    /// # Panics
    /// As [`Self::start_hostd`].
    pub fn start_hostd_behind(&self, before: &[&str]) {
        self.spawn_hostd_behind(before);
        poll::until_true(&format!("hostd answers; its log: {}", self.hostd_log()), || self.answers());
    }

    /// Whether hostd answers, and has taken over what an earlier one left.
    pub fn answers(&self) -> bool {
        // A list is answered before what an earlier hostd left is set right.
        self.ctl(&["--json", "events", "--no-follow"]).output().status.success()
    }

    /// Starts hostd by another program, which becomes it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn_hostd_behind(&self, before: &[&str]) {
        let log = fs::File::options().create(true).append(true).open(self.path("hostd.log"));
        let log = log.expect("the log of hostd can be opened");
        let child = Command::new("nsenter")
            .arg(format!("--net={}", self.network().path()))
            .arg("--")
            .args(before)
            .arg(self.program("hostd"))
            .arg("--root")
            .arg(self.root())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log can be shared"))
            .stderr(log)
            .spawn()
            .expect("hostd can be started");
        *self.hostd.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    }

    /// What hostd logged so far.
    pub fn hostd_log(&self) -> String {
        fs::read_to_string(self.path("hostd.log")).unwrap_or_default()
    }

    /// The process id of hostd.
    ///
    /// # Panics
    /// When none runs.
    pub fn hostd_pid(&self) -> u32 {
        self.hostd.lock().unwrap_or_else(PoisonError::into_inner).as_ref().expect("hostd runs").id()
    }

    /// Ends hostd with SIGKILL.
    ///
    /// # Panics
    /// When none runs.
    pub fn kill_hostd(&self) {
        let mut hostd = self.hostd.lock().unwrap_or_else(PoisonError::into_inner).take().expect("hostd runs");
        hostd.kill().expect("hostd can be killed");
        hostd.wait().expect("hostd can be waited for");
    }

    /// Ends hostd with SIGTERM.
    ///
    /// # Panics
    /// When none runs, or it does not end.
    pub fn end_hostd(&self) {
        let hostd = self.hostd.lock().unwrap_or_else(PoisonError::into_inner).take().expect("hostd runs");
        assert!(end(hostd), "hostd did not end on SIGTERM");
    }

    /// Names of all tenants.
    ///
    /// # Panics
    /// When hostd does not answer.
    pub fn names(&self) -> Vec<String> {
        names(&self.ctl(&["--json", "list"]).ok().json())
    }

    fn clear(&mut self) -> Result<(), String> {
        let mut faults = Vec::new();
        // What a killed hostd left, tenants and empty cgroups, is for the next one to take away.
        let was_killed = self.hostd.get_mut().unwrap_or_else(PoisonError::into_inner).is_none()
            && self.path("hostd.log").exists();
        if was_killed {
            // Also after a failure: a second panic would hide it.
            let started = panic::catch_unwind(AssertUnwindSafe(|| self.start_hostd()));
            if started.is_err() {
                faults.push("hostd does not start again".to_owned());
            }
        }
        // A host without a hostd has no tenants that could be asked for.
        let runs = self.hostd.get_mut().unwrap_or_else(PoisonError::into_inner).is_some();
        let listed = runs.then(|| self.ctl(&["--json", "list"]).output());
        if let Some(listed) = listed.filter(|listed| listed.status.success()) {
            for name in names(&listed.json()) {
                let done = self.ctl(&["destroy", &name, "--force", "--yes"]).output();
                if !done.status.success() {
                    faults.push(format!("destroy {name}: {}", done.stderr));
                }
            }
        }
        if let Some(hostd) = self.hostd.get_mut().unwrap_or_else(PoisonError::into_inner).take()
            && !end(hostd)
        {
            faults.push("hostd did not end on SIGTERM".to_owned());
        }
        faults.extend(self.mounted.take_down());
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }
}

/// Ends a process with SIGTERM; if it does not, kills it and says so.
fn end(mut process: Child) -> bool {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap_or_default());
    let _gone_already = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    let deadline = Instant::now() + poll::PATIENCE;
    let ended = loop {
        if process.try_wait().is_ok_and(|status| status.is_some()) {
            break true;
        }
        if Instant::now() > deadline {
            break false;
        }
        thread::sleep(Duration::from_millis(5));
    };
    if !ended {
        drop(process.kill());
        drop(process.wait());
    }
    ended
}

fn names(list: &serde_json::Value) -> Vec<String> {
    let tenants = list.as_array().cloned().unwrap_or_default();
    tenants.iter().filter_map(|tenant| Some(tenant.get("name")?.as_str()?.to_owned())).collect()
}

impl Drop for Host {
    fn drop(&mut self) {
        let cleared = self.clear();
        if thread::panicking() {
            eprintln!("--- log of hostd ---\n{}", self.hostd_log());
            if let Err(faults) = cleared {
                eprintln!("{faults}");
            }
        } else if let Err(faults) = cleared {
            panic!("the host cannot be taken down:\n{faults}\n{}", self.hostd_log());
        }
    }
}
