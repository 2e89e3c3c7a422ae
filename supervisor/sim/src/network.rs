//! The wires: loss, delay, copies, one-way cuts, and somebody who records and sends again.

use std::collections::VecDeque;

use mastiff_core::pair::link::Envelope;
use mastiff_core::pair::message::Beat;

use crate::clock::{MS, Time};
use crate::rng::Rng;

/// A machine's place: the nodes are 0 and 1, the witness is 2.
pub type Place = usize;
/// The witness.
pub const WITNESS: Place = 2;
/// Machines.
pub const PLACES: usize = 3;

/// Packets that the recorder remembers.
const RECORDED_MAX: usize = 64;

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// From which machine.
    pub from: Place,
    /// To which machine.
    pub to: Place,
    /// On which of the paths between them.
    pub path: usize,
    /// Numbers.
    pub envelope: Envelope,
    /// Words.
    pub beat: Beat,
}

/// One direction of one path.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// Nothing gets through.
    pub cut: bool,
    /// One in a thousand is lost so many times.
    pub loss_permille: u64,
    /// The least delay.
    pub delay: Time,
    /// Up to so much more, at random: packets overtake each other.
    pub spread: Time,
    /// One in a thousand is doubled so many times.
    pub copies_permille: u64,
}

impl Wire {
    /// A clean wire.
    pub const CLEAN: Self =
        Self { cut: false, loss_permille: 0, delay: MS / 10, spread: MS / 5, copies_permille: 0 };
}

/// All wires.
#[derive(Clone, Debug)]
pub struct Network {
    wires: [[[Wire; 2]; PLACES]; PLACES],
    paths: usize,
    recorded: VecDeque<Packet>,
}

impl Network {
    /// Wires with delays that vary by `spread`; `paths` between the nodes (one or two), one to the
    /// witness.
    #[must_use]
    pub const fn new(paths: usize, spread: Time) -> Self {
        let wire = Wire { spread, ..Wire::CLEAN };
        Self { wires: [[[wire; 2]; PLACES]; PLACES], paths, recorded: VecDeque::new() }
    }

    /// How many paths lead from one machine to the other.
    #[must_use]
    pub const fn paths(&self, from: Place, to: Place) -> usize {
        if from == WITNESS || to == WITNESS { 1 } else { self.paths }
    }

    /// One direction of one path.
    pub fn wire_mut(&mut self, from: Place, to: Place, path: usize) -> Option<&mut Wire> {
        self.wires.get_mut(from)?.get_mut(to)?.get_mut(path)
    }

    /// All directions of all paths.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Wire> {
        self.wires.iter_mut().flatten().flatten()
    }

    /// Whether one direction works as a clean one does, on one path at least.
    #[must_use]
    pub fn is_clean(&self, from: Place, to: Place) -> bool {
        let wires = self.wires.get(from).and_then(|row| row.get(to));
        wires.is_some_and(|wires| {
            wires
                .iter()
                .take(self.paths(from, to))
                .any(|wire| !wire.cut && wire.loss_permille == 0 && wire.delay + wire.spread <= MS)
        })
    }

    /// Puts a packet on its wire: when it arrives, for each copy that does.
    pub fn send(&mut self, packet: Packet, rng: &mut Rng) -> [Option<Time>; 2] {
        if rng.one_in(50) {
            self.recorded.push_back(packet);
            if self.recorded.len() > RECORDED_MAX {
                self.recorded.pop_front();
            }
        }
        let Some(wire) = self.wire_mut(packet.from, packet.to, packet.path).copied() else {
            return [None; 2];
        };
        let mut arrives = |lost: u64| {
            let delay = wire.delay + rng.below(wire.spread.unsigned_abs()).cast_signed();
            (!wire.cut && rng.below(1000) >= lost).then_some(delay)
        };
        [arrives(wire.loss_permille), arrives(1000 - wire.copies_permille)]
    }

    /// Something that was sent long ago, to be sent again.
    pub fn replay(&self, rng: &mut Rng) -> Option<Packet> {
        let at = usize::try_from(rng.below(self.recorded.len() as u64)).unwrap_or(0);
        self.recorded.get(at).copied()
    }
}
