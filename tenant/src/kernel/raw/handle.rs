//! By what the kernel knows a file: name_to_handle_at(2).

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// `MAX_HANDLE_SZ` of linux/fcntl.h, bytes.
const MOST: usize = 128;

/// `struct file_handle` of linux/fcntl.h, with room for the longest one.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    handle: [u8; MOST],
}

/// What a handle is asked of: the file that is open itself, or one in the directory that is open.
#[derive(Clone, Copy, Debug)]
pub enum HandleOf<'a> {
    /// The file. Nothing is asked of its filesystem but its own record of the file: it may be a filesystem in user space.
    File,
    /// A file by its name in the directory; a link is not followed.
    Entry(&'a CStr),
}

/// The handle of a file: a number for its form, and the bytes. Of a filesystem that has none that could be opened, an
/// overlay say, the one that only tells files apart (`AT_HANDLE_FID`, Linux 6.5). `fd` may be an `O_PATH` one.
///
/// # Errors
/// The kernel's: `EOPNOTSUPP` for a filesystem without handles, `EINVAL` for [`HandleOf::File`] before Linux 6.5.
pub fn file_handle(fd: BorrowedFd<'_>, of: HandleOf<'_>) -> io::Result<(i32, Vec<u8>)> {
    /// `AT_HANDLE_FID` of linux/fcntl.h.
    const FID: i32 = 0x200;
    let mut handle = Handle { bytes: MOST as u32, kind: 0, handle: [0; MOST] };
    let mut mount = 0_i32;
    let (name, flags) = match of {
        HandleOf::File => (c"", FID | libc::AT_EMPTY_PATH),
        HandleOf::Entry(name) => (name, 0),
    };
    // SAFETY: `name` ends with a NUL, `handle` has the layout of struct file_handle with as many bytes behind it as it
    // says, `mount` is the int that the call writes; all of them outlive it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd.as_raw_fd(),
            name.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            flags,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let length = (handle.bytes as usize).min(MOST);
    Ok((handle.kind, handle.handle[..length].to_vec()))
}
