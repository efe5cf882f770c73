//! Device control of cgroup v2: a small program that the kernel asks at every open(2) and mknod(2) of a
//! device node. It needs no controller, so it works on hosts with cgroup v1 controllers as well.
//!
//! See `struct bpf_cgroup_dev_ctx` in linux/bpf.h.

use std::path::Path;

use super::{
    KernelError, Result,
    bpf::{AND, CONTEXT, EXIT, Instruction, JUMP_IF_NOT, MOVE, RESULT, SHIFT_RIGHT, attach, skip_to_end},
    raw::CgroupProgram,
};
use crate::model::device::{DeviceClass, DeviceRule};

/// `BPF_DEVCG_DEV_BLOCK`, `BPF_DEVCG_DEV_CHAR`.
const TYPE_BLOCK: i32 = 1;
const TYPE_CHAR: i32 = 2;
/// `BPF_DEVCG_ACC_MKNOD`, `BPF_DEVCG_ACC_READ`, `BPF_DEVCG_ACC_WRITE`.
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const ACCESS_ALL: i32 = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE;

/// Registers for what is loaded from the context.
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

fn access(rule: &DeviceRule) -> i32 {
    let bits = [(rule.read, ACCESS_READ), (rule.write, ACCESS_WRITE), (rule.mknod, ACCESS_MKNOD)];
    bits.into_iter().filter(|(allowed, _)| *allowed).fold(0, |all, (_, bit)| all | bit)
}

/// The part of the program that lets through what one rule allows.
fn allow(rule: &DeviceRule) -> Vec<Instruction> {
    let mut tests = Vec::new();
    match rule.class {
        DeviceClass::All => {}
        DeviceClass::Block => tests.push(Instruction::new(JUMP_IF_NOT, TYPE, TYPE_BLOCK)),
        DeviceClass::Char => tests.push(Instruction::new(JUMP_IF_NOT, TYPE, TYPE_CHAR)),
    }
    if access(rule) != ACCESS_ALL {
        tests.push(Instruction::copy(SCRATCH, ACCESS));
        tests.push(Instruction::new(AND, SCRATCH, ACCESS_ALL & !access(rule)));
        tests.push(Instruction::new(JUMP_IF_NOT, SCRATCH, 0));
    }
    // Both have at most 20 bits.
    tests.extend(rule.major.map(|major| Instruction::new(JUMP_IF_NOT, MAJOR, major as i32)));
    tests.extend(rule.minor.map(|minor| Instruction::new(JUMP_IF_NOT, MINOR, minor as i32)));
    tests.extend([Instruction::new(MOVE, RESULT, 1), Instruction::new(EXIT, 0, 0)]);
    skip_to_end(&mut tests);
    tests
}

/// The whole program: 1 for a request that one of the rules allows, else 0, which is EPERM.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        Instruction::load_word(ACCESS, CONTEXT, 0),
        Instruction::copy(TYPE, ACCESS),
        Instruction::new(AND, TYPE, 0xffff),
        Instruction::new(SHIFT_RIGHT, ACCESS, 16),
        Instruction::load_word(MAJOR, CONTEXT, 4),
        Instruction::load_word(MINOR, CONTEXT, 8),
    ];
    for rule in rules {
        program.extend(allow(rule));
        let is_last = rule.class == DeviceClass::All
            && rule.major.is_none()
            && rule.minor.is_none()
            && access(rule) == ACCESS_ALL;
        if is_last {
            // The verifier refuses instructions that nothing leads to.
            return program;
        }
    }
    program.extend([Instruction::new(MOVE, RESULT, 0), Instruction::new(EXIT, 0, 0)]);
    program
}

/// Lets the processes of a cgroup and below use the devices that the rules allow, and no others. Goes
/// with the cgroup.
pub(super) fn control(cgroup: &Path, rules: &[DeviceRule]) -> Result<()> {
    attach(CgroupProgram::Device, cgroup, program(rules))
        .map_err(|error| KernelError::new("control the devices of cgroup", cgroup.display(), error))
}

