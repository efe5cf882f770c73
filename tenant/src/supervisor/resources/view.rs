//! The files of a tenant: their texts are made when they are read.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Instant, SystemTime},
};

use super::{cgroup::Cgroups, load::Load};
use crate::{
    kernel::fuse::{Server, Texts},
    model::resource_file::ResourceFile,
};

/// The files in which a running tenant sees its limits.
#[derive(Debug)]
pub(in crate::supervisor) struct View {
    server: Server,
    machine: Machine,
}

impl View {
    /// Those behind `device`, of a tenant whose root is the uid `owner` and whose init has been executed at `booted`.
    pub(in crate::supervisor) fn new(device: OwnedFd, owner: u32, cgroups: Cgroups, booted: Instant) -> Self {
        let load = Load::begin(booted);
        let machine = Machine { cgroups, booted, booted_at: SystemTime::now(), load };
        Self { server: Server::new(device, owner), machine }
    }

    /// Answers what has been asked by now.
    ///
    /// # Errors
    /// They are mounted nowhere any more.
    pub(in crate::supervisor) fn serve(&mut self, now: Instant) -> io::Result<()> {
        self.server.serve(&mut self.machine, now)
    }

    /// Lets go of texts that are too old to be used again.
    pub(in crate::supervisor) fn rest(&mut self, now: Instant) {
        self.server.rest(now);
    }
}

impl AsFd for View {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.server.as_fd()
    }
}

/// What a tenant sees as its machine.
#[derive(Debug)]
struct Machine {
    cgroups: Cgroups,
    booted: Instant,
    booted_at: SystemTime,
    load: Load,
}

impl Machine {
    fn text_of(&mut self, file: ResourceFile) -> String {
        let of_host = |file: ResourceFile| fs::read_to_string(file.covers()).unwrap_or_default();
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.booted);
        match file {
            ResourceFile::Meminfo => self.cgroups.memory().meminfo(&of_host(file)),
            ResourceFile::Swaps => self.cgroups.memory().swaps(&of_host(ResourceFile::Meminfo)),
            ResourceFile::Cpuinfo => self.cgroups.cpus().cpuinfo(&of_host(file)),
            ResourceFile::Online => self.cgroups.cpus().online(),
            ResourceFile::Stat => {
                let booted = self.booted_at.duration_since(SystemTime::UNIX_EPOCH);
                let booted = booted.map_or(0, |since| since.as_secs());
                self.cgroups.cpus().stat(&self.cgroups.usage(elapsed), booted)
            }
            ResourceFile::Loadavg => {
                let usage = self.cgroups.usage(elapsed);
                self.load.look(usage.user + usage.system + self.cgroups.waited(), now);
                self.load.text(usage.tasks)
            }
        }
    }
}

impl Texts for Machine {
    fn text(&mut self, file: ResourceFile) -> Vec<u8> {
        self.text_of(file).into_bytes()
    }
}
