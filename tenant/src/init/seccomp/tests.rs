//! The shipped table, compiled and run by an interpreter of classic BPF.

use libc::{EAFNOSUPPORT, ENOSYS, EPERM, EPROTONOSUPPORT};

use super::{
    arch::{Arch, HOSTS},
    bpf::{Is, Piece},
    *,
};
use crate::model::syscall::AllowedCall;

/// `struct seccomp_data`.
#[derive(Clone, Copy, Default)]
struct Data {
    number: u32,
    arch: u32,
    args: [u64; 6],
}

impl Data {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            16.. if offset.is_multiple_of(8) => self.args[(offset as usize - 16) / 8] as u32,
            _ => panic!("no argument's low word is at {offset}"),
        }
    }
}

/// Runs a program; what it returns, and how many instructions that took.
fn run(program: &[Instruction], data: &Data) -> (u32, usize) {
    let (mut accumulator, mut at) = (0, 0);
    for count in 1.. {
        let one = program.get(at).expect("a program ends with a return");
        let operation = u32::from(one.code);
        at += 1;
        let jump = |holds: bool| usize::from(if holds { one.jt } else { one.jf });
        match operation {
            _ if operation == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => accumulator = data.word(one.k),
            _ if operation == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => at += jump(accumulator == one.k),
            _ if operation == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K => at += jump(accumulator >= one.k),
            _ if operation == libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K => at += jump(accumulator > one.k),
            _ if operation == libc::BPF_JMP | libc::BPF_JA => at += one.k as usize,
            _ if operation == libc::BPF_RET | libc::BPF_K => return (one.k, count),
            _ => panic!("the kernel would not remember an answer that rests on {operation:#x}"),
        }
    }
    unreachable!("every run ends")
}

/// The answer to a call: none if it is allowed, else the errno.
fn errno(program: &[Instruction], data: &Data) -> Option<i32> {
    match run(program, data).0 {
        SECCOMP_RET_ALLOW => None,
        value if value & !0xffff == SECCOMP_RET_ERRNO => Some((value & 0xffff) as i32),
        other => panic!("{other:#x} is neither allow nor errno"),
    }
}

fn wanted(answer: Answer) -> i32 {
    match answer {
        Answer::NotPermitted => EPERM,
        Answer::NotImplemented => ENOSYS,
        Answer::NoFamily => EAFNOSUPPORT,
        Answer::NoProtocol => EPROTONOSUPPORT,
        Answer::Done => 0,
    }
}

/// Arguments that meet all conditions of a row, with rubbish where the kernel does not look.
fn matching(call: &arch::Call, deny: &Deny) -> [u64; 6] {
    let mut args = [0xdead_beef_dead_beef; 6];
    for condition in deny.only {
        let value = match condition.test {
            Test::Is((_, value)) => value,
            Test::NoneOf(values) => {
                (0..).find(|value| values.iter().all(|(_, known)| known != value)).unwrap()
            }
        };
        let index = usize::from(call.moved.unwrap_or(condition.index));
        args[index] = 0xffff_ffff_0000_0000 | u64::from(value);
    }
    args
}

