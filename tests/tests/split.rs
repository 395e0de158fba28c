//! A stream cut at any place is the same stream, and what is glued to the handshake is not lost.

use std::thread;
use std::time::{Duration, Instant};

use ringseal::{Auth, Command, Frame, Header};
use ringseal_tests::kernel;
use ringseal_tests::stranger::{PATIENCE, Stranger, TRUE};
use ringseal_tests::target::{Setup, Target};

/// The target's id, above those of all that call it.
const US: u8 = 255;

fn prepare(number: u32, body: usize) -> Frame {
    let mut header = Header::new(Command::PREPARE);
    header.set_view(number);
    let body: Vec<u8> = (0..body).map(|at| (at as u32 ^ number) as u8).collect();
    Frame::new(header, body.into()).expect("small")
}

/// Three frames: without a body, with one, with a command that has no name.
fn three() -> Vec<Frame> {
    let unnamed = Frame::new(Header::new(Command::new(200)), vec![9; 5].into()).expect("small");
    vec![prepare(1, 0), prepare(2, 44), unnamed]
}

fn bytes_of(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::to_bytes).collect()
}

fn expect_frames(target: &Target, peer: u8, frames: &[Frame], context: &str) {
    for (at, expected) in frames.iter().enumerate() {
        let found = target.frame(peer);
        assert!(found == *expected, "{context}: frame {at} of {peer} is {found:?}");
    }
}

/// Waits until so many bytes of each stranger lie at the target unread.
fn wait_for_unread<'a>(
    target: &Target,
    strangers: impl Iterator<Item = (&'a Stranger, usize)> + Clone,
) {
    let ours = target.address();
    let deadline = Instant::now() + PATIENCE;
    let is_so = || {
        let connections = kernel::Connections::now();
        let unread = |stranger: &Stranger| connections.unread(ours, stranger.local_addr());
        strangers
            .clone()
            .all(|(stranger, expected)| unread(stranger).expect("the connection is up") == expected)
    };
    while !is_so() {
        assert!(Instant::now() < deadline, "the target does not read, or reads too early");
        // Looking again costs more than the target needs to read.
        thread::park_timeout(Duration::from_micros(200));
    }
}

/// Streams that are cut at different places and written side by side: each stranger's bytes in two
/// parts, the second when the first has arrived and been read, apart from what waits for its rest.
struct Cut {
    stranger: Stranger,
    bytes: Vec<u8>,
    at: usize,
    waits: usize,
}

fn write_cut(target: &Target, streams: &mut [Cut]) {
    for Cut { stranger, bytes, at, .. } in &mut *streams {
        stranger.write(&bytes[..*at]);
    }
    wait_for_unread(target, streams.iter().map(|cut| (&cut.stranger, cut.waits)));
    for Cut { stranger, bytes, at, .. } in streams {
        stranger.write(&bytes[*at..]);
    }
}

/// How many streams are cut side by side, each by a replica of its own.
const ABREAST: usize = 64;

/// A target that has time for every stranger.
fn patient_target(shards: usize) -> Target {
    Setup::new(US).callers(0..US).shards(shards).graces(600_000, 600_000).start()
}

#[test]
fn a_hello_cut_anywhere_is_a_hello() {
    let target = patient_target(1);
    for cuts in (1..=256).collect::<Vec<_>>().chunks(ABREAST) {
        let stream = |(peer, at): (usize, &usize)| {
            let bytes = TRUE.hello(peer as u8).as_bytes().to_vec();
            // A Hello is left where it is until it is whole.
            let (stranger, waits) = (Stranger::connect(target.address()), *at % 256);
            Cut { stranger, bytes, at: *at, waits }
        };
        let mut streams: Vec<_> = cuts.iter().enumerate().map(stream).collect();
        write_cut(&target, &mut streams);
        for Cut { stranger, at, .. } in &mut streams {
            let challenge = stranger.read_header().expect("a Challenge");
            assert_eq!(challenge.command(), Command::REPLICA_CHALLENGE, "cut at {at}");
        }
    }
    target.shutdown();
}

/// Cuts the Finish and the frames behind it at each of `cuts`.
fn cut_the_finish(shards: usize, cuts: impl Iterator<Item = usize>) {
    let target = patient_target(shards);
    let frames = three();
    for cuts in cuts.collect::<Vec<_>>().chunks(ABREAST) {
        let stream = |(peer, at): (usize, &usize)| {
            let mut stranger = Stranger::connect(target.address());
            let finish = stranger.prove(&TRUE, peer as u8, US);
            let bytes = [finish.as_bytes().to_vec(), bytes_of(&frames)].concat();
            Cut { stranger, bytes, at: *at, waits: 0 }
        };
        let mut streams: Vec<_> = cuts.iter().enumerate().map(stream).collect();
        write_cut(&target, &mut streams);
        for (peer, at) in (0..).zip(cuts) {
            expect_frames(&target, peer, &frames, &format!("cut at {at}"));
        }
        drop(streams);
        for (peer, _) in (0..).zip(cuts) {
            target.down(peer);
        }
    }
    target.shutdown();
}

