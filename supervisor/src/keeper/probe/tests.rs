use super::*;

const MINE: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const THIRD: Mac = Mac([2, 0, 0, 0, 0, 8]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(millis: u64) -> Clocks {
    Clocks::ZERO.after(Span::from_millis(millis))
}

fn heard(said: Said, address: &str, mac: Mac) -> Heard {
    Heard { said, ip: ip(address), mac }
}

#[test]
fn a_probe_has_one_finding_of_each_kind() {
    let mut probes = Probes::default();
    let claim = heard(Said::Claimed, "10.0.0.5", OTHER);
    let answer = heard(Said::Answered, "10.0.0.5", THIRD);
    let probe = heard(Said::Probed, "10.0.0.5", OTHER);
    assert_eq!(probes.hear(&claim, at(0).boot), None, "nobody has asked");
    for round in [1000, 1200, 1400] {
        probes.sent(at(round).boot);
        assert_eq!(probes.hear(&probe, at(round + 1).boot), Some(Finding::Wanted(OTHER)));
        assert_eq!(probes.hear(&answer, at(round + 1).boot), Some(Finding::Taken(THIRD)));
        for _ in 0..100 {
            for said in [claim, answer, probe] {
                assert_eq!(probes.hear(&said, at(round + 2).boot), None);
            }
        }
    }
    probes.sent(at(2000).boot);
    assert_eq!(probes.hear(&claim, at(4000).boot), None, "it is no answer any more");
}

#[test]
fn the_gateway_is_asked_where_it_was_while_it_answers() {
    let mut gateway = Gateway::new(ip("10.0.0.254"), 2, Some(ip("10.0.0.1")));
    let question = |to| Frame::question(ip("10.0.0.254"), Some(ip("10.0.0.1")), MINE, to);
    let answer = heard(Said::Answered, "10.0.0.254", OTHER);
    assert_eq!(gateway.hear(&answer), None, "nobody has asked");
    assert_eq!(gateway.ask(at(0), MINE), question(None));
    assert_eq!(gateway.hear(&heard(Said::Answered, "10.0.0.5", OTHER)), None);
    assert_eq!(gateway.hear(&heard(Said::Claimed, "10.0.0.254", OTHER)), None);
    assert_eq!(gateway.hear(&heard(Said::Probed, "10.0.0.254", OTHER)), None);
    assert_eq!(gateway.hear(&answer), Some(at(0)));
    assert_eq!(gateway.hear(&answer), None, "once for each question");
    assert_eq!(gateway.ask(at(100), MINE), question(Some(OTHER)));
    // Lost, or another machine is the gateway now.
    assert_eq!(gateway.ask(at(200), MINE), question(None));
    assert_eq!(gateway.hear(&heard(Said::Answered, "10.0.0.254", THIRD)), Some(at(200)));
    assert_eq!(gateway.ask(at(300), MINE), question(Some(THIRD)));
}

#[test]
fn without_an_address_of_its_own_it_asks_by_probe() {
    for (address, said) in [("10.0.0.254", Said::Answered), ("fe80::1", Said::Claimed)] {
        let mut gateway = Gateway::new(ip(address), 2, None);
        assert_eq!(gateway.ask(at(0), MINE), Frame::probe(ip(address), MINE));
        assert_eq!(gateway.hear(&heard(said, address, OTHER)), Some(at(0)));
    }
}
