//! The echo handler behind a real bus whose outbox is far too small for what comes in.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringseal::{
    Address, Auth, Bus, Command, Config, Flow, Frame, FrameView, Handler, Header, Limits, Link,
    ReplicaId, Roster, SendErrorKind,
};
use ringseal_node::echo::Echo;

const SENDER: ReplicaId = ReplicaId::new(0);
const ECHO: ReplicaId = ReplicaId::new(1);
const FRAMES: u32 = 2000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Passes on what comes back; its link is paused at the first frame.
struct Collector(Sender<Frame>, bool);

impl Handler for Collector {
    fn on_frame(&mut self, _: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let _ = self.0.send(frame.detach());
        let first = !self.1;
        self.1 = true;
        if first { Flow::Pause } else { Flow::Continue }
    }
}

fn config(ours: ReplicaId, echo_at: Address, limits: Limits) -> Config {
    let any: Address = "127.0.0.1:0".parse().expect("an address");
    let roster = Roster::new([(SENDER, any), (ECHO, echo_at)]).expect("two replicas");
    let config = Config::new("echo", ours, roster, Auth::Off).expect("listed");
    config.with_limits(limits).and_then(|config| config.with_shards(1)).expect("in range")
}

fn frame(number: u32) -> Frame {
    let mut header = Header::new(Command::new(200));
    header.set_view(number).set_checksum(u128::MAX - u128::from(number)).set_release(7);
    header.reserved_frame_mut().fill(number as u8);
    header.reserved_command_mut().fill(!number as u8);
    let body = vec![number as u8; 8000 + number as usize % 90];
    Frame::new(header, Bytes::from(body)).expect("small")
}

fn start() -> (Bus, Bus, Receiver<Frame>) {
    let small = Limits {
        max_message_size: 16 << 10,
        outbox_frames: 3,
        outbox_bytes: 32 << 10,
        receive_budget: 64 << 10,
        ..Limits::default()
    };
    let any = "127.0.0.1:0".parse().expect("an address");
    let echo = Bus::start(config(ECHO, any, small), |_| Echo::default()).expect("a free port");
    let (sender, received) = channel();
    let config = config(SENDER, echo.local_addr().into(), Limits::default());
    let sender = Bus::start(config, move |_| Collector(sender.clone(), false)).expect("a port");
    let begun = Instant::now();
    while sender.metrics().links_up + echo.metrics().links_up < 2 {
        assert!(begun.elapsed() < PATIENCE, "no link");
        thread::sleep(Duration::from_millis(1));
    }
    (sender, echo, received)
}

fn send_all(bus: &Bus) {
    for number in 0..FRAMES {
        let mut frame = frame(number);
        let begun = Instant::now();
        while let Err(error) = bus.send(ECHO, frame) {
            assert_eq!(error.kind, SendErrorKind::Backpressure);
            assert!(begun.elapsed() < PATIENCE, "frame {number} finds no room");
            frame = error.frame;
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn every_frame_comes_back_unchanged_once_and_in_order_although_the_outbox_is_full() {
    let (sender, echo, received) = start();
    thread::scope(|scope| {
        scope.spawn(|| send_all(&sender));
        let first = received.recv_timeout(PATIENCE).expect("the first frame");
        assert_eq!(first, frame(0));
        // Nothing is read meanwhile, so everything between the two ends fills up.
        let begun = Instant::now();
        while echo.metrics().backpressure == 0 {
            assert!(begun.elapsed() < PATIENCE, "the echo's outbox never filled");
            thread::sleep(Duration::from_millis(1));
        }
        sender.resume(ECHO);
        for number in 1..FRAMES {
            let back = received.recv_timeout(PATIENCE).expect("the next frame");
            assert!(back == frame(number), "frame {number}: {back:?}");
        }
    });
    assert_eq!(echo.metrics().frames_in, u64::from(FRAMES));
    assert!(received.try_recv().is_err(), "each comes back once");
    sender.shutdown(PATIENCE).expect("clean");
    echo.shutdown(PATIENCE).expect("clean");
}
