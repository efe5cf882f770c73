//! System calls by number, as programs of 64 and of 32 bits make them.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    num::NonZeroUsize,
    process::{Command, Stdio},
    str::FromStr,
};

use nix::errno::Errno;

/// One call: `ARCHITECTURE:NUMBER:ARGUMENT,…`, the architecture `x86_64` or `i386`.
#[derive(Debug)]
struct Call {
    is_32_bit: bool,
    number: u32,
    arguments: [u64; 6],
}

impl FromStr for Call {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let mut parts = text.split(':');
        let (Some(arch), Some(number), Some(list)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(io::Error::other(format!("{text:?} is no call")));
        };
        let mut arguments = [0; 6];
        for (place, word) in arguments.iter_mut().zip(list.split(',').filter(|word| !word.is_empty())) {
            *place = super::words::number(word)?;
        }
        Ok(Self { is_32_bit: arch == "i386", number: super::words::number(number)?, arguments })
    }
}

impl Call {
    fn make(&self) -> i64 {
        if self.is_32_bit { self.make_32_bit() } else { self.make_64_bit() }
    }

    fn make_64_bit(&self) -> i64 {
        let [a, b, c, d, e, f] = self.arguments;
        // SAFETY: the callers of this program give numbers as arguments, none of which is the address of
        // anything: a call that takes one fails with EFAULT.
        let result = unsafe { nix::libc::syscall(self.number.into(), a, b, c, d, e, f) };
        if result == -1 { -i64::from(Errno::last_raw()) } else { result }
    }

    /// By the interrupt that 32-bit programs use, which a 64-bit one can raise as well.
    #[cfg(target_arch = "x86_64")]
    fn make_32_bit(&self) -> i64 {
        let arguments = self.arguments.map(|argument| argument as u32);
        let mut result = self.number as i32;
        // SAFETY: as above; the registers that the kernel changes are named, those that the compiler
        // keeps for itself are saved on the stack and restored.
        unsafe {
            std::arch::asm!(
                "push rbx",
                "push rbp",
                "mov ebx, [rdi]",
                "mov ecx, [rdi + 4]",
                "mov edx, [rdi + 8]",
                "mov esi, [rdi + 12]",
                "mov ebp, [rdi + 20]",
                "mov edi, [rdi + 16]",
                "int 0x80",
                "pop rbp",
                "pop rbx",
                inout("eax") result,
                inout("rdi") arguments.as_ptr() => _,
                out("rcx") _,
                out("rdx") _,
                out("rsi") _,
                out("r8") _,
                out("r9") _,
                out("r10") _,
                out("r11") _,
            );
        }
        result.into()
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn make_32_bit(&self) -> i64 {
        -i64::from(Errno::ENOSYS as i32)
    }
}

/// Makes each call of a list in a process of its own, for some may end it, and prints a line for each.
pub(super) fn each(list: &str) -> io::Result<()> {
    for call in list.split_ascii_whitespace() {
        let child = Command::new("/proc/self/exe").args(["call", call]).stderr(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&child.stdout);
        super::words::say(&match said.trim() {
            "" => format!("{}", child.status),
            said => said.to_owned(),
        })?;
    }
    Ok(())
}

/// Makes one call and prints what it returned: the name of an error, or a number.
pub(super) fn one(text: &str) -> io::Result<()> {
    let result = text.parse::<Call>()?.make();
    match i32::try_from(-result) {
        Ok(errno @ 1..4096) => super::words::say(&format!("{:?}", Errno::from_raw(errno))),
        _ => super::words::say(&result.to_string()),
    }
}

/// Maps a file, reads a byte of each page, and advises the kernel to take the pages out of memory.
pub(super) fn page_out(path: &str) -> io::Result<()> {
    use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};

    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let length = NonZeroUsize::new(length).ok_or(io::ErrorKind::UnexpectedEof)?;
    // SAFETY: a new mapping at a place that the kernel chooses; it is this function's own until the program
    // ends, and the file is one that nothing writes to.
    let pages = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &file, 0) }?;
    // SAFETY: as many bytes as were mapped.
    let bytes = unsafe { std::slice::from_raw_parts(pages.cast::<u8>().as_ptr(), length.get()) };
    let sum = bytes.iter().step_by(4096).fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    // SAFETY: the mapping above; this advice changes no byte of it.
    unsafe { madvise(pages, length.get(), MmapAdvise::MADV_PAGEOUT) }?;
    super::words::say(&format!("advised {sum}"))
}
