//! The frame format of the ringseal replica bus.
//!
//! A frame is a [256-byte header](HeaderView) and a body of up to 4 GiB. This crate cuts a byte stream
//! into frames, reads them in place, and holds those that are kept as reference-counted slices. It performs
//! no IO and knows no runtime: a driver brings the bytes.
//!
//! | to | use |
//! |---|---|
//! | read a header where it lies, at any alignment | [`HeaderView`] |
//! | build or change a header | [`Header`] |
//! | hold a whole frame, to send it or to keep it | [`Frame`] |
//! | look at a received frame where it lies | [`FrameView`] |
//! | turn received bytes into frames, within a bound | [`Deframer`] |
//!
//! ```
//! use bytes::Bytes;
//! use ringseal_wire::{Command, DEFAULT_MAX_FRAME, Deframer, Frame, Header, ReplicaId};
//!
//! let mut header = Header::new(Command::PREPARE);
//! header.set_replica(ReplicaId::new(1)).set_view(7);
//! let sent = Frame::new(header, Bytes::from_static(b"an operation"))?;
//!
//! let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
//! deframer.feed(&sent.to_bytes());
//! let received = deframer.next_frame()?.expect("a whole frame was fed");
//!
//! assert_eq!(received.command(), Command::PREPARE);
//! assert_eq!(received.header().view(), 7);
//! assert_eq!(received.body(), b"an operation");
//! assert_eq!(received.to_frame(), sent);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Bytes from a peer never make this crate panic, and never make it reserve memory for what they only
//! announce.

#![forbid(unsafe_code)]

mod command;
mod deframer;
mod error;
mod frame;
mod header;
mod id;

pub use command::Command;
pub use deframer::{DEFAULT_MAX_FRAME, Deframer};
pub use error::{FrameTooLarge, SizeError};
pub use frame::{Frame, FrameView};
pub use header::{HEADER_LEN, Header, HeaderView};
pub use id::{ClusterId, ReplicaId};