#[test]
fn a_finish_cut_anywhere_is_a_finish() {
    cut_the_finish(1, 1..=256);
}

#[test]
fn a_stream_cut_on_its_way_to_another_shard_is_the_same_stream() {
    cut_the_finish(3, 1..256 + FRAMES);
}

/// The length of the three frames.
const FRAMES: usize = 256 + 300 + 261;

#[test]
fn frames_cut_anywhere_are_the_same_frames() {
    let target = patient_target(1);
    let frames = three();
    let bytes = bytes_of(&frames);
    assert_eq!(bytes.len(), FRAMES);
    let link = |peer| {
        let stranger = Stranger::join(target.address(), &TRUE, peer as u8, US);
        Cut { stranger, bytes: bytes.clone(), at: 0, waits: 0 }
    };
    let mut links: Vec<_> = (0..ABREAST).map(link).collect();
    for cuts in (1..FRAMES).collect::<Vec<_>>().chunks(ABREAST) {
        for (link, at) in links.iter_mut().zip(cuts) {
            link.at = *at;
        }
        write_cut(&target, &mut links[..cuts.len()]);
        for (peer, at) in (0..).zip(cuts) {
            expect_frames(&target, peer, &frames, &format!("cut at {at}"));
        }
    }
    target.shutdown();
}

#[test]
fn a_stream_of_single_bytes_is_the_same_stream() {
    let plain = Setup::new(US).callers([1]).auth(Auth::Off).graces(600_000, 600_000).start();
    let proven = patient_target(1);
    let mut streams = [Stranger::connect(plain.address()), Stranger::connect(proven.address())];
    let first = [TRUE.plain_hello(1), streams[1].prove(&TRUE, 1, US)];
    let bytes = first.map(|first| [first.as_bytes().to_vec(), bytes_of(&three())].concat());
    for at in 0..bytes[0].len() {
        // Side by side, so that each wakes while the other is written to.
        for (stream, bytes) in streams.iter_mut().zip(&bytes) {
            stream.write(&bytes[at..=at]);
        }
        // A Hello is left where it is until it is whole, a Finish is not.
        let waits = [(at + 1) % 256, 0];
        for ((target, stream), waits) in [&plain, &proven].into_iter().zip(&streams).zip(waits) {
            // The first frame is the handshake's; after it, the link counts what it reads.
            match (at + 1).checked_sub(256) {
                None | Some(0) => wait_for_unread(target, std::iter::once((stream, waits))),
                Some(read) => target.wait("the byte is read", |m| m.bytes_in == read as u64),
            }
        }
    }
    for (target, authenticated) in [(plain, false), (proven, true)] {
        assert_eq!(target.up(1).1, authenticated);
        expect_frames(&target, 1, &three(), "single bytes");
        target.shutdown();
    }
}

/// Sixty frames of up to 90 KB, larger than a receive buffer and smaller, in one write with `first`.
fn glue(first: &Header) -> (Vec<u8>, Vec<Frame>) {
    let size = |number| [0, 1, 90_000 - 256, 300, 65_536, 7, 65_280, 31_000][number % 8];
    let frames: Vec<_> = (0..60).map(|number| prepare(number, size(number as usize))).collect();
    ([first.as_bytes().to_vec(), bytes_of(&frames)].concat(), frames)
}

#[test]
fn frames_glued_to_the_finish_arrive_whole_and_in_order() {
    for shards in [1, 3] {
        let target = Setup::new(US).callers(0..US).shards(shards).start();
        // Several peers at once, so that with shards some links move and some stay.
        let mut strangers = Vec::new();
        for peer in 0..6 {
            let mut stranger = Stranger::connect(target.address());
            let finish = stranger.prove(&TRUE, peer, US);
            let (bytes, frames) = glue(&finish);
            strangers.push(std::thread::spawn(move || {
                stranger.write(&bytes);
                stranger
            }));
            target.up(peer);
            expect_frames(&target, peer, &frames, &format!("{shards} shards"));
        }
        for stranger in strangers {
            stranger.join().expect("everything was taken").ping();
        }
        target.shutdown();
    }
}

#[test]
fn frames_glued_to_a_plain_hello_arrive_whole_and_in_order() {
    for shards in [1, 3] {
        let target = Setup::new(US).callers(0..US).shards(shards).auth(Auth::Off).start();
        for peer in 0..6 {
            let mut stranger = Stranger::connect(target.address());
            let (bytes, frames) = glue(&TRUE.plain_hello(peer));
            stranger.write(&bytes);
            target.up(peer);
            expect_frames(&target, peer, &frames, &format!("{shards} shards"));
            stranger.ping();
        }
        target.shutdown();
    }
}
