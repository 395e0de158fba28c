//! What no peer may send on an established link, and what the others notice of it: nothing.

use ringseal::{Command, Frame, Header, Reason};
use ringseal_tests::kernel;
use ringseal_tests::stranger::{Stranger, TRUE};
use ringseal_tests::target::{Setup, Target, eventually};

const US: u8 = 9;
const MAX: u32 = 1 << 20;

fn target(shards: usize) -> Target {
    let setup = Setup::new(US).callers(0..US).shards(shards);
    setup.limits(|limits| limits.max_message_size = MAX).start()
}

fn commit(number: u32) -> Frame {
    let mut header = Header::new(Command::COMMIT);
    header.set_view(number);
    Frame::new(header, vec![number as u8; 100].into()).expect("small")
}

/// Has peer 1 send two frames and then `bytes`, beside a peer 0 that must not notice.
fn expect_protocol_error(target: &Target, bystander: &mut Stranger, bytes: &[u8], what: &str) {
    let mut stranger = Stranger::join(target.address(), &TRUE, 1, US);
    target.up(1);
    let before = [commit(1), commit(2)];
    let glued: Vec<u8> = before.iter().flat_map(Frame::to_bytes).chain(bytes.to_vec()).collect();
    stranger.write(&glued);
    for frame in before {
        assert_eq!(target.frame(1), frame, "{what}");
    }
    assert_eq!(target.down(1), Reason::ProtocolError, "{what}");
    stranger.expect_end();
    bystander.ping();
    eventually(&format!("{what}: the peer's status says why"), || {
        let status = &target.bus.peers()[1];
        status.link.is_none() && status.last_reason == Some("protocol_error")
    });
    assert!(target.rest().is_empty(), "{what}: nothing behind the error is delivered");
}

fn with_size(size: u32) -> Header {
    let mut header = Header::new(Command::PREPARE);
    header.set_size(size);
    header
}

#[test]
fn a_bad_size_ends_the_link() {
    for shards in [1, 3] {
        let target = target(shards);
        let mut bystander = Stranger::join(target.address(), &TRUE, 0, US);
        target.up(0);
        for size in [0, 1, 255, MAX + 1, 1 << 30, 0x8000_0000, u32::MAX] {
            let bytes = with_size(size);
            let what = format!("size {size}");
            expect_protocol_error(&target, &mut bystander, bytes.as_bytes(), &what);
            // The size is judged as soon as it is there, without the rest of the header.
            let what = format!("size {size}, cut short");
            expect_protocol_error(&target, &mut bystander, &bytes.as_bytes()[..52], &what);
        }
        target.shutdown();
    }
}

#[test]
fn a_handshake_command_ends_the_link() {
    let target = target(1);
    let mut bystander = Stranger::join(target.address(), &TRUE, 0, US);
    target.up(0);
    for number in 14..=16 {
        for body in [0, 700, 200_000] {
            let header = Header::new(Command::new(number));
            let frame = Frame::new(header, vec![1; body].into()).expect("small");
            let behind = [frame.to_bytes(), commit(3).to_bytes()].concat();
            let what = format!("command {number} with a body of {body}");
            expect_protocol_error(&target, &mut bystander, &behind, &what);
        }
    }
    target.shutdown();
}

#[test]
fn the_largest_frame_passes_and_every_other_command_does() {
    let target = target(1);
    let mut stranger = Stranger::join(target.address(), &TRUE, 1, US);
    target.up(1);
    let body = vec![0xab; MAX as usize - 256];
    let largest = Frame::new(Header::new(Command::PREPARE), body.into()).expect("small");
    stranger.send(&largest);
    assert!(target.frame(1) == largest);
    for number in (0..=255).filter(|number| !(14..=16).contains(number) && *number != 1) {
        let frame = Frame::new(Header::new(Command::new(number)), vec![number; 3].into());
        let frame = frame.expect("small");
        stranger.send(&frame);
        assert_eq!(target.frame(1), frame);
    }
    target.shutdown();
}

#[test]
fn what_is_only_announced_costs_no_memory() {
    let target = target(1);
    let _bystander = Stranger::join(target.address(), &TRUE, 0, US);
    target.up(0);
    let before = kernel::peak_memory();
    for round in 0..64 {
        // Announced before the handshake, at its end, and after it.
        let mut hello = TRUE.hello(1);
        hello.set_size(u32::MAX - round);
        let mut early = Stranger::connect(target.address());
        early.write(hello.as_bytes());
        early.expect_end();
        let mut late = Stranger::join(target.address(), &TRUE, 1, US);
        target.up(1);
        late.write(with_size(u32::MAX - round).as_bytes());
        assert_eq!(target.down(1), Reason::ProtocolError);
    }
    let grown = kernel::peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more than before");
    target.shutdown();
}
