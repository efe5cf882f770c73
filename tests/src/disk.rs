//! A host whose state directory is on a filesystem of its own, in a file; on a machine with systemd. What disks a machine has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Host, Output, Run,
    machine::{PATIENCE, run},
    poll,
};

/// The filesystem, and the hostd that works on it. Both go when this is dropped.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    file: PathBuf,
    unit: String,
}

impl Disk {
    /// Makes a filesystem of so many MiB by `make`, mounts it with `options`, and starts a hostd on it. Its store of
    /// images is empty.
    ///
    /// # Panics
    /// When one of these fails.
    pub fn new(name: &str, mebibytes: u64, make: &[&str], options: &str) -> Self {
        let root = PathBuf::from(format!("/mnt/{name}"));
        let file = PathBuf::from(format!("/var/tmp/{name}.img"));
        let disk = Self { root, file, unit: format!("hostd-{name}") };
        let (place, image) = (disk.root.to_string_lossy(), disk.file.to_string_lossy());
        run(&["truncate", "-s", &format!("{mebibytes}M"), &image]).ok();
        run(make).args([&*image]).ok();
        fs::create_dir_all(&disk.root).unwrap();
        run(&["mount", "-o", options, &image, &place]).ok();
        fs::create_dir_all(disk.images()).unwrap();
        run(&["systemd-run", "--quiet", "--collect", "-p", "Delegate=yes", "--unit", &disk.unit])
            .args(["/usr/libexec/tenantry/hostd", "--root", &*place])
            .ok();
        poll::until_true("hostd answers", || disk.ctl(&["list"]).output().status.success());
        disk
    }

    /// Gives it the images of the second disk, which are nobody's to change.
    ///
    /// # Panics
    /// When they cannot be mounted.
    pub fn with_images(self) -> Self {
        run(&["mount", "--bind", "/payload/images/var/lib/tenantry/images"]).args([self.images()]).ok();
        self
    }

    /// The root of its paths.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that the filesystem is in.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its store of images.
    pub fn images(&self) -> PathBuf {
        self.root.join("var/lib/tenantry/images")
    }

    fn program(&self, program: &str, words: &[&str]) -> Run {
        Run::new(program, words).limit(PATIENCE).env("TENANTRY_ROOT", &self.root)
    }

    /// `tenantctl …`.
    pub fn ctl(&self, words: &[&str]) -> Run {
        self.program("tenantctl", words)
    }

    /// `rootfsctl …`.
    pub fn rootfsctl(&self, words: &[&str]) -> Run {
        self.program("rootfsctl", words)
    }

    /// Creates a tenant of the busybox image, or of another with `--image`, and starts it.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(&self, name: &str, options: &[&str]) {
        let image: &[&str] = if options.contains(&"--image") { &[] } else { &["--image", "busybox"] };
        self.ctl(&["create", name]).args(image).args(options).ok();
        self.ctl(&["start", name]).ok();
    }

    /// A shell script in a tenant, as root.
    pub fn shell(&self, name: &str, script: &str) -> Output {
        self.ctl(&["exec", name, "--", "/bin/sh", "-c", script]).output()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.ctl(&["destroy", "--all", "--force", "--yes"]).output();
        run(&["systemctl", "stop", &self.unit]).output();
        for mount in [self.images(), self.root.clone()] {
            run(&["umount", &mount.to_string_lossy()]).output();
        }
        let _ = fs::remove_file(&self.file);
    }
}

impl Host {
    /// Whether this machine can weigh block I/O: cgroup v2 with `io.weight`, or v1 with a scheduler for it.
    pub fn has_io_weight(&self) -> bool {
        let files = ["/sys/fs/cgroup/io.weight", "/sys/fs/cgroup/blkio/blkio.bfq.weight"];
        let slice = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        files.iter().any(|file| Path::new(file).exists())
            || slice.split_ascii_whitespace().any(|name| name == "io")
    }
}