#[cfg(test)]
mod tests {
    use super::{
        super::bpf::{LOAD_WORD, MOVE_REGISTER},
        *,
    };

    /// A request of the kernel, and what the rules say of it by the definition of the notation.
    fn expected(rules: &[DeviceRule], kind: i32, wanted: i32, major: u32, minor: u32) -> bool {
        rules.iter().any(|rule| {
            let kinds: &[i32] = match rule.class {
                DeviceClass::All => &[TYPE_BLOCK, TYPE_CHAR],
                DeviceClass::Block => &[TYPE_BLOCK],
                DeviceClass::Char => &[TYPE_CHAR],
            };
            kinds.contains(&kind)
                && rule.major.is_none_or(|number| number == major)
                && rule.minor.is_none_or(|number| number == minor)
                && wanted & !access(rule) == 0
        })
    }

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], kind: i32, wanted: i32, major: u32, minor: u32) -> bool {
        let context = [(wanted << 16 | kind) as u32, major, minor];
        let mut registers = [0_u64; 11];
        let mut place = 0;
        loop {
            let Instruction { opcode, to, from, offset, value } = program[place];
            let (to, from) = (usize::from(to), usize::from(from));
            place += 1;
            match opcode {
                LOAD_WORD => {
                    assert_eq!(from, usize::from(CONTEXT));
                    registers[to] = context[offset as usize / 4].into();
                }
                MOVE => registers[to] = value as u64,
                MOVE_REGISTER => registers[to] = registers[from],
                AND => registers[to] &= value as u64,
                SHIFT_RIGHT => registers[to] >>= value,
                JUMP_IF_NOT if registers[to] != value as u64 => {
                    assert!(offset > 0, "only forwards");
                    place += offset as usize;
                }
                JUMP_IF_NOT => {}
                EXIT => return registers[usize::from(RESULT)] == 1,
                _ => panic!("opcode {opcode:#x}"),
            }
        }
    }

    fn rules(texts: &[&str]) -> Vec<DeviceRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_program_decides_as_the_notation_says() {
        let lists: [&[&str]; 9] = [
            &[],
            &["a"],
            &["c 1:3 rwm"],
            &["c 1:* r"],
            &["c 136:* rw", "c 5:2 rw", "c 1:3 rw", "c 1:5 rw", "c 1:8 rw", "c 1:9 rw"],
            &["b *:* m", "c *:3 w"],
            &["b 8:0 r", "c 8:0 w", "a *:* m"],
            &["c 1048:1048575 rwm", "b 4095:* rw"],
            &["c 1:3 r", "a *:* rwm", "c 1:5 w"],
        ];
        for list in lists {
            let rules = rules(list);
            let program = program(&rules);
            let numbers = [0, 1, 2, 3, 5, 8, 9, 136, 1048, 4095, 1_048_575];
            for (major, minor) in numbers.iter().flat_map(|major| numbers.map(|minor| (*major, minor))) {
                for (kind, wanted) in
                    [TYPE_BLOCK, TYPE_CHAR].iter().flat_map(|kind| (0..8).map(|wanted| (*kind, wanted)))
                {
                    let asked = format!("{list:?}: type {kind} access {wanted} {major}:{minor}");
                    let wanted_answer = expected(&rules, kind, wanted, major, minor);
                    assert_eq!(run(&program, kind, wanted, major, minor), wanted_answer, "{asked}");
                }
            }
        }
    }

    #[test]
    fn every_instruction_can_be_reached() {
        for list in [&[][..], &["a"], &["a", "c 1:3 r"], &["c 1:3 r", "b 8:* rwm"]] {
            let program = program(&rules(list));
            let mut reached = vec![false; program.len()];
            let mut open = vec![0];
            while let Some(place) = open.pop() {
                if std::mem::replace(&mut reached[place], true) {
                    continue;
                }
                match program[place].opcode {
                    EXIT => {}
                    JUMP_IF_NOT => open.extend([place + 1, place + 1 + program[place].offset as usize]),
                    _ => open.push(place + 1),
                }
            }
            assert!(reached.iter().all(|reached| *reached), "{list:?}: {reached:?}");
        }
    }
}
