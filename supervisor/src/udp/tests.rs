//! Over loopback, with ports that the kernel chooses.

use std::net::UdpSocket;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockname, getsockopt};

use super::*;

const HERE: &str = "127.0.0.1:0";

fn open(local: &str, peer: Option<SocketAddr>) -> Socket {
    Socket::open(local.parse().unwrap(), peer).unwrap()
}

fn at(socket: &Socket) -> SocketAddr {
    let name: SockaddrStorage = getsockname(socket.as_raw_fd()).unwrap();
    let v6 = name.as_sockaddr_in6().map(|at| SocketAddr::from(*at));
    v6.or_else(|| name.as_sockaddr_in().map(|at| SocketAddr::from(*at))).unwrap()
}

fn stranger(ip: &str) -> UdpSocket {
    let stranger = UdpSocket::bind((ip, 0)).unwrap();
    stranger.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stranger
}

fn message(number: u8) -> [u8; LENGTH] {
    let mut message = [number; LENGTH];
    message[..3].copy_from_slice(&MAGIC);
    message
}

/// Waits for something to be there, then takes it.
fn take(inbox: &mut Inbox, socket: &mut Socket) -> usize {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)), Ok(1), "nothing came");
    inbox.receive(socket)
}

#[test]
fn each_datagram_comes_with_its_length_and_its_sender() {
    for (local, from) in [(HERE, "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
        let mut door = open(local, None);
        let to = SocketAddr::new(from.parse().unwrap(), at(&door).port());
        let (near, far) = (stranger(from), stranger(from));
        let mut inbox = Inbox::default();
        assert_eq!(inbox.receive(&mut door), 0, "nothing is there, and it does not wait");
        for (sender, bytes) in
            [(&near, message(1).to_vec()), (&far, [b"MTF", &[9; 500][..]].concat())]
        {
            sender.send_to(&bytes, to).unwrap();
        }
        assert_eq!(take(&mut inbox, &mut door), 2);
        let got: Vec<(usize, u16)> = inbox.iter().map(|(b, from)| (b.len(), from.port())).collect();
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        assert_eq!(got, [(LENGTH, port(&near)), (LENGTH + 1, port(&far))]);
        assert_eq!(inbox.iter().next().unwrap().0, message(1));

        let mut outbox = Outbox::default();
        for (_, from) in inbox.iter() {
            outbox.push(message(2), Some(from));
        }
        outbox.send(&mut door);
        for socket in [near, far] {
            let mut bytes = [0; 1000];
            let (length, from) = socket.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..length], from), (&message(2)[..], to));
        }
        assert_eq!(door.counts, Counts { received: 2, sent: 2, ..Counts::default() });
    }
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    for (all, asked) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "127.0.0.2"), ("[::]:0", "::1")] {
        let mut door = open(all, None);
        let port = at(&door).port();
        let node = stranger(if asked == "::1" { asked } else { "127.0.0.1" });
        node.connect((asked, port)).unwrap();
        node.send(&message(1)).unwrap();
        let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
        assert_eq!(take(&mut inbox, &mut door), 1);
        for (_, name) in inbox.named() {
            outbox.answer(message(2), name);
        }
        outbox.send(&mut door);
        let mut bytes = [0; 1000];
        let length = node.recv(&mut bytes).expect("a connected socket hears nobody else");
        assert_eq!(bytes[..length], message(2), "{all} {asked}");
    }
}

#[test]
fn what_does_not_begin_with_the_magic_wakes_nobody() {
    let mut door = open(HERE, None);
    let stranger = stranger("127.0.0.1");
    let noise = [&b""[..], b"M", b"MTF", b"GET / HTTP/1.1", b"\0MTF\x01", &[0xff; LENGTH]];
    for bytes in noise {
        stranger.send_to(bytes, at(&door)).unwrap();
    }
    // Other versions and lengths are for the counters of who reads them.
    for bytes in [&b"MTF\x01"[..], b"MTF\x02and what it will have"] {
        stranger.send_to(bytes, at(&door)).unwrap();
    }
    let mut inbox = Inbox::default();
    assert_eq!(take(&mut inbox, &mut door), 2);
}

