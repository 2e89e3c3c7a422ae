//! The daemon `mastiffd` and the command line `mastiff`.
//!
//! | module | idea |
//! |---|---|
//! | [`daemon`] | `mastiffd`: arguments, configuration, directories |
//! | [`brain`] | the loop of checks, ladders, alerts and the control socket |
//! | [`fdstore`] | descriptors that outlive the daemon |
//! | [`flight`] | the flight record: the last minutes of each boot |
//! | [`guard`] | what closes the packet path when the daemon cannot |
//! | [`keeper`] | the real-time loop and its hands, in threads of their own: leases, addresses |
//! | [`petter`] | the thread that pets the watchdog device, by permit of the keeper |
//! | [`probes`] | who reads what, in which process; the runner and the prober |
//! | [`effects`] | what a rung can do |
//! | [`config`] | the file as written, and as meant: every fault at once |
//! | [`control`] | the control socket's language |
//! | [`oneshot`] | every check once, without the daemon |
//! | [`witness`] | the third voter of many pairs: a loop of its own, instead of all the others |
//! | [`key`] | the files with the secrets of pairs |
//! | [`mac`] | the signature of the messages between the machines of a pair |
//! | [`netlink`] | messages to and from the kernel |
//! | [`journal`] | where log lines go |
//! | [`clock`] | the one way to read the clock |
//! | [`udp`] | the pair's datagrams, many a call |
//! | [`signals`] | which signals the brain takes, so that nobody else does |
//! | `cli` | the operator's command line, one file for each verb (feature `cli`) |
//! | [`sys`] | the crate's only unsafe code |
//!
//! Who owns which descriptor: the brain owns the poll, the timer, the signals and the control
//! socket; [`probes`] the sockets to the runner and the prober, inotify and the heartbeats; the
//! keeper a poll and a timer of its own, the sockets to the other machines, the guard's gate and
//! the pair's memory; its hands a poll, the netlink sockets, the guard's wall and a packet socket
//! for each interface of the groups.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod brain;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod effects;
pub mod fdstore;
pub mod flight;
pub mod gate;
pub mod guard;
pub mod journal;
pub mod keeper;
pub mod key;
pub mod mac;
pub mod netlink;
pub mod oneshot;
pub mod petter;
pub mod probes;
pub mod signals;
pub mod sys;
pub mod udp;
pub mod witness;
