//! A trap for packets: a program that the kernel runs for each packet that has come to a socket of a cgroup's processes,
//! also to one that listens and also while those are frozen. It tells of them and lets them pass.
//!
//! See `BPF_PROG_TYPE_CGROUP_SKB` and `struct __sk_buff` in linux/bpf.h, and `Documentation/bpf/ringbuf.rst`. What no
//! socket waits for, and what the kernel answers itself (echo requests), never comes here.

use std::{
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    path::Path,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    KernelError, Result,
    bpf::{
        ADD, ARGUMENTS, CALL, CONTEXT, EXIT, Instruction, JUMP_IF, JUMP_IF_NOT, LOAD_LONG, MOVE, RESULT,
        STACK_END, STORE_DOUBLE, link,
    },
    raw::{self, CgroupProgram},
};

/// Number of the helper `bpf_ringbuf_output`.
const RING_OUTPUT: i32 = 130;
/// `pkt_type` and `ifindex` of `struct __sk_buff`.
const PACKET_TYPE: i16 = 4;
const INTERFACE: i16 = 40;
/// `PACKET_HOST` of linux/if_packet.h: neither broadcast nor multicast.
const TO_THIS_HOST: i32 = 0;
/// The number of `lo`, in every network namespace.
const LOOPBACK: i32 = 1;
/// Where the word is that is written: nothing of the packet.
const WORD: i16 = -8;

/// The whole program: a word into the ring for a packet to this host that did not come by its loopback. Every packet
/// passes.
fn program(ring: RawFd) -> Vec<Instruction> {
    let [map, data, size, flags] = ARGUMENTS;
    let field = 2;
    let mut program = vec![
        Instruction::load_word(field, CONTEXT, PACKET_TYPE),
        Instruction::new(JUMP_IF_NOT, field, TO_THIS_HOST),
        Instruction::load_word(field, CONTEXT, INTERFACE),
        Instruction::new(JUMP_IF, field, LOOPBACK),
        Instruction { offset: WORD, ..Instruction::new(STORE_DOUBLE, STACK_END, 0) },
        // Two instructions: `BPF_PSEUDO_MAP_FD`.
        Instruction { from: 1, ..Instruction::new(LOAD_LONG, map, ring) },
        Instruction::new(0, 0, 0),
        Instruction::copy(data, STACK_END),
        Instruction::new(ADD, data, WORD.into()),
        Instruction::new(MOVE, size, 8),
        Instruction::new(MOVE, flags, 0),
        Instruction::new(CALL, 0, RING_OUTPUT),
    ];
    let end = program.len();
    for (place, instruction) in program.iter_mut().enumerate() {
        if matches!(instruction.opcode, JUMP_IF | JUMP_IF_NOT) {
            // It counts from the instruction behind the jump.
            instruction.offset = (end - place - 1) as i16;
        }
    }
    program.extend([Instruction::new(MOVE, RESULT, 1), Instruction::new(EXIT, 0, 0)]);
    program
}

/// A trap for packets. It is readable, see poll(2), once a packet has come; it is gone when it is dropped.
#[derive(Debug)]
pub struct PacketTrap {
    ring: OwnedFd,
    _link: OwnedFd,
}

impl PacketTrap {
    /// Sets a trap for the packets that come to sockets of a cgroup's processes and of those below.
    ///
    /// # Errors
    /// The kernel refuses; one without `CONFIG_CGROUP_BPF` does.
    pub fn set(cgroup: &Path) -> Result<Self> {
        let set = || -> std::io::Result<Self> {
            // One word is enough: it is never taken out.
            let ring = raw::bpf_ring(rustix::param::page_size() as u32)?;
            let link = link(CgroupProgram::Ingress, cgroup, program(ring.as_raw_fd()))?;
            Ok(Self { ring, _link: link })
        };
        set().map_err(|error| KernelError::new("watch the packets of cgroup", cgroup.display(), error))
    }
}

impl PacketTrap {
    /// Whether a packet has come. Where that cannot be told, it is taken for so.
    pub fn has_caught(&self) -> bool {
        let mut trap = [PollFd::new(self, PollFlags::IN)];
        !matches!(poll(&mut trap, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }
}

impl AsFd for PacketTrap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the program writes into the ring for a packet of this type that came by this interface.
    fn tells(packet_type: u64, interface: u64) -> bool {
        let program = program(7);
        let (mut place, mut field) = (0, 0);
        let mut told = false;
        loop {
            let Instruction { opcode, offset, value, to, .. } = program[place];
            place += 1;
            let jump = match opcode {
                JUMP_IF => field == value as u64,
                JUMP_IF_NOT => field != value as u64,
                _ => false,
            };
            match opcode {
                _ if jump => place += offset as usize,
                EXIT => return told,
                CALL => told = true,
                MOVE if to == RESULT => assert_eq!(value, 1, "every packet passes"),
                _ if to == 2 && offset == PACKET_TYPE => field = packet_type,
                _ if to == 2 && offset == INTERFACE => field = interface,
                _ => {}
            }
        }
    }

    #[test]
    fn packets_to_the_tenant_are_told_and_those_to_all_or_from_itself_are_not() {
        assert!(tells(0, 2) && tells(0, 17));
        assert!(!tells(0, 1), "its own loopback");
        assert!(!tells(1, 2) && !tells(2, 2), "broadcast and multicast");
    }
}
