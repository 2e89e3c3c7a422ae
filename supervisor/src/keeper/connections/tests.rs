//! Real connections over a cable between two namespaces.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use mastiff_core::time::Span;

use super::*;
use crate::keeper::namespace::{Other, PATIENCE, eventually, inside, run};

fn later() -> Mono {
    clock::now().after(PATIENCE)
}

/// A cable with addresses on both ends; here also the floating ones.
fn cable() -> Other {
    let other = Other::with_cable("d0", "d1");
    for address in ["192.0.2.1/24", "192.0.2.9/32", "2001:db8::1/64", "2001:db8::9/128"] {
        run(&format!("ip address add {address} dev d0{}", quick(address)));
    }
    for address in ["192.0.2.2/24", "2001:db8::2/64"] {
        other.run(&format!("ip address add {address} dev d1{}", quick(address)));
    }
    other
}

fn quick(address: &str) -> &str {
    if address.contains("::") { " nodad" } else { "" }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What the other end sees of its reset.
fn is_reset(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream.read(&mut [0]).is_err_and(|why| why.kind() == ErrorKind::ConnectionReset)
}

fn is_alive(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    stream.read(&mut [0]).is_err_and(|why| why.kind() == ErrorKind::WouldBlock)
}

#[test]
fn clients_of_the_address_are_told_and_no_others() {
    inside(|| {
        let other = cable();
        let mut connections = Connections::open().unwrap();
        // The second speaks IPv4 by a socket of IPv6, as most servers do.
        for (bound, floating, own) in [
            ("192.0.2.9:0", "192.0.2.9", None),
            ("[::]:0", "192.0.2.9", Some("192.0.2.1")),
            ("[::]:0", "2001:db8::9", Some("2001:db8::1")),
        ] {
            let listener = TcpListener::bind(address(bound)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let to = |ip: &str| SocketAddr::new(ip.parse().unwrap(), port);
            let connect = |ip: &str| other.within(|| TcpStream::connect(to(ip)).unwrap());
            let mut clients: Vec<TcpStream> = (0..5).map(|_| connect(floating)).collect();
            let mut left: Vec<TcpStream> = own.into_iter().map(connect).collect();
            let served: Vec<TcpStream> =
                (0..clients.len() + left.len()).map(|_| listener.accept().unwrap().0).collect();
            let ip = floating.parse().unwrap();
            let ended = connections.end(ip, Side::Local, later()).unwrap();
            assert_eq!(ended, Ended { count: 5, all: true }, "{bound}");
            assert!(clients.iter_mut().all(is_reset), "{bound}");
            assert!(left.iter_mut().all(is_alive), "{bound}");
            let again = connections.end(ip, Side::Local, later()).unwrap();
            assert_eq!(again, Ended { count: 0, all: true });
            // Who listens goes on.
            drop((connect(floating), served));
            listener.accept().unwrap();
            connections.end(ip, Side::Local, later()).unwrap();
        }
    });
}

#[test]
fn own_connections_with_an_owner_that_is_gone_end() {
    inside(|| {
        let other = cable();
        other.run("ip address add 192.0.2.8/32 dev d1");
        let listener = other.within(|| TcpListener::bind(address("0.0.0.0:0")).unwrap());
        let port = listener.local_addr().unwrap().port();
        let connect = |ip: &str| TcpStream::connect(SocketAddr::new(ip.parse().unwrap(), port));
        let (mut floating, mut own) =
            (connect("192.0.2.8").unwrap(), connect("192.0.2.2").unwrap());
        let mut connections = Connections::open().unwrap();
        let ip = "192.0.2.8".parse().unwrap();
        assert_eq!(connections.end(ip, Side::Local, later()).unwrap().count, 0);
        assert_eq!(connections.end(ip, Side::Remote, later()).unwrap().count, 1);
        let told = floating.read(&mut [0]).unwrap_err().kind();
        assert_eq!(told, ErrorKind::ConnectionAborted);
        assert!(is_alive(&mut own));
    });
}

#[test]
fn a_connection_of_the_machine_with_itself_has_the_address_on_both_ends() {
    inside(|| {
        let _other = cable();
        let listener = TcpListener::bind(address("192.0.2.9:0")).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connections = Connections::open().unwrap();
        let ip = "192.0.2.9".parse().unwrap();
        assert_eq!(connections.end(ip, Side::Remote, later()).unwrap().count, 0);
        assert!(is_alive(&mut client));
        assert!(connections.end(ip, Side::Local, later()).unwrap().count > 0);
        client.set_nonblocking(false).unwrap();
        assert!(client.read(&mut [0]).is_err());
    });
}

#[test]
fn it_ends_in_time_and_goes_on_later() {
    inside(|| {
        let _other = cable();
        let listener = TcpListener::bind(address("192.0.2.9:0")).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connections = Connections::open().unwrap();
        let ip = "192.0.2.9".parse().unwrap();
        let ended = connections.end(ip, Side::Local, clock::now()).unwrap();
        assert_eq!(ended, Ended { count: 0, all: false });
        let mut some = 0;
        eventually("all are ended", || {
            let ended = connections.end(ip, Side::Local, clock::now().after(Span::from_secs(1)));
            some += ended.unwrap().count;
            some > 0
        });
    });
}

#[test]
fn what_the_kernel_cannot_do_is_said_in_words() {
    assert!(in_words(Errno::EOPNOTSUPP).contains("CONFIG_INET_DIAG_DESTROY"));
    assert!(in_words(Errno::ENOENT).contains("CONFIG_INET_DIAG)"));
    assert!(in_words(Errno::EPERM).contains("CAP_NET_ADMIN"));
}

#[test]
fn a_message_that_is_cut_off_is_none() {
    for length in 0..HEADER {
        let body = vec![1; length];
        assert_eq!(read(&Message { kind: BY_FAMILY, flags: 0, body: &body }), None);
    }
}
