//! The program by itself, on made-up frames; then real traffic between two network namespaces.
//! Both need root: where bpf(2) or a namespace is refused, a test says so and is skipped.

use std::net::IpAddr;
use std::os::fd::AsFd;

use mastiff_core::time::Span;

use super::*;
use crate::clock;

mod frames;
mod measure;
mod network;

/// A group's addresses, and one of another group.
const FOUR: &str = "192.0.2.100";
const SIX: &str = "2001:db8::100";
const SECOND: &str = "192.0.2.101";
const SECOND6: &str = "2001:db8::101";

fn guarded(slot: usize, ip: &str) -> Guarded {
    Guarded { slot: Slot(slot), ip: ip.parse().unwrap(), interface: String::from("node0") }
}

fn addresses() -> Vec<Guarded> {
    vec![guarded(0, FOUR), guarded(0, SIX), guarded(1, SECOND), guarded(1, SECOND6)]
}

/// `None`, and says why, where BPF may not be used at all.
fn permitted<T>(built: Result<T, String>) -> Option<T> {
    match built {
        Ok(built) => Some(built),
        Err(error) if error.contains("EPERM") || error.contains("ENOSYS") => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn now() -> Clocks {
    // Tests hold no lease, so one clock is both.
    Clocks { boot: clock::now(), raw: clock::now() }
}

fn open(gate: &mut BpfGate, slot: usize, millis: u64) {
    gate.open(Slot(slot), now().after(Span::from_millis(millis)), now());
}

#[test]
fn a_lease_is_open_until_its_first_clock_ends_it() {
    let Some((mut gate, _wall)) = permitted(assemble(Form::Tcx, "clocks", &addresses())) else {
        return;
    };
    let at = |boot, raw| Clocks {
        boot: Mono::BOOT.after(Span::from_nanos(boot)),
        raw: Mono::BOOT.after(Span::from_nanos(raw)),
    };
    for (until, now, stored) in [
        (at(1500, 700), at(1000, 200), 1500),
        (at(1500, 600), at(1000, 200), 1400), // the raw clock ends it first
        (at(1300, 700), at(1000, 200), 1300), // the other one does
        (at(1500, 100), at(1000, 200), 1000), // it is over
        (Clocks::FAR, at(1000, 1000), u64::try_from(i64::MAX).unwrap()),
    ] {
        let cell = |gate: &BpfGate, at| gate.deadlines.cell(at).unwrap().load(Ordering::SeqCst);
        gate.open(Slot(1), until, now);
        assert_eq!((cell(&gate, 0), cell(&gate, 1)), (0, stored), "{until:?} {now:?}");
        gate.hold(Slot(0), until, now);
        assert_eq!(cell(&gate, 0), stored);
        gate.close(Slot(0));
        gate.close(Slot(1));
        assert_eq!((cell(&gate, 0), cell(&gate, 1)), (0, 0));
    }
    gate.open(Slot(2), Clocks::FAR, Clocks::ZERO);
    assert!(gate.deadlines.cell(2).is_none(), "a group without addresses has nothing to open");
    assert_eq!((gate.refresh(Clocks::ZERO), gate.lapsed()), (Mono::FAR, None));
}

#[test]
fn the_name_is_that_of_the_daemon() {
    let name = |daemon| String::from_utf8(name_of(daemon).to_vec()).unwrap();
    assert_eq!(name("db"), name("db"));
    assert_ne!(name("db"), name("web"));
    assert_eq!(name("db").trim_end_matches('\0').len(), 15);
    assert!(name("db").starts_with(PREFIX));
}

#[test]
fn instructions_are_those_of_the_standard() {
    use assembler::{Assembler, If, Register::*, Size, With};
    let mut asm = Assembler::default();
    let (back, end) = (asm.label(), asm.label());
    asm.copy(R6, R1);
    asm.place(back);
    asm.number(R9, -1);
    asm.add(R3, -40);
    asm.read(R2, Size::Word, R6, 16);
    asm.read(R3, Size::Double, R8, 8);
    asm.read(R1, Size::Byte, R10, -34);
    asm.go_if(R2, If::Equal, With::Low(0xffff_0008), end);
    asm.go_if(R3, If::AtLeast, With::Register(R9), end);
    asm.go_if(R2, If::AtMost, With::Number(128), back);
    asm.go_if(R0, If::NotEqual, With::Number(0), end);
    asm.call(125);
    asm.array(R8, 7);
    asm.bytes(R1, [1, 2, 3, 4, 5, 6, 7, 8]);
    asm.go(back);
    asm.place(end);
    asm.exit(2);
    let hex = |code: Vec<bpf::Instruction>| -> Vec<String> {
        code.iter().map(|one| format!("{:016x}", u64::from_be_bytes(*one))).collect()
    };
    if cfg!(target_endian = "big") {
        eprintln!("skipped: the bytes below are those of a little-endian machine");
        return;
    }
    // Opcode, source and destination, offset, number: what llvm-mc -triple=bpfel makes of it.
    let wanted = [
        "bf16000000000000", // r6 = r1
        "b7090000ffffffff", // r9 = -1
        "07030000d8ffffff", // r3 += -40
        "6162100000000000", // r2 = *(u32 *)(r6 + 16)
        "7983080000000000", // r3 = *(u64 *)(r8 + 8)
        "71a1deff00000000", // r1 = *(u8 *)(r10 - 34)
        "160209000800ffff", // if w2 == 0xffff0008 goto +9
        "3d93080000000000", // if r3 >= r9 goto +8
        "b502f8ff80000000", // if r2 <= 128 goto -8
        "5500060000000000", // if r0 != 0 goto +6
        "850000007d000000", // call 125
        "1828000007000000", // r8 = map_fd(7).value
        "0000000000000000",
        "1801000001020304", // r1 = 0x0807060504030201
        "0000000005060708",
        "0500f1ff00000000", // goto -15
        "b700000002000000", // r0 = 2
        "9500000000000000", // exit
    ];
    assert_eq!(hex(asm.finish().unwrap()), wanted);
}

#[test]
fn a_jump_without_destination_is_no_program() {
    use assembler::{Assembler, Register::R0};
    let mut asm = Assembler::default();
    let nowhere = asm.label();
    asm.go(nowhere);
    assert_eq!(asm.finish(), None);
    let mut asm = Assembler::default();
    let far = asm.label();
    asm.go(far);
    (0..40_000).for_each(|_| asm.number(R0, 0));
    asm.place(far);
    assert_eq!(asm.finish(), None, "16 bits count 32767 instructions");
}
