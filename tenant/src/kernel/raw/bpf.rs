//! Programs that the kernel asks before the processes of a cgroup do something, see bpf(2).

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// What a program is asked about; see `enum bpf_prog_type` and `enum bpf_attach_type` in linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupProgram {
    /// open(2) and mknod(2) of a device node: `BPF_PROG_TYPE_CGROUP_DEVICE`.
    Device,
    /// Reading and writing of a file below `/proc/sys`: `BPF_PROG_TYPE_CGROUP_SYSCTL`.
    Sysctl,
    /// A packet that has come to a socket: `BPF_PROG_TYPE_CGROUP_SKB`.
    Ingress,
}

impl CgroupProgram {
    fn program_type(self) -> u32 {
        match self {
            Self::Device => 15,
            Self::Sysctl => 23,
            Self::Ingress => 8,
        }
    }

    fn attach_type(self) -> u32 {
        match self {
            Self::Device => 6,
            Self::Sysctl => 18,
            Self::Ingress => 0,
        }
    }

    /// What `bpftool prog` calls it; at most 15 bytes.
    fn name(self) -> [u8; 16] {
        match self {
            Self::Device => *b"tenant_devices\0\0",
            Self::Sysctl => *b"tenant_sysctls\0\0",
            Self::Ingress => *b"tenant_packets\0\0",
        }
    }
}

/// `union bpf_attr` of bpf(2), as large as any kernel's: what is behind the fields in use is zero, and
/// some kernels copy the whole of what they know back.
#[repr(C, align(8))]
struct BpfAttr([u8; 256]);

impl BpfAttr {
    fn new() -> Self {
        Self([0; 256])
    }

    fn put<const N: usize>(mut self, at: usize, bytes: [u8; N]) -> Self {
        self.0[at..at + N].copy_from_slice(&bytes);
        self
    }
}

fn bpf(command: libc::c_int, attr: &mut BpfAttr) -> io::Result<i32> {
    // SAFETY: `attr` has the size given and outlives the call; the pointers in it were put there by
    // callers whose buffers outlive it too, and the kernel only reads through them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr.0, size_of::<BpfAttr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Loads a program, one `struct bpf_insn` an element. The descriptor is close-on-exec.
///
/// # Errors
/// The kernel's; `EINVAL` or `EACCES` for a program that its verifier refuses.
pub fn bpf_load(kind: CgroupProgram, instructions: &[[u8; 8]]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    // Only programs that call GPL-only helpers need more; these call none.
    const LICENSE: &CStr = c"";
    let count = u32::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut attr = BpfAttr::new()
        .put(0, kind.program_type().to_ne_bytes())
        .put(4, count.to_ne_bytes())
        .put(8, (instructions.as_ptr() as u64).to_ne_bytes())
        .put(16, (LICENSE.as_ptr() as u64).to_ne_bytes())
        .put(48, kind.name())
        .put(68, kind.attach_type().to_ne_bytes());
    let fd = bpf(BPF_PROG_LOAD, &mut attr)?;
    // SAFETY: the kernel has just returned this descriptor, so it is open and not another's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches such a program to a cgroup v2 directory, in addition to those that are attached there, above or
/// below: all of them have to allow a request.
///
/// # Errors
/// The kernel's.
pub fn bpf_attach(kind: CgroupProgram, cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const BPF_PROG_ATTACH: libc::c_int = 8;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let mut attr = BpfAttr::new()
        .put(0, cgroup.as_raw_fd().to_ne_bytes())
        .put(4, program.as_raw_fd().to_ne_bytes())
        .put(8, kind.attach_type().to_ne_bytes())
        .put(12, BPF_F_ALLOW_MULTI.to_ne_bytes());
    bpf(BPF_PROG_ATTACH, &mut attr).map(drop)
}

/// Attaches such a program as [`bpf_attach`] does, for as long as the descriptor that is returned is open.
///
/// # Errors
/// The kernel's.
pub fn bpf_link(kind: CgroupProgram, cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const BPF_LINK_CREATE: libc::c_int = 28;
    let mut attr = BpfAttr::new()
        .put(0, program.as_raw_fd().to_ne_bytes())
        .put(4, cgroup.as_raw_fd().to_ne_bytes())
        .put(8, kind.attach_type().to_ne_bytes());
    let fd = bpf(BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel has just returned this descriptor, so it is open and not another's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A ring buffer that programs write to: it is readable, see poll(2), once something is in it. `size` is a power of 2 and
/// a multiple of the page size, bytes.
///
/// # Errors
/// The kernel's.
pub fn bpf_ring(size: u32) -> io::Result<OwnedFd> {
    const BPF_MAP_CREATE: libc::c_int = 0;
    const BPF_MAP_TYPE_RINGBUF: u32 = 27;
    let mut attr = BpfAttr::new().put(0, BPF_MAP_TYPE_RINGBUF.to_ne_bytes()).put(12, size.to_ne_bytes());
    let fd = bpf(BPF_MAP_CREATE, &mut attr)?;
    // SAFETY: the kernel has just returned this descriptor, so it is open and not another's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
