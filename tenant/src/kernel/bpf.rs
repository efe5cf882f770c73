//! Small programs that the kernel asks before a tenant's processes do something, written instruction by instruction.
//!
//! See bpf(2) and `Documentation/bpf/standardization/instruction-set.rst`.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use super::raw::{self, CgroupProgram};

/// Registers: the result, the first arguments of a call, of which the first is also the context at the beginning, and
/// the end of the stack.
pub(super) const RESULT: u8 = 0;
pub(super) const CONTEXT: u8 = 1;
pub(super) const ARGUMENTS: [u8; 4] = [1, 2, 3, 4];
pub(super) const STACK_END: u8 = 10;

/// Opcodes: class, source and operation in one byte.
pub(super) const LOAD_WORD: u8 = 0x61;
pub(super) const STORE_DOUBLE: u8 = 0x7a;
pub(super) const ADD: u8 = 0x07;
pub(super) const MOVE: u8 = 0xb7;
pub(super) const MOVE_REGISTER: u8 = 0xbf;
pub(super) const AND: u8 = 0x57;
pub(super) const SHIFT_RIGHT: u8 = 0x77;
pub(super) const JUMP_IF_NOT: u8 = 0x55;
pub(super) const JUMP_IF: u8 = 0x15;
pub(super) const LOAD_LONG: u8 = 0x18;
pub(super) const CALL: u8 = 0x85;
pub(super) const EXIT: u8 = 0x95;

/// One instruction of eBPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) opcode: u8,
    pub(super) to: u8,
    pub(super) from: u8,
    pub(super) offset: i16,
    pub(super) value: i32,
}

impl Instruction {
    pub(super) fn new(opcode: u8, to: u8, value: i32) -> Self {
        Self { opcode, to, from: 0, offset: 0, value }
    }

    /// Four bytes at an address.
    pub(super) fn load_word(to: u8, from: u8, offset: i16) -> Self {
        Self { from, offset, ..Self::new(LOAD_WORD, to, 0) }
    }

    pub(super) fn copy(to: u8, from: u8) -> Self {
        Self { from, ..Self::new(MOVE_REGISTER, to, 0) }
    }

    /// `struct bpf_insn`.
    fn encode(self) -> [u8; 8] {
        let registers = match cfg!(target_endian = "little") {
            true => self.to | self.from << 4,
            false => self.to << 4 | self.from,
        };
        let ([a, b], [c, d, e, f]) = (self.offset.to_ne_bytes(), self.value.to_ne_bytes());
        [self.opcode, registers, a, b, c, d, e, f]
    }
}

/// Lets every jump in a part of a program lead to what comes after the part.
pub(super) fn skip_to_end(part: &mut [Instruction]) {
    let length = part.len();
    for (place, instruction) in part.iter_mut().enumerate() {
        if instruction.opcode == JUMP_IF_NOT {
            // It counts from the instruction behind the jump.
            instruction.offset = (length - place - 1) as i16;
        }
    }
}

fn load(kind: CgroupProgram, program: Vec<Instruction>) -> io::Result<OwnedFd> {
    let program: Vec<[u8; 8]> = program.into_iter().map(Instruction::encode).collect();
    raw::bpf_load(kind, &program)
}

/// Has the kernel ask a program for the processes of a cgroup and below. It goes with the cgroup.
pub(super) fn attach(kind: CgroupProgram, cgroup: &Path, program: Vec<Instruction>) -> io::Result<()> {
    let dir = File::open(cgroup)?;
    raw::bpf_attach(kind, dir.as_fd(), load(kind, program)?.as_fd())
}

/// [`attach`], until the descriptor is closed.
pub(super) fn link(kind: CgroupProgram, cgroup: &Path, program: Vec<Instruction>) -> io::Result<OwnedFd> {
    let dir = File::open(cgroup)?;
    raw::bpf_link(kind, dir.as_fd(), load(kind, program)?.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_encoded_as_the_kernel_reads_it() {
        // llvm-objdump: r3 = *(u32 *)(r1 + 0x0); if r4 != 0x88 goto +0x3
        assert_eq!(Instruction::load_word(3, 1, 0).encode(), [0x61, 0x13, 0, 0, 0, 0, 0, 0]);
        let jump = Instruction { offset: 3, ..Instruction::new(JUMP_IF_NOT, 4, 136) };
        assert_eq!(jump.encode(), [0x55, 0x04, 3, 0, 0x88, 0, 0, 0]);
    }
}
