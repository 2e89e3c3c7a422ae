//! Instructions of the BPF machine (RFC 9669), and jumps to places that are not known yet.

use crate::sys::bpf::Instruction;

/// A register. R0 is what a call and the program return, R1 to R5 are arguments and lost in a
/// call, R6 to R9 stay, R10 is the end of the stack (RFC 9669, section 2; the kernel's
/// Documentation/bpf/classic_vs_extended.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// How much is read from memory, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Byte,
    Word,
    Double,
}

/// When a jump is taken. Comparisons are unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum If {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
}

/// What a jump compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// All 64 bits of a register.
    Register(Register),
    /// All 64 bits with a number whose sign is extended.
    Number(i32),
    /// The lower 32 bits with these (Linux 5.1).
    Low(u32),
}

/// A place in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program under construction.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    /// Where each label is.
    labels: Vec<Option<usize>>,
    /// Which instructions jump where.
    jumps: Vec<(usize, Label)>,
}

const CLASS_LOAD: u8 = 0x00; // BPF_LD, with BPF_IMM | BPF_DW: 64 bits in two instructions
const CLASS_LOAD_FROM: u8 = 0x61; // BPF_LDX | BPF_MEM
const CLASS_STORE_TO: u8 = 0x63; // BPF_STX | BPF_MEM
const CLASS_JUMP: u8 = 0x05; // BPF_JMP
const CLASS_JUMP_LOW: u8 = 0x06; // BPF_JMP32
const CLASS_COMPUTE: u8 = 0x07; // BPF_ALU64
const FROM_REGISTER: u8 = 0x08; // BPF_X
const DOUBLE: u8 = 0x18; // BPF_DW
const ADD: u8 = 0x00;
const MOVE: u8 = 0xb0;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
/// The 64 bits are the address of a map's value: descriptor and offset (`BPF_PSEUDO_MAP_VALUE`,
/// Linux 5.2).
const MAP_VALUE: u8 = 2;

impl Register {
    const fn number(self) -> u8 {
        match self {
            Self::R0 => 0,
            Self::R1 => 1,
            Self::R2 => 2,
            Self::R3 => 3,
            Self::R4 => 4,
            Self::R5 => 5,
            Self::R6 => 6,
            Self::R7 => 7,
            Self::R8 => 8,
            Self::R9 => 9,
            Self::R10 => 10,
        }
    }
}

impl Size {
    const fn bits(self) -> u8 {
        match self {
            Self::Byte => 0x10,
            Self::Word => 0x00,
            Self::Double => DOUBLE,
        }
    }
}

impl Assembler {
    /// A place to be set later by [`Assembler::place`].
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The next instruction is where `label` is.
    pub(super) fn place(&mut self, label: Label) {
        let here = self.code.len();
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(here);
        }
    }

    /// `to = number`, its sign extended.
    pub(super) fn number(&mut self, to: Register, number: i32) {
        self.push(CLASS_COMPUTE | MOVE, to, 0, 0, number);
    }

    /// `to = from`.
    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.push(CLASS_COMPUTE | MOVE | FROM_REGISTER, to, from.number(), 0, 0);
    }

    /// `to += number`.
    pub(super) fn add(&mut self, to: Register, number: i32) {
        self.push(CLASS_COMPUTE | ADD, to, 0, 0, number);
    }

    /// `to = bytes`, as they would be read from memory.
    pub(super) fn bytes(&mut self, to: Register, bytes: [u8; 8]) {
        let [a, b, c, d, e, f, g, h] = bytes;
        let (first, second) = ([a, b, c, d], [e, f, g, h]);
        // The lower half comes first, and the first bytes of memory are the lower half only in a
        // little-endian machine.
        let (low, high) =
            if cfg!(target_endian = "little") { (first, second) } else { (second, first) };
        self.double(to, 0, i32::from_ne_bytes(low), i32::from_ne_bytes(high));
    }

    /// `to` = the address of an array's only value.
    pub(super) fn array(&mut self, to: Register, fd: i32) {
        self.double(to, MAP_VALUE, fd, 0);
    }

    /// `to = *(base + offset)`, zero-extended.
    pub(super) fn read(&mut self, to: Register, size: Size, base: Register, offset: i16) {
        self.push(CLASS_LOAD_FROM | size.bits(), to, base.number(), offset, 0);
    }

    /// `*(base + offset) = from`.
    pub(super) fn write(&mut self, size: Size, base: Register, offset: i16, from: Register) {
        self.push(CLASS_STORE_TO | size.bits(), base, from.number(), offset, 0);
    }

    /// Jumps to `label`.
    pub(super) fn go(&mut self, label: Label) {
        self.jump(CLASS_JUMP, Register::R0, 0, 0, label);
    }

    /// Jumps to `label` when `left` is so.
    pub(super) fn go_if(&mut self, left: Register, when: If, right: With, label: Label) {
        let when = match when {
            If::Equal => 0x10,
            If::NotEqual => 0x50,
            If::AtLeast => 0x30,
            If::AtMost => 0xb0,
        };
        match right {
            With::Register(right) => {
                self.jump(CLASS_JUMP | when | FROM_REGISTER, left, right.number(), 0, label);
            }
            With::Number(number) => self.jump(CLASS_JUMP | when, left, 0, number, label),
            With::Low(bits) => {
                self.jump(CLASS_JUMP_LOW | when, left, 0, bits.cast_signed(), label);
            }
        }
    }

    /// `R0 = helper(R1, ...)`.
    pub(super) fn call(&mut self, helper: i32) {
        self.push(CLASS_JUMP | CALL, Register::R0, 0, 0, helper);
    }

    /// Ends with `result`.
    pub(super) fn exit(&mut self, result: i32) {
        self.number(Register::R0, result);
        self.push(CLASS_JUMP | EXIT, Register::R0, 0, 0, 0);
    }

    /// The program, its jumps filled in; `None` if one has no destination within reach.
    pub(super) fn finish(mut self) -> Option<Vec<Instruction>> {
        for (at, label) in self.jumps {
            let to = (*self.labels.get(label.0)?)?;
            // Counted from the instruction after the jump.
            let distance = i64::try_from(to).ok()? - i64::try_from(at).ok()? - 1;
            let [low, high] = i16::try_from(distance).ok()?.to_ne_bytes();
            let [_, _, first, second, ..] = self.code.get_mut(at)?;
            (*first, *second) = (low, high);
        }
        Some(self.code)
    }

    fn double(&mut self, to: Register, kind: u8, low: i32, high: i32) {
        self.push(CLASS_LOAD | DOUBLE, to, kind, 0, low);
        self.push(0, Register::R0, 0, 0, high);
    }

    fn jump(&mut self, code: u8, left: Register, right: u8, number: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(code, left, right, 0, number);
    }

    fn push(&mut self, code: u8, to: Register, from: u8, offset: i16, number: i32) {
        // Two fields of four bits, which C lays out from the lowest bit or from the highest one.
        let registers = if cfg!(target_endian = "little") {
            to.number() | from << 4
        } else {
            to.number() << 4 | from
        };
        let [o1, o2] = offset.to_ne_bytes();
        let [n1, n2, n3, n4] = number.to_ne_bytes();
        self.code.push([code, registers, o1, o2, n1, n2, n3, n4]);
    }
}
