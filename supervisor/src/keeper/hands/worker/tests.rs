//! The hands on a real interface, with a guard that does as the test wants.

use std::io::ErrorKind::{self, ConnectionAborted, ConnectionReset, WouldBlock};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::message::{GroupKey, Health, Role};
use mio::Waker;

use super::*;
use crate::keeper::namespace::{Other, eventually, inside, run};
use crate::keeper::shell::News;

const SLOT: Slot = Slot(0);
const GROUP: GroupKey = GroupKey(7);
const IP: &str = "192.0.2.9";

mod others;

/// Stands everywhere; `create` fails so often.
#[derive(Debug, Default)]
struct Paper {
    failures: u32,
    removed: Arc<AtomicU32>,
}

impl Wall for Paper {
    fn form(&self) -> timing::Guard {
        timing::Guard::Bpf
    }

    fn describe(&self) -> String {
        "paper".into()
    }

    fn stand(&mut self, _: &[guard::Device]) -> Result<(), String> {
        Ok(())
    }

    fn stands(&mut self) -> Result<bool, String> {
        Ok(true)
    }

    fn create(&mut self, _: Slot, _: Clocks) -> Result<(), String> {
        match self.failures.checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                self.failures = left;
                Err("not now".into())
            }
        }
    }

    fn remove(&mut self) {
        self.removed.fetch_add(1, Ordering::SeqCst);
    }
}

/// The ends that a test holds.
struct Ends {
    jobs: SyncSender<Job>,
    news: Receiver<News>,
    _outcomes: Receiver<Outcome>,
}

impl Ends {
    /// How often something of that kind was told since the last call.
    fn told(&self, wanted: &str) -> usize {
        let is_it = |news: &News| matches!(news, News::Notice(notice) if notice.kind == wanted);
        self.news.try_iter().filter(is_it).count()
    }
}

fn worker(interface: &str, wall: Paper) -> (Worker, Ends) {
    worker_with(IP, interface, wall)
}

fn worker_with(ip: &str, interface: &str, wall: Paper) -> (Worker, Ends) {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).unwrap());
    let (jobs, receiver) = sync_channel(16);
    let (outcomes, kept) = sync_channel(16);
    let (news, told) = sync_channel(64);
    let answers = Answers { outcomes, keeper: Arc::clone(&waker) };
    let addresses = vec![AddressConfig {
        ip: ip.parse().unwrap(),
        prefix: if ip.contains(':') { 128 } else { 32 },
        interface: interface.to_string(),
    }];
    let work = Work {
        groups: vec![(GROUP, addresses)],
        resets: vec![true],
        guard: wall.describe(),
        daemon: "test/a".into(),
        wall: Box::new(wall),
        gateway: None,
        asks_gateway: false,
        peer: vec!["10.1.0.2".parse().unwrap()],
    };
    let board = Arc::new(Board::new(1, 1));
    let told_of = Told { news, brain: waker };
    let worker = Worker::new(poll, receiver, answers, told_of, board, work).unwrap();
    (worker, Ends { jobs, news: told, _outcomes: kept })
}

fn lease(worker: &Worker) {
    worker.board.set_end(SLOT, Some(clock::now().after(Span::from_secs(60))));
}

fn add(attempt: u32) -> Job {
    Job::Step(StepId { group: GROUP, step: Step::AddAddresses, attempt }, SLOT)
}

fn is_on() -> bool {
    run("ip address show dev d0").contains(IP)
}

fn device() {
    run("ip link add d0 type veth peer name d1");
    run("ip link set d0 up");
}

#[test]
fn the_loop_rests_before_its_first_job() {
    inside(|| {
        let (worker, _ends) = worker("d0", Paper::default());
        assert!(worker.next_deadline() > clock::now());
    });
}

#[test]
fn what_cannot_be_announced_does_not_stay_due() {
    inside(|| {
        let (mut worker, ends) = worker("absent", Paper::default());
        lease(&worker);
        for job in [Job::Stand, Job::Adopt(SLOT)] {
            ends.jobs.send(job).unwrap();
        }
        assert!(!worker.do_jobs());
        worker.look_after(clock::now());
        assert!(worker.next_deadline() > clock::now());
        assert_eq!(ends.told("addresses-failed"), 1);
        for secs in 1..5 {
            worker.look_after(clock::now().after(Span::from_secs(secs)));
        }
        assert_eq!(ends.told("addresses-failed"), 0, "the same is said once");
    });
}

#[test]
fn an_address_of_the_daemon_before_is_renewed() {
    inside(|| {
        device();
        let (mut worker, ends) = worker("d0", Paper::default());
        let before = address(&worker.groups[0].addresses[0]);
        let index = worker.devices.called("d0").unwrap().index;
        worker.addresses.add(&before, index, Span::from_secs(5)).unwrap();
        lease(&worker);
        for job in [Job::Stand, Job::Adopt(SLOT)] {
            ends.jobs.send(job).unwrap();
        }
        assert!(!worker.do_jobs());
        worker.look_after(clock::now());
        let shown = run("ip address show dev d0");
        assert!(shown.contains("valid_lft 62sec") || shown.contains("valid_lft 61sec"), "{shown}");
    });
}

#[test]
fn a_gate_that_could_not_be_made_anew_is_told_of_once() {
    inside(|| {
        device();
        let (mut worker, ends) = worker("d0", Paper { failures: 3, ..Paper::default() });
        lease(&worker);
        ends.jobs.send(Job::Stand).unwrap();
        for (is_it, told) in [(false, 1), (false, 0), (false, 0), (true, 0)] {
            ends.jobs.send(Job::Recreate(SLOT)).unwrap();
            assert!(!worker.do_jobs());
            assert_eq!((is_on(), ends.told("addresses-failed")), (is_it, told));
        }
    });
}

