//! Classic BPF, as seccomp(2) takes it: pieces of a program that end on every way through them, so that
//! joining two needs no labels.

use crate::kernel::raw::Instruction;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;

/// How the loaded word is compared with a constant; both are unsigned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Is {
    Equal,
    NotBelow,
    Above,
}

impl Is {
    fn code(self) -> u16 {
        let compare = match self {
            Self::Equal => libc::BPF_JEQ,
            Self::NotBelow => libc::BPF_JGE,
            Self::Above => libc::BPF_JGT,
        };
        (libc::BPF_JMP | compare | libc::BPF_K) as u16
    }
}

/// Instructions that return on every way through them.
#[derive(Clone, Debug)]
pub(super) struct Piece(Vec<Instruction>);

impl Piece {
    /// Returns a value, `SECCOMP_RET_*`.
    pub(super) fn answer(value: u32) -> Self {
        Self(vec![Instruction { code: RETURN, jt: 0, jf: 0, k: value }])
    }

    /// Compares the word that was loaded last, and goes on with one piece or the other.
    pub(super) fn branch(is: Is, value: u32, yes: Self, no: Self) -> Self {
        let over = yes.0.len();
        let mut all = match u8::try_from(over) {
            Ok(jf) => vec![Instruction { code: is.code(), jt: 0, jf, k: value }],
            // Only an unconditional jump reaches further than 255 instructions.
            Err(_) => vec![
                Instruction { code: is.code(), jt: 1, jf: 0, k: value },
                Instruction { code: JUMP, jt: 0, jf: 0, k: over as u32 },
            ],
        };
        all.extend(yes.0);
        all.extend(no.0);
        Self(all)
    }

    /// As [`Self::branch`], for a word that equals any of several values.
    pub(super) fn any_of(values: impl ExactSizeIterator<Item = u32>, yes: Self, no: Self) -> Self {
        let (count, over) = (values.len(), no.0.len());
        let compare = |jt, value| Instruction { code: Is::Equal.code(), jt, jf: 0, k: value };
        let mut all = Vec::new();
        if let Ok(longest) = u8::try_from(count + over) {
            all.extend(values.zip(1..).map(|(value, done)| compare(longest - done, value)));
        } else {
            let longest = u8::try_from(count).expect("a rule compares with few values");
            all.extend(values.zip(0..).map(|(value, done)| compare(longest - done, value)));
            // None of them: past the jump of those that were equal.
            all.push(Instruction { code: JUMP, jt: 0, jf: 0, k: 1 });
            all.push(Instruction { code: JUMP, jt: 0, jf: 0, k: over as u32 });
        }
        all.extend(no.0);
        all.extend(yes.0);
        Self(all)
    }

    /// Loads a word of `struct seccomp_data`, by its offset in bytes, before it.
    pub(super) fn after_load(self, offset: u32) -> Self {
        let mut all = vec![Instruction { code: LOAD, jt: 0, jf: 0, k: offset }];
        all.extend(self.0);
        Self(all)
    }

    /// The program.
    pub(super) fn into_program(self) -> Vec<Instruction> {
        self.0
    }
}
