//! The filter of system calls: the plan's table as one program of classic BPF, see seccomp(2).
//!
//! ```text
//! architecture ─┬─ the host's own ──▶ number ─┬─ newer than the table, x32 ──▶ ENOSYS
//!               ├─ its 32-bit one ──▶   …     ├─ in the table, by binary search ──▶ arguments ──▶ answer
//!               └─ another ──▶ ENOSYS         └─ else ──▶ allowed
//! ```
//!
//! Only number and architecture decide about most calls, so the kernel remembers for each of them that it
//! is allowed, and does not run the program at all.

mod arch;
mod bpf;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO};

use self::{
    arch::{Arch, Call, HOSTS},
    bpf::{Is, Piece},
};
use crate::{
    kernel::raw::Instruction,
    plan::{Answer, Condition, Deny, SecurityPlan, Test},
};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What a tracer puts in place of the number of a call that is not to be made, see ptrace(2).
const NO_CALL: u32 = u32::MAX;

/// The program for this host's architecture.
pub(super) fn compile(plan: &SecurityPlan) -> Vec<Instruction> {
    let host = HOSTS.iter().find(|(name, _)| *name == std::env::consts::ARCH);
    let (_, architectures) = host.expect("Tenantry does not support this architecture");
    compile_for(plan, architectures)
}

fn compile_for(plan: &SecurityPlan, architectures: &[&Arch]) -> Vec<Instruction> {
    let known = architectures.iter().rev().fold(refuse(Answer::NotImplemented), |others, arch| {
        Piece::branch(Is::Equal, arch.audit, calls_of(arch, plan), others)
    });
    known.after_load(ARCHITECTURE).into_program()
}

/// All calls of one architecture.
fn calls_of(arch: &Arch, plan: &SecurityPlan) -> Piece {
    let mut rows: BTreeMap<u32, Vec<(Call, &Deny)>> = BTreeMap::new();
    for deny in &plan.denied {
        for call in arch.calls(deny.syscall) {
            rows.entry(call.number).or_default().push((call, deny));
        }
    }
    let calls: Vec<(u32, Piece)> = rows.into_iter().map(|(number, rows)| (number, answer(&rows))).collect();
    Piece::branch(Is::Above, plan.newest.1, unknown(arch), search(&calls)).after_load(NUMBER)
}

/// A call that is not in the kernel's table as it was when the plan's was made.
fn unknown(arch: &Arch) -> Piece {
    let refused = match &arch.private {
        None => refuse(Answer::NotImplemented),
        Some(private) => {
            let allowed =
                Piece::branch(Is::NotBelow, *private.start(), allow(), refuse(Answer::NotImplemented));
            Piece::branch(Is::Above, *private.end(), refuse(Answer::NotImplemented), allowed)
        }
    };
    Piece::branch(Is::Equal, NO_CALL, allow(), refused)
}

/// Finds a call among those of the table, sorted by number; others are allowed.
fn search(calls: &[(u32, Piece)]) -> Piece {
    match calls {
        [] => allow(),
        [(number, answer)] => Piece::branch(Is::Equal, *number, answer.clone(), allow()),
        _ => {
            let (lower, upper) = calls.split_at(calls.len() / 2);
            Piece::branch(Is::NotBelow, upper[0].0, search(upper), search(lower))
        }
    }
}

/// The answer to one call: that of the first row that matches, or it is allowed.
fn answer(rows: &[(Call, &Deny)]) -> Piece {
    rows.iter().rev().fold(allow(), |others, (call, deny)| {
        let refused = refuse(deny.answer);
        deny.only.iter().rev().fold(refused, |yes, condition| when(*call, condition, yes, others.clone()))
    })
}

fn when(call: Call, condition: &Condition, yes: Piece, no: Piece) -> Piece {
    let compared = match condition.test {
        Test::Is((_, value)) => Piece::branch(Is::Equal, value, yes, no),
        Test::NoneOf(values) => Piece::any_of(values.iter().map(|(_, value)| *value), no, yes),
    };
    compared.after_load(low_word(call.moved.unwrap_or(condition.index)))
}

/// Where the low 32 bits of an argument are. The kernel takes no more of an `int`, so what a program puts
/// above them must not matter.
fn low_word(index: u8) -> u32 {
    let word = if cfg!(target_endian = "big") { 4 } else { 0 };
    ARGUMENTS + 8 * u32::from(index) + word
}

fn allow() -> Piece {
    Piece::answer(SECCOMP_RET_ALLOW)
}

fn refuse(answer: Answer) -> Piece {
    let errno = match answer {
        Answer::NotPermitted => libc::EPERM,
        Answer::NotImplemented => libc::ENOSYS,
        Answer::NoFamily => libc::EAFNOSUPPORT,
        Answer::NoProtocol => libc::EPROTONOSUPPORT,
        Answer::Done => 0,
    };
    Piece::answer(SECCOMP_RET_ERRNO | errno as u32)
}
