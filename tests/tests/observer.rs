//! What an observer is told, and in which order.

use std::sync::{Arc, Mutex};

use ringseal::{Event, HandshakeResult, Observer, Policy, Reason, ReplicaId, Role, Roster};
use ringseal_tests::cluster::{Net, wait_for};
use ringseal_tests::script::Listen;

#[derive(Debug, Default)]
struct Diary(Mutex<Vec<(u64, Event)>>);

impl Observer for Diary {
    fn observe(&self, unix_ms: u64, event: Event) {
        self.0.lock().expect("nobody panics").push((unix_ms, event));
    }
}

impl Diary {
    fn events(&self) -> Vec<Event> {
        self.0.lock().expect("nobody panics").iter().map(|(_, event)| *event).collect()
    }

    fn wait(&self, what: &str, matches: impl Fn(&Event) -> bool) -> Event {
        wait_for(what, || self.events().into_iter().find(&matches))
    }
}

#[test]
fn both_ends_tell_of_a_link_from_its_refusal_to_its_end() {
    let net = Net::new(&[0, 1]);
    let diaries = [(); 2].map(|()| Arc::new(Diary::default()));
    let config = |id: u8| net.config(id).with_observer(diaries[usize::from(id)].clone());
    let (one, zero) = (ReplicaId::new(1), ReplicaId::new(0));

    let dialer = net.start_as(config(0), || Listen);
    // Nobody listens at the other address yet.
    let refused = diaries[0].wait("a dial fails", |event| matches!(event, Event::Refused { .. }));
    let reason = HandshakeResult::Io.as_str();
    let address = Some(net.address(1));
    assert_eq!(refused, Event::Refused { peer: Some(one), role: Role::Dialer, address, reason });

    let acceptor = net.start_as(config(1), || Listen);
    dialer.wait_for_link(1);
    acceptor.wait_for_link(0);
    let admitted = |diary: &Diary| diary.wait("a link", |e| matches!(e, Event::Admitted { .. }));
    let (authenticated, leniency) = (true, None);
    let role = Role::Dialer;
    let expected = Event::Admitted { peer: one, role, address, authenticated, leniency };
    assert_eq!(admitted(&diaries[0]), expected);
    let Event::Admitted { peer, role: Role::Acceptor, address: from, .. } = admitted(&diaries[1])
    else {
        panic!("the acceptor accepts")
    };
    assert!(peer == zero && from.is_some_and(|from| from.ip().is_loopback()));

    acceptor.shutdown();
    let ended = |diary: &Diary| diary.wait("the end", |e| matches!(e, Event::Ended { .. }));
    let reason = Reason::Shutdown;
    let expected = Event::Ended { peer: zero, address: from, reason, lost: 0 };
    assert_eq!(ended(&diaries[1]), expected);
    assert!(matches!(ended(&diaries[0]), Event::Ended { reason: Reason::Eof, lost: 0, .. }));
    dialer.shutdown();
    for diary in diaries {
        let times: Vec<_> = diary.0.lock().expect("nobody panics").iter().map(|e| e.0).collect();
        assert!(times.iter().all(|time| *time > 1_600_000_000_000), "{times:?}");
        let order: Vec<_> = diary
            .events()
            .iter()
            .filter_map(|event| match event {
                Event::Admitted { .. } => Some("admitted"),
                Event::Ended { .. } => Some("ended"),
                _ => None,
            })
            .collect();
        assert_eq!(order, ["admitted", "ended"]);
    }
}

#[test]
fn a_reload_tells_what_it_has_changed() {
    let net = Net::new(&[0, 1, 2]);
    let diary = Arc::new(Diary::default());
    let node = net.start_as(net.config(2).with_observer(diary.clone()), || Listen);
    let (moved, stays) = (net.address(0), net.address(2));
    let roster = [(1, moved), (2, stays), (3, net.address(0))];
    let roster = roster.map(|(id, address)| (ReplicaId::new(id), address.into()));
    let roster = Roster::new(roster).expect("ids are distinct");
    node.reload(net.clone().without_auth().config_with(2, roster)).expect("it may change");
    let event = |joined: bool, id: u8, address| {
        let (peer, address) = (ReplicaId::new(id), Some(address));
        match joined {
            true => Event::ReplicaJoined { peer, address },
            false => Event::ReplicaLeft { peer, address },
        }
    };
    let mut events = diary.events();
    // Dials of the replica that has come fail, and are no part of the reload.
    events.retain(|event| !matches!(event, Event::Refused { .. }));
    let expected = [
        Event::Reloaded { policy: Policy::Off },
        Event::KeysChanged { current: true, previous: false },
        event(false, 0, net.address(0)),
        event(false, 1, net.address(1)),
        event(true, 1, moved),
        event(true, 3, net.address(0)),
    ];
    assert_eq!(events, expected);
    node.shutdown();
}
