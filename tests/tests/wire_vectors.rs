//! Frames taken from a deployed peer pass through the wire crate byte for byte.

use ringseal_wire::{
    ClusterId, Command, DEFAULT_MAX_FRAME, Deframer, Frame, Header, HeaderView, ReplicaId,
};
use serde_json::Value;

/// Every frame in the vectors, with the place it was found at and the command it must carry.
fn frames() -> Vec<(String, Command, Vec<u8>)> {
    const STEPS: [(&str, Command); 3] = [
        ("hello", Command::REPLICA_HELLO),
        ("challenge", Command::REPLICA_CHALLENGE),
        ("finish", Command::REPLICA_FINISH),
    ];
    let vectors: Value =
        serde_json::from_str(include_str!("../vectors/handshake.json")).expect("valid JSON");
    let mut frames = Vec::new();
    for list in ["macs", "captures"] {
        for (index, entry) in array(&vectors[list]).iter().enumerate() {
            for (step, command) in STEPS {
                frames.push((format!("{list}[{index}].{step}"), command, hex(&entry[step])));
            }
        }
    }
    for entry in array(&vectors["frames"]) {
        let name = entry["name"].as_str().expect("a name");
        let (_, command) = STEPS
            .into_iter()
            .find(|(step, _)| name.starts_with(step))
            .unwrap_or_else(|| panic!("{name} begins with a step's name"));
        frames.push((name.to_owned(), command, hex(&entry["frame"])));
    }
    frames
}

fn array(value: &Value) -> &[Value] {
    let array = value.as_array().expect("a list");
    assert!(!array.is_empty());
    array
}

fn hex(value: &Value) -> Vec<u8> {
    let (pairs, []) = value.as_str().expect("hex").as_bytes().as_chunks::<2>() else {
        panic!("an odd number of digits");
    };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(|pair| byte(pair).expect("hex")).collect()
}

/// A header built up from nothing but another's fields.
fn rebuilt(source: HeaderView<'_>) -> Header {
    let mut header = Header::default();
    header
        .set_checksum(source.checksum())
        .set_checksum_body(source.checksum_body())
        .set_cluster(source.cluster())
        .set_size(source.size())
        .set_view(source.view())
        .set_release(source.release())
        .set_command(source.command())
        .set_replica(source.replica());
    *header.reserved_frame_mut() = *source.reserved_frame();
    *header.reserved_command_mut() = *source.reserved_command();
    header
}

#[test]
fn every_frame_round_trips() {
    for (name, command, bytes) in frames() {
        let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
        deframer.feed(&bytes);
        let frame = deframer.next_frame().expect("size is right").expect("a whole frame");
        assert_eq!(frame.as_bytes(), bytes, "{name}");
        let frame = frame.to_frame();
        assert!(deframer.is_empty(), "{name}");
        assert_eq!(frame.command(), command, "{name}");
        assert!(frame.command().is_handshake(), "{name}");
        assert_eq!(frame.to_bytes(), bytes, "{name}");

        let header = rebuilt(frame.header());
        assert_eq!(header.as_bytes().as_slice(), bytes, "{name}");
        let again = Frame::new(header, frame.clone().into_body()).expect("no body");
        assert_eq!(again, frame, "{name}");
    }
}

#[test]
fn the_frames_back_to_back_come_out_in_order() {
    let frames = frames();
    let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
    for (_, _, bytes) in &frames {
        deframer.feed(bytes);
    }
    for (name, _, bytes) in &frames {
        let frame = deframer.next_frame().expect("size is right").expect("a whole frame");
        assert_eq!(frame.as_bytes(), bytes, "{name}");
    }
    assert!(deframer.is_empty());
}

#[test]
fn ids_are_read_as_the_peer_wrote_them() {
    let vectors: Value =
        serde_json::from_str(include_str!("../vectors/handshake.json")).expect("valid JSON");
    let replica = |value: &Value| {
        ReplicaId::new(value.as_u64().and_then(|id| id.try_into().ok()).expect("a byte"))
    };
    for entry in array(&vectors["macs"]) {
        let cluster: [u8; 16] = hex(&entry["cluster_id"]).try_into().expect("16 bytes");
        let cluster = ClusterId::new(u128::from_le_bytes(cluster));
        assert_eq!(cluster.to_string(), entry["cluster_id"]);
        for (step, sender) in
            [("hello", "dialer_id"), ("challenge", "acceptor_id"), ("finish", "dialer_id")]
        {
            let bytes = hex(&entry[step]);
            let header = HeaderView::from_slice(&bytes).expect("256 bytes");
            assert_eq!(header.cluster(), cluster);
            assert_eq!(header.replica(), replica(&entry[sender]));
        }
    }
}
