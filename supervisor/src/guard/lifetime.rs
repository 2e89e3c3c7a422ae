//! The form for kernels with neither BPF nor nf_tables: the address itself ends.
//!
//! The hands give every address a lifetime (`valid_lft`, ip-address(8)) that is over with the
//! lease, so nothing stands in the packet path and there is nothing to open: both halves do
//! nothing. Lifetimes are whole seconds and end up to two seconds late, which the timers know
//! ([`timing::Guard::Lifetime`]); a closed gate closes no sooner than the addresses are gone.

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::Mono;
use mastiff_core::timing;

use super::{Device, Gate, Slot, Wall};

/// Both halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime;

impl Gate for Lifetime {
    fn open(&mut self, _: Slot, _: Clocks, _: Clocks) {}

    fn hold(&mut self, _: Slot, _: Clocks, _: Clocks) {}

    fn close(&mut self, _: Slot) {}

    fn refresh(&mut self, _: Clocks) -> Mono {
        Mono::FAR
    }

    fn lapsed(&mut self) -> Option<Slot> {
        None
    }
}

impl Wall for Lifetime {
    fn form(&self) -> timing::Guard {
        timing::Guard::Lifetime
    }

    fn describe(&self) -> String {
        "lifetime of the address".into()
    }

    fn stand(&mut self, _: &[Device]) -> Result<(), String> {
        Ok(())
    }

    fn stands(&mut self) -> Result<bool, String> {
        Ok(true)
    }

    fn create(&mut self, _: Slot, _: Clocks) -> Result<(), String> {
        Ok(())
    }

    fn remove(&mut self) {}
}
