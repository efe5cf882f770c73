//! Which system calls are looked at, and how each of them may fail.

use nix::errno::Errno::{self, EINTR, EIO, EMFILE, ENOBUFS, ENOMEM, ENOSPC};
use syscalls::Sysno;

/// Calls by what they do, and the errors that Linux documents for them, or that its filesystems and drivers are known
/// to return.
const TABLE: &[(&[&str], &[Errno])] = &[
    // Names in directories.
    (
        &[
            "mkdir",
            "mkdirat",
            "rename",
            "renameat",
            "renameat2",
            "link",
            "linkat",
            "symlink",
            "symlinkat",
            "mknod",
            "mknodat",
        ],
        &[ENOSPC, EIO, ENOMEM],
    ),
    (&["unlink", "unlinkat", "rmdir"], &[EIO, ENOMEM]),
    (&["open", "openat", "openat2", "creat"], &[ENOMEM, EMFILE, EIO, ENOSPC]),
    (
        &["chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "utimensat"],
        &[EIO],
    ),
    (&["setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"], &[ENOSPC, EIO]),
    // What is in files.
    (&["write", "pwrite64", "writev", "copy_file_range", "sendfile", "fallocate"], &[ENOSPC, EIO, EINTR]),
    (&["read", "pread64"], &[EIO, EINTR]),
    (&["getdents64", "statx", "newfstatat", "readlink", "readlinkat", "statfs", "fstatfs"], &[EIO, ENOMEM]),
    (&["ftruncate", "truncate"], &[EIO, EINTR]),
    (&["fsync", "fdatasync", "syncfs"], &[EIO, ENOSPC]),
    (&["flock"], &[EINTR, ENOMEM]),
    // Mounts.
    (
        &[
            "mount",
            "umount2",
            "fsopen",
            "fsmount",
            "fspick",
            "fsconfig",
            "move_mount",
            "open_tree",
            "mount_setattr",
            "pivot_root",
            "chroot",
            "chdir",
            "fchdir",
        ],
        &[ENOMEM, EIO],
    ),
    // Processes and namespaces.
    (&["fork", "vfork", "clone", "clone3", "execve", "execveat"], &[ENOMEM]),
    (&["unshare"], &[ENOMEM, ENOSPC]),
    (&["setns"], &[ENOMEM]),
    (&["wait4", "waitid", "poll", "ppoll"], &[EINTR]),
    (&["pidfd_open", "pidfd_getfd"], &[ENOMEM, EMFILE]),
    (&["pidfd_send_signal", "kill"], &[ENOMEM]),
    (
        &["setresuid", "setresgid", "setgroups", "setsid", "capset", "prctl", "prlimit64", "sethostname"],
        &[ENOMEM],
    ),
    (&["bpf", "seccomp"], &[ENOMEM]),
    // Sockets and other descriptors.
    (&["socket", "socketpair", "accept4", "pipe2"], &[ENOMEM, EMFILE]),
    (&["epoll_create1", "epoll_ctl", "eventfd2", "signalfd4", "timerfd_create", "inotify_init1"], &[ENOMEM]),
    (&["inotify_add_watch"], &[ENOSPC]),
    (&["dup", "dup3", "memfd_create"], &[EMFILE]),
    (&["bind", "listen", "connect", "setsockopt"], &[ENOMEM]),
    (&["sendto", "sendmsg"], &[ENOMEM, ENOBUFS, EINTR]),
    (&["recvfrom", "recvmsg"], &[ENOMEM, EINTR]),
    (&["ioctl"], &[EIO, ENOMEM]),
];

/// The calls that this machine has, with the errors of each.
pub(crate) fn all() -> impl Iterator<Item = (Sysno, &'static [Errno])> {
    TABLE
        .iter()
        .flat_map(|(names, errors)| names.iter().map(move |name| (name, *errors)))
        .filter_map(|(name, errors)| Some((name.parse().ok()?, errors)))
}