/// Every architecture with the program of its host.
fn programs(plan: &SecurityPlan) -> Vec<(&'static Arch, Vec<Instruction>)> {
    let of = |host: [&'static Arch; 2]| host.map(|arch| (arch, compile_for(plan, &host)));
    HOSTS.iter().flat_map(|(_, host)| of(*host)).collect()
}

#[test]
fn every_row_answers_as_it_says_on_every_architecture() {
    let plan = SecurityPlan::shipped(&[]);
    for deny in &plan.denied {
        let mut tried = 0;
        for (arch, program) in programs(&plan) {
            for call in arch.calls(deny.syscall) {
                let args = matching(&call, deny);
                let data = Data { number: call.number, arch: arch.audit, args };
                assert_eq!(errno(&program, &data), Some(wanted(deny.answer)), "{deny} of {:#x}", arch.audit);
                tried += 1;
            }
        }
        assert!(tried > 0, "no architecture has {}", deny.syscall);
    }
}

#[test]
fn a_condition_that_does_not_hold_lets_the_call_through() {
    let plan = SecurityPlan::shipped(&[]);
    for (arch, program) in programs(&plan) {
        let name = arch.audit;
        let try_it = |call: &str, at: usize, values: &[(usize, u64)]| {
            let mut args = [0; 6];
            values.iter().for_each(|(index, value)| args[*index] = *value);
            errno(&program, &Data { number: arch.calls(call)[at].number, arch: name, args })
        };
        for family in [1, 2, 10, 16, 17] {
            assert_eq!(try_it("socket", 0, &[(0, family)]), None, "family {family} of {name:#x}");
            assert_eq!(try_it("socketpair", 0, &[(0, family)]), None, "family {family} of {name:#x}");
        }
        for family in (0..50).filter(|family| ![1, 2, 10, 16, 17].contains(family)) {
            assert_eq!(try_it("socket", 0, &[(0, family)]), Some(EAFNOSUPPORT), "family {family}");
        }
        for protocol in 0..23 {
            let answer = match protocol {
                0 | 2 | 4 | 6 | 12 | 15 | 16 => None,
                9 => Some(EAFNOSUPPORT),
                _ => Some(EPROTONOSUPPORT),
            };
            assert_eq!(try_it("socket", 0, &[(0, 16), (2, protocol)]), answer, "netlink {protocol}");
            // The same number is another protocol's elsewhere.
            assert_eq!(try_it("socket", 0, &[(0, 2), (2, protocol)]), None, "inet {protocol}");
        }
        for request in [0x5401, 0x5413, 0x5411, 0x541b] {
            assert_eq!(try_it("ioctl", 0, &[(1, request)]), None, "ioctl {request:#x}");
        }
        for (at, call) in arch.calls("fadvise64").iter().enumerate() {
            let index = usize::from(call.moved.unwrap_or(3));
            assert_eq!(try_it("fadvise64", at, &[(index, 3)]), None);
            assert_eq!(try_it("fadvise64", at, &[(index, 4)]), Some(0));
            // An offset or a length of 4 is no advice.
            let elsewhere: Vec<_> = (0..6).filter(|other| *other != index).map(|other| (other, 4)).collect();
            assert_eq!(try_it("fadvise64", at, &elsewhere), None);
        }
    }
}

#[test]
fn the_calls_of_32_bit_programs_have_their_own_numbers_and_names() {
    let [_, i386] = HOSTS[0].1;
    let numbers = |row: &str| i386.calls(row).iter().map(|call| call.number).collect::<Vec<_>>();
    // asm/unistd_32.h
    assert_eq!(numbers("settimeofday"), [79, 25]);
    assert_eq!(numbers("clock_settime"), [264, 404]);
    assert_eq!(numbers("fadvise64"), [250, 272]);
    assert_eq!(numbers("socketcall"), [102]);
    assert_eq!(numbers("kexec_file_load"), Vec::<u32>::new());
    let [x86_64, _] = HOSTS[0].1;
    assert_eq!(x86_64.calls("ioctl")[0].number, libc::SYS_ioctl as u32);
}

#[test]
fn other_calls_are_allowed_and_newer_ones_are_not_there() {
    let plan = SecurityPlan::shipped(&[]);
    let newest = plan.newest.1;
    for (arch, program) in programs(&plan) {
        let rows: Vec<u32> =
            plan.denied.iter().flat_map(|deny| arch.calls(deny.syscall)).map(|call| call.number).collect();
        let answer = |number| errno(&program, &Data { number, arch: arch.audit, args: [0; 6] });
        for number in (0..=newest).filter(|number| !rows.contains(number)) {
            assert_eq!(answer(number), None, "{number} of {:#x}", arch.audit);
        }
        for number in [newest + 1, 512, 547, 0x1000, 0x4000_0000, 0x4000_0029, 0x7fff_ffff, 0x8000_0000] {
            assert_eq!(answer(number), Some(ENOSYS), "{number} of {:#x}", arch.audit);
        }
        // A call that a tracer has cancelled keeps the result that the tracer gave it.
        assert_eq!(answer(u32::MAX), None);
        let cacheflush = answer(0xf_0002);
        assert_eq!(cacheflush, if arch.private.is_some() { None } else { Some(ENOSYS) });
    }
    for (_, host) in &HOSTS {
        let program = compile_for(&plan, host);
        // s390x
        let data = Data { number: 1, arch: 0x8000_0016, args: [0; 6] };
        assert_eq!(errno(&program, &data), Some(ENOSYS));
    }
}

#[test]
fn what_a_tenant_is_allowed_is_all_that_changes() {
    let shipped = SecurityPlan::shipped(&[]);
    for allowed in AllowedCall::ALL {
        let plan = SecurityPlan::shipped(&[allowed]);
        assert_eq!(plan.allowed, [allowed]);
        let mut changed = false;
        for ((arch, before), (_, after)) in programs(&shipped).into_iter().zip(programs(&plan)) {
            for deny in &shipped.denied {
                for call in arch.calls(deny.syscall) {
                    let data = Data { number: call.number, arch: arch.audit, args: matching(&call, deny) };
                    let is_it = deny.syscall == allowed.name();
                    let answer = if is_it { None } else { errno(&before, &data) };
                    assert_eq!(errno(&after, &data), answer, "{deny} with {allowed}");
                    changed |= is_it;
                }
            }
        }
        assert!(changed, "{allowed} is refused to nobody");
    }
}

#[test]
fn a_call_is_decided_in_few_steps() {
    let plan = SecurityPlan::shipped(&[]);
    for (arch, program) in programs(&plan) {
        assert!(program.len() < 500, "{} instructions", program.len());
        for number in 0..=plan.newest.1 {
            let (_, steps) = run(&program, &Data { number, arch: arch.audit, args: [0; 6] });
            assert!(steps <= 20, "{number}: {steps} instructions");
        }
    }
}

#[test]
fn pieces_that_are_far_apart_are_joined() {
    let long = |answer: u32| {
        (0..300).fold(Piece::answer(answer), |no, value| {
            Piece::branch(Is::Equal, 1_000 + value, Piece::answer(value), no)
        })
    };
    let data = |number| Data { number, ..Data::default() };
    let program = Piece::branch(Is::Above, 500, long(7), long(8)).after_load(NUMBER).into_program();
    assert_eq!(run(&program, &data(501)).0, 7);
    assert_eq!(run(&program, &data(500)).0, 8);
    assert_eq!(run(&program, &data(1_299)).0, 299);
    for no in [Piece::answer(9), long(9)] {
        let program = Piece::any_of([3, 5, 8].into_iter(), long(7), no).after_load(NUMBER).into_program();
        for number in 0..12 {
            let answer = if [3, 5, 8].contains(&number) { 7 } else { 9 };
            assert_eq!(run(&program, &data(number)).0, answer, "{number}");
        }
    }
}