/// A client on the other end of the cable, and its server here.
fn connect(other: &Other) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((IP, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let client = other.within(|| TcpStream::connect(to).unwrap());
    let server = listener.accept().unwrap().0;
    for end in [&client, &server] {
        end.set_nonblocking(true).unwrap();
    }
    (client, server)
}

/// What a program would read now.
fn reads(end: &mut TcpStream) -> ErrorKind {
    end.read(&mut [0]).unwrap_err().kind()
}

fn with_client() -> (Worker, Ends, Other, (TcpStream, TcpStream)) {
    let other = Other::with_cable("d0", "d1");
    other.run("ip address add 192.0.2.2/24 dev d1");
    run("ip address add 192.0.2.1/24 dev d0");
    let (mut worker, ends) = worker("d0", Paper::default());
    lease(&worker);
    for job in [Job::Stand, add(1)] {
        ends.jobs.send(job).unwrap();
    }
    assert!(!worker.do_jobs());
    let ends_of_one = connect(&other);
    (worker, ends, other, ends_of_one)
}

#[test]
fn clients_are_told_before_the_address_leaves() {
    inside(|| {
        let (mut worker, ends, _other, (mut client, mut server)) = with_client();
        worker.end_rests();
        assert_eq!((reads(&mut client), ends.told("connections-reset")), (WouldBlock, 0));
        let id = StepId { group: GROUP, step: Step::EndConnections, attempt: 2 };
        ends.jobs.send(Job::Step(id, SLOT)).unwrap();
        assert!(!worker.do_jobs());
        assert!(is_on());
        assert_eq!(ends.told("connections-reset"), 1);
        eventually("the client is told", || reads(&mut client) == ConnectionReset);
        assert_eq!(reads(&mut server), ConnectionAborted);
        ends.jobs.send(Job::Step(StepId { attempt: 3, ..id }, SLOT)).unwrap();
        assert!(!worker.do_jobs());
        assert_eq!(ends.told("connections-reset"), 0, "there were none");
    });
}

#[test]
fn servers_are_told_once_the_other_node_is_the_owner() {
    inside(|| {
        let (mut worker, ends, _other, (_client, mut server)) = with_client();
        let id = StepId { group: GROUP, step: Step::RemoveAddresses, attempt: 2 };
        ends.jobs.send(Job::Step(id, SLOT)).unwrap();
        assert!(!worker.do_jobs());
        assert!(!is_on());
        for (peer, reads_then, told) in [
            (None, WouldBlock, 0),
            (Some(Role::Standby), WouldBlock, 0),
            (Some(Role::Active), ConnectionAborted, 1),
        ] {
            let peer = peer.map(|role| (role, Health::Healthy, None));
            worker.board.write(|shown| shown.groups[0].peer = peer);
            worker.end_rests();
            assert_eq!((reads(&mut server), ends.told("connections-reset")), (reads_then, told));
        }
    });
}

#[test]
fn a_server_goes_on_when_the_address_comes_back() {
    inside(|| {
        let (mut worker, ends, _other, (_client, mut server)) = with_client();
        let id = StepId { group: GROUP, step: Step::RemoveAddresses, attempt: 2 };
        for job in [Job::Step(id, SLOT), add(3)] {
            ends.jobs.send(job).unwrap();
        }
        assert!(!worker.do_jobs());
        // What the board says is older.
        worker.board.write(|shown| {
            shown.groups[0].peer = Some((Role::Active, Health::Healthy, None));
        });
        worker.end_rests();
        assert_eq!((reads(&mut server), ends.told("connections-reset")), (WouldBlock, 0));
    });
}

#[test]
fn the_address_of_somebody_else_is_left_alone() {
    inside(|| {
        device();
        run(&format!("ip address add {IP}/32 dev d0 valid_lft 100 preferred_lft 100"));
        let (mut worker, _ends) = worker("d0", Paper::default());
        if worker.addresses.list().unwrap().iter().all(|found| found.tag.is_none()) {
            println!("skipped: this kernel does not say who made an address");
            return;
        }
        worker.remove(SLOT).unwrap();
        assert!(is_on());
    });
}

#[test]
fn the_guard_goes_after_the_addresses() {
    inside(|| {
        device();
        let paper = Paper::default();
        let removed = Arc::clone(&paper.removed);
        let (mut worker, ends) = worker("d0", paper);
        lease(&worker);
        for job in [Job::Stand, add(1), Job::Stop { remove: true }] {
            ends.jobs.send(job).unwrap();
        }
        assert!(worker.do_jobs());
        assert!(!is_on());
        assert_eq!(removed.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn no_number_of_other_interfaces_leaves_one_of_ours_unguarded() {
    let device = |index| Device {
        index,
        name: format!("v{index}"),
        alternatives: Vec::new(),
        state: State::Up,
        mac: None,
        master: (index == 2).then_some(9),
        is_loopback: index == 1,
    };
    let last = u32::try_from(LISTED_MAX).unwrap() + 100;
    let known: Vec<Device> = (1..=last).map(device).collect();
    let placed = places(&known, &[last]);
    let count = |place| placed.iter().filter(|device| device.place == place).count();
    assert_eq!((count(Place::Own), count(Place::Other)), (1, OTHERS_MAX));
    assert_eq!(placed.last().map(|device| (device.index, device.place)), Some((last, Place::Own)));
    assert!(placed.iter().all(|device| device.index != 1), "the loopback interface");
    assert!(placed.iter().any(|device| device.index == 2 && device.place == Place::Free));
    assert!(placed.len() <= LISTED_MAX + 1);
}
