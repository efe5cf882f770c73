//! Files below `/proc/sys` that a tenant may not write, in whatever instance of proc(5) it finds them: a program that
//! the kernel asks at every read(2) and write(2) there.
//!
//! See `struct bpf_sysctl` and `bpf_sysctl_get_name()` in linux/bpf.h.

use std::path::Path;

use super::{
    KernelError, Result,
    bpf::{
        ADD, ARGUMENTS, CALL, CONTEXT, EXIT, Instruction, JUMP_IF_NOT, MOVE, RESULT, STACK_END, STORE_DOUBLE,
        attach, skip_to_end,
    },
    raw::CgroupProgram,
};

/// Room for a name on the program's stack, a multiple of 8.
const ROOM: i16 = 128;
/// Number of the helper `bpf_sysctl_get_name`.
const GET_NAME: i32 = 101;
/// Register for a part of the name.
const PART: u8 = 2;

fn answer(value: i32) -> [Instruction; 2] {
    [Instruction::new(MOVE, RESULT, value), Instruction::new(EXIT, 0, 0)]
}

/// The whole program: 0, which is EPERM, for a write of one of these, else 1. The names are relative to `/proc/sys`.
fn program(refused: &[&str]) -> Vec<Instruction> {
    // Whether it is a write.
    let mut program = vec![
        Instruction::load_word(RESULT, CONTEXT, 0),
        Instruction { offset: 2, ..Instruction::new(JUMP_IF_NOT, RESULT, 0) },
    ];
    program.extend(answer(1));
    for offset in (-ROOM..0).step_by(8) {
        program.push(Instruction { offset, ..Instruction::new(STORE_DOUBLE, STACK_END, 0) });
    }
    let [_, buffer, length, flags] = ARGUMENTS;
    program.extend([
        Instruction::copy(buffer, STACK_END),
        Instruction::new(ADD, buffer, (-ROOM).into()),
        Instruction::new(MOVE, length, ROOM.into()),
        Instruction::new(MOVE, flags, 0),
        Instruction::new(CALL, 0, GET_NAME),
    ]);
    for name in refused {
        program.extend(refuse(name));
    }
    program.extend(answer(1));
    program
}

/// The part of the program that refuses one name: four bytes at a time, with the zero at its end. What the kernel leaves
/// of the room is zero as before.
fn refuse(name: &str) -> Vec<Instruction> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize((name.len() + 1).next_multiple_of(4), 0);
    let words = bytes.chunks_exact(4).map(|word| i32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    let mut tests: Vec<Instruction> = words
        .zip((-ROOM..0).step_by(4))
        .flat_map(|(word, offset)| {
            [Instruction::load_word(PART, STACK_END, offset), Instruction::new(JUMP_IF_NOT, PART, word)]
        })
        .collect();
    tests.extend(answer(0));
    skip_to_end(&mut tests);
    tests
}

/// Refuses to the processes of a cgroup and below every write of these files. Goes with the cgroup.
pub(super) fn control(cgroup: &Path, refused: &[&str]) -> Result<()> {
    attach(CgroupProgram::Sysctl, cgroup, program(refused))
        .map_err(|error| KernelError::new("control the sysctls of cgroup", cgroup.display(), error))
}

#[cfg(test)]
mod tests {
    use super::{
        super::bpf::{LOAD_WORD, MOVE_REGISTER},
        *,
    };

    /// Runs a program as the kernel would, for an access to a file.
    fn run(program: &[Instruction], is_write: bool, name: &str) -> u64 {
        let mut registers = [0_u64; 11];
        let mut stack = [0xff_u8; 512];
        let address = |offset: i16| (512 + i32::from(offset)) as usize;
        let mut place = 0;
        loop {
            let Instruction { opcode, to, from, offset, value } = program[place];
            let (to, from) = (usize::from(to), usize::from(from));
            place += 1;
            match opcode {
                LOAD_WORD if from == usize::from(CONTEXT) => registers[to] = is_write.into(),
                LOAD_WORD => {
                    let word = stack[address(offset)..][..4].try_into().unwrap();
                    registers[to] = u32::from_ne_bytes(word).into();
                }
                MOVE_REGISTER => registers[to] = registers[from],
                JUMP_IF_NOT if registers[to] != value as u64 => {
                    assert!(offset > 0, "only forwards");
                    place += offset as usize;
                }
                JUMP_IF_NOT | ADD => {}
                MOVE => registers[to] = value as u64,
                STORE_DOUBLE => stack[address(offset)..address(offset) + 8].fill(0),
                CALL => {
                    assert_eq!((value, registers[3]), (GET_NAME, ROOM as u64));
                    stack[address(-ROOM)..][..name.len()].copy_from_slice(name.as_bytes());
                }
                EXIT => return registers[0],
                _ => panic!("opcode {opcode:#x}"),
            }
        }
    }

    #[test]
    fn only_writes_of_the_names_are_refused() {
        let refused = ["net/a/one", "net/a/other"];
        let program = program(&refused);
        for name in refused {
            assert_eq!((run(&program, true, name), run(&program, false, name)), (0, 1), "{name}");
        }
        for name in ["net/a/on", "net/a/one_more", "a/one", "kernel/x", ""] {
            assert_eq!(run(&program, true, name), 1, "{name}");
        }
    }
}