#[test]
fn a_batch_is_full_or_the_last() {
    let mut door = open(HERE, None);
    let mut node = open(HERE, Some(at(&door)));
    let mut outbox = Outbox::default();
    for number in 0..=u8::try_from(BATCH).unwrap() {
        outbox.push(message(number), None);
    }
    assert_eq!(outbox.overflowed, 1);
    outbox.send(&mut node);
    outbox.clear();
    assert!(outbox.is_empty());
    outbox.push(message(255), None);
    outbox.send(&mut node);
    let mut inbox = Inbox::default();
    assert_eq!(take(&mut inbox, &mut door), BATCH);
    let numbers: Vec<u8> = inbox.iter().map(|(bytes, _)| bytes[3]).collect();
    assert_eq!(numbers, (0..64).collect::<Vec<u8>>());
    assert_eq!(take(&mut inbox, &mut door), 1);
    assert_eq!(inbox.receive(&mut door), 0);
    assert_eq!(node.counts.sent, 65);
}

#[test]
fn a_peer_that_does_not_listen_is_counted_and_heard_when_it_does() {
    let gone = stranger("127.0.0.1");
    let peer = gone.local_addr().unwrap();
    drop(gone);
    let mut node = open(HERE, Some(peer));
    let mut outbox = Outbox::default();
    outbox.push(message(1), None);
    outbox.push(message(2), None);
    for _ in 0..3 {
        outbox.send(&mut node);
    }
    assert_eq!(node.counts.failed, 0);
    assert!(node.counts.refused > 0, "{:?}", node.counts);
    let mut back = Socket::open(peer, Some(at(&node))).unwrap();
    outbox.send(&mut node);
    let mut inbox = Inbox::default();
    assert_eq!(take(&mut inbox, &mut back), 2);
    outbox.send(&mut back);
    assert_eq!(take(&mut inbox, &mut node), 2);
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    let mut peer = open(HERE, None);
    let mut node = open(HERE, Some(at(&peer)));
    let stranger = stranger("127.0.0.1");
    stranger.send_to(&message(1), at(&node)).unwrap();
    let mut outbox = Outbox::default();
    outbox.push(message(2), Some(at(&node)));
    outbox.send(&mut peer);
    let mut inbox = Inbox::default();
    assert_eq!(take(&mut inbox, &mut node), 1);
    assert_eq!(inbox.iter().next().unwrap(), (&message(2)[..], at(&peer)));
}

#[test]
fn an_address_that_is_not_there_yet_can_be_listened_on() {
    for local in ["203.0.113.77:0", "[2001:db8::77]:0"] {
        let socket = open(local, None);
        assert_eq!(at(&socket).ip(), local.parse::<SocketAddr>().unwrap().ip());
    }
}

#[test]
fn a_port_that_is_taken_is_said_with_the_address() {
    let first = open(HERE, None);
    let error = Socket::open(at(&first), None).unwrap_err();
    assert_eq!(error.errno, Errno::EADDRINUSE);
    let text = error.to_string();
    let expected = format!("cannot listen on {} (UDP): Address already in use; ", at(&first));
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn the_network_is_told_what_matters_and_the_kernel_keeps_enough() {
    let socket = open("[::]:0", None);
    assert_eq!(getsockopt(&socket, sockopt::Ipv4Tos), Ok(NETWORK_CONTROL));
    assert_eq!(getsockopt(&socket, sockopt::Ipv6TClass), Ok(NETWORK_CONTROL));
    // Without privileges it is the system's limit, whatever that is; never less than the default.
    let plain = UdpSocket::bind(HERE).unwrap();
    let default = getsockopt(&plain, sockopt::RcvBuf).unwrap();
    assert!(getsockopt(&socket, sockopt::RcvBuf).unwrap() >= default);
}
