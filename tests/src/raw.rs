//! Replicas that are plain sockets in the test's hands, for clusters without authentication.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use ringseal::auth::cluster_id;
use ringseal::{Command, Frame, Header, ReplicaId};

use crate::cluster::PATIENCE;
use crate::frames::HEADER;

/// Dials a replica as the lower id `from` and says Hello; the link is up when it has been read.
///
/// # Panics
///
/// When nobody listens.
#[must_use]
pub fn dial(address: SocketAddr, from: u8) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the replica listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    let mut hello = Header::new(Command::REPLICA_HELLO);
    hello.set_cluster(cluster_id("tests")).set_replica(ReplicaId::new(from));
    stream.write_all(hello.as_bytes()).expect("the replica reads");
    stream
}

/// Accepts a replica's dial and reads its Hello; the link is up for the dialer.
///
/// # Panics
///
/// When what comes is no Hello.
#[must_use]
pub fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().expect("the replica dials");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    let mut hello = [0; HEADER];
    stream.read_exact(&mut hello).expect("the replica says Hello");
    assert_eq!(Header::from_bytes(hello).as_view().command(), Command::REPLICA_HELLO);
    stream
}

/// Reads one frame; `None` at the end of the stream, also in the middle of a frame.
///
/// # Panics
///
/// When nothing comes for long.
pub fn read_frame(stream: &mut impl Read) -> Option<Frame> {
    let mut header = [0; HEADER];
    ended(stream.read_exact(&mut header))?;
    let header = Header::from_bytes(header);
    let size = header.as_view().size() as usize;
    let mut body = vec![0; size - HEADER];
    ended(stream.read_exact(&mut body))?;
    Some(Frame::new(header, body.into()).expect("it came over the wire"))
}

fn ended(read: io::Result<()>) -> Option<()> {
    match read {
        Ok(()) => Some(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            panic!("waited in vain: a frame")
        }
        Err(_) => None,
    }
}
