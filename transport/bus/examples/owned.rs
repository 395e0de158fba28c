//! Two replicas in one process, each with a bus that owns its threads: one greets, the other answers.
//!
//! `cargo run -p ringseal --example owned`

use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use ringseal::auth::Secret;
use ringseal::{
    Auth, Bus, Command, Config, Enforcement, Flow, Frame, FrameView, Handler, Header, KeyRing,
    Link, ReplicaId, Roster, Transcript,
};

/// Answers every Ping with a Pong of the same body and reports what it has heard.
struct Greeter(Sender<String>);

impl Handler for Greeter {
    fn on_link_up(&mut self, link: &mut Link<'_>, _incarnation: u64) {
        let hello = Frame::new(Header::new(Command::PING), "hello".into()).expect("it is small");
        link.send(hello).expect("a new link has room");
    }

    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let said = String::from_utf8_lossy(frame.body());
        let _ = self.0.send(format!("replica {}: {} {said}", link.peer(), frame.command()));
        if frame.command() == Command::PING {
            let pong = Frame::new(Header::new(Command::PONG), frame.to_frame().into_body());
            link.send(pong.expect("as large as the Ping")).expect("there is room");
        }
        Flow::Continue
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (heard, news) = channel();
    // Replica 1 listens where the kernel likes; replica 0, which dials it, is told where that is.
    let bus1 = start(1, "127.0.0.1:0", heard.clone())?;
    let bus0 = start(0, &bus1.local_addr().to_string(), heard)?;
    for _ in 0..4 {
        println!("{}", news.recv_timeout(Duration::from_secs(5))?);
    }
    bus0.shutdown(Duration::from_secs(1))?;
    Ok(bus1.shutdown(Duration::from_secs(1))?)
}

fn start(id: u8, replica1: &str, heard: Sender<String>) -> Result<Bus, Box<dyn Error>> {
    let replicas = [("127.0.0.1:0", 0), (replica1, 1)];
    let mut roster = Vec::new();
    for (address, id) in replicas {
        roster.push((ReplicaId::new(id), address.parse()?));
    }
    let secret = Secret::new(b"in earnest: ringseal keygen --out cluster.key".to_vec())?;
    let auth = Auth::On {
        keys: KeyRing::new(&secret, None),
        enforcement: Enforcement::Enforce,
        transcript: Transcript::Current,
    };
    let config = Config::new("example", ReplicaId::new(id), Roster::new(roster)?, auth)?;
    Ok(Bus::start(config.with_shards(1)?, move |_shard| Greeter(heard.clone()))?)
}
