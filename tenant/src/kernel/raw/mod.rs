//! System calls that neither rustix nor nix has in the form needed here: the only unsafe code.
//!
//! | file | what it handles |
//! |---|---|
//! | `process` | clone3(2), pidfds |
//! | `spawn` | programs that are born in a cgroup, of a process with threads |
//! | `own` | what a process changes of itself |
//! | `signals` | what signals do to it |
//! | `descriptors` | terminals, sockets, and those that are closed |
//! | `mount` | attributes of mounts |
//! | `files` | what a file is besides its bytes: projects and their quotas, fs-verity |
//! | `handle` | by what the kernel knows a file |
//! | `bpf` | programs that the kernel asks for each cgroup |
//! | `packets` | packets that do not come from a stack |
#![allow(unsafe_code)]

mod bpf;
mod descriptors;
mod files;
mod handle;
mod mount;
mod own;
mod packets;
mod process;
mod signals;
mod spawn;

pub use bpf::{CgroupProgram, bpf_attach, bpf_link, bpf_load, bpf_ring};
pub use descriptors::{cloexec_from, close_except, open_pty_peer, peer_groups, set_controlling_tty};
pub use files::{
    ProjectQuota, enable_verity, project, project_quota, set_project, set_project_quota, verity_digest,
};
pub use handle::{HandleOf, file_handle};
pub use mount::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, mount_setattr};
pub use own::{
    Instruction, keep_heap_small, new_session_keyring, overwrite_arguments, reset_io_priority,
    reset_scheduling_on_fork, seccomp, trim_heap, trim_stack,
};
pub use packets::{packet_send, tun_create};
pub use process::{
    CLONE_NEWTIME, Fork, Parent, clone3, end_child, exit, kill, pidfd_signal, pidfd_signal_group,
};
pub use signals::{catch_signals, default_signals, wait_signal};
pub use spawn::{Program, spawn_in_cgroup};
