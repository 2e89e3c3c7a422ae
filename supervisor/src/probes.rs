//! How readings are taken: who reads which source, in which process, and what happens when it hangs.
pub mod child;
pub mod lanes;
pub mod prober;
pub mod runner;
pub mod wire;
