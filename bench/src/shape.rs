//! What is moved: the named shapes of the comparison.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::frame::{HEADER, LARGEST};

/// The shapes that are run unless others are named, in the order of the report.
pub const ALL: &[&str] = &[
    "echo-256-w1",
    "echo-256-w64",
    "echo-256-w256",
    "echo-4096-w1",
    "echo-4096-w64",
    "echo-4096-w256",
    "echo-65536-w1",
    "echo-65536-w16",
    "oneway-256",
    "oneway-4096",
    "oneway-65536",
    "rtt-256",
    "links6-256-w16",
    "links6x2-256-w16",
    "connect",
    "connect-16",
    "handshake-cpu",
    "handshake-hashing",
    "parse-256",
];

/// Ids are one byte, so a replica has at most this many peers.
const MOST_PEERS: usize = 255;

/// One shape. Sizes are of the whole frame, header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Shape {
    /// `echo-SIZE-wWINDOW` and `linksLINKS-SIZE-wWINDOW`: on every link the client keeps `window`
    /// frames under way and the server sends each one back whole. `linksLINKSx2-SIZE-wWINDOW` is
    /// the same with a server of two shards that answers each link's frames on a link of the other
    /// shard.
    Echo {
        /// Bytes per frame.
        size: usize,
        /// Frames under way on one link.
        window: usize,
        /// Links between the two ends.
        links: usize,
        /// Shards of the server.
        shards: usize,
    },
    /// `oneway-SIZE`: the client sends as fast as the link takes frames; the server swallows them
    /// and, asked at the end, says how many there were.
    OneWay {
        /// Bytes per frame.
        size: usize,
    },
    /// `rtt-SIZE`: one frame there and back at a time, each one timed.
    RoundTrip {
        /// Bytes per frame.
        size: usize,
    },
    /// `connect` and `connect-N`: connect, shake hands if the contestant does, one 256-byte frame
    /// there and back, close; `at_once` of these at any time.
    Connect {
        /// Connections under way together.
        at_once: usize,
    },
    /// `handshake-cpu`: both sides of the handshake in one thread's memory.
    HandshakeCpu,
    /// `handshake-hashing`: the same with nonces that are there already, which leaves the hashing.
    HandshakeHashing,
    /// `parse-SIZE`: a received buffer of 64 KiB cut into frames.
    Parse {
        /// Bytes per frame.
        size: usize,
    },
    /// `idle-LINKS` and `idle-LINKSxSHARDS`: links over which nothing goes any more, and what they
    /// cost the server.
    Idle {
        /// Links to the server; there may be none.
        links: usize,
        /// Shards of the server.
        shards: usize,
    },
}

/// What the shapes that move a stream of frames have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes per frame.
    pub size: usize,
    /// Frames under way on one link; for a one-way stream, frames that may be queued.
    pub window: usize,
    /// Links between the two ends.
    pub links: usize,
    /// Shards that the server spreads the links over.
    pub shards: usize,
    /// Whether the server sends every frame back.
    pub echo: bool,
    /// Whether each round trip is timed.
    pub timed: bool,
}

impl Traffic {
    /// Bytes that a stream's read or write buffer wants: 64 KiB for small frames, as the
    /// comparison asks, and room for four of the largest.
    #[must_use]
    pub fn buffer(&self) -> usize {
        (4 * self.size).max(64 << 10)
    }
}

impl Shape {
    /// The stream that this shape moves, if it moves one.
    #[must_use]
    pub fn traffic(self) -> Option<Traffic> {
        let one = Traffic { size: 0, window: 1, links: 1, shards: 1, echo: true, timed: false };
        match self {
            Self::Echo { size, window, links, shards } => {
                Some(Traffic { size, window, links, shards, ..one })
            }
            Self::OneWay { size } => {
                let window = ((4 << 20) / size).min(1024);
                Some(Traffic { size, window, echo: false, ..one })
            }
            Self::RoundTrip { size } => Some(Traffic { size, timed: true, ..one }),
            Self::Idle { links, shards } => Some(Traffic { size: HEADER, links, shards, ..one }),
            Self::Connect { .. }
            | Self::HandshakeCpu
            | Self::HandshakeHashing
            | Self::Parse { .. } => None,
        }
    }

    /// Whether there is only one process, which has both sides or the only one in its memory.
    #[must_use]
    pub fn in_memory(self) -> bool {
        matches!(self, Self::HandshakeCpu | Self::HandshakeHashing | Self::Parse { .. })
    }

    /// How many connections are made at once, for the shapes that make connections.
    #[must_use]
    pub fn at_once(self) -> Option<usize> {
        match self {
            Self::Connect { at_once } => Some(at_once),
            _ => None,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Echo { size, window, links: 1, .. } => write!(f, "echo-{size}-w{window}"),
            Self::Echo { size, window, links, shards: 1 } => {
                write!(f, "links{links}-{size}-w{window}")
            }
            Self::Echo { size, window, links, shards } => {
                write!(f, "links{links}x{shards}-{size}-w{window}")
            }
            Self::OneWay { size } => write!(f, "oneway-{size}"),
            Self::RoundTrip { size } => write!(f, "rtt-{size}"),
            Self::Connect { at_once: 1 } => f.write_str("connect"),
            Self::Connect { at_once } => write!(f, "connect-{at_once}"),
            Self::HandshakeCpu => f.write_str("handshake-cpu"),
            Self::HandshakeHashing => f.write_str("handshake-hashing"),
            Self::Parse { size } => write!(f, "parse-{size}"),
            Self::Idle { links, shards: 1 } => write!(f, "idle-{links}"),
            Self::Idle { links, shards } => write!(f, "idle-{links}x{shards}"),
        }
    }
}

impl FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let parts: Vec<_> = name.split('-').collect();
        let shape = match parts[..] {
            ["echo", size, window] => {
                let (size, window) = (frame_size(size)?, window_of(window)?);
                Self::Echo { size, window, links: 1, shards: 1 }
            }
            ["oneway", size] => Self::OneWay { size: frame_size(size)? },
            ["rtt", size] => Self::RoundTrip { size: frame_size(size)? },
            ["connect"] => Self::Connect { at_once: 1 },
            ["connect", at_once] => Self::Connect { at_once: bounded(at_once, MOST_PEERS)? },
            ["handshake", "cpu"] => Self::HandshakeCpu,
            ["handshake", "hashing"] => Self::HandshakeHashing,
            ["parse", size] => Self::Parse { size: frame_size(size)? },
            ["idle", links] => {
                let (links, shards) = links.split_once('x').unwrap_or((links, "1"));
                let links = if links == "0" { 0 } else { bounded(links, MOST_PEERS)? };
                Self::Idle { links, shards: bounded(shards, 2)? }
            }
            [links, size, window] if links.starts_with("links") => {
                let (size, window) = (frame_size(size)?, window_of(window)?);
                let links = &links["links".len()..];
                let (links, shards) = links.split_once('x').unwrap_or((links, "1"));
                let (links, shards) = (bounded(links, 64)?, bounded(shards, 2)?);
                ensure!(links % shards == 0, "{links} links cannot be shared by {shards} shards");
                Self::Echo { size, window, links, shards }
            }
            _ => bail!("no shape is called {name}; there are {}", ALL.join(", ")),
        };
        Ok(shape)
    }
}

impl TryFrom<String> for Shape {
    type Error = anyhow::Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Shape> for String {
    fn from(shape: Shape) -> Self {
        shape.to_string()
    }
}

fn frame_size(text: &str) -> Result<usize> {
    let size = bounded(text, LARGEST)?;
    ensure!(size >= HEADER, "a frame has at least {HEADER} bytes, {size} is less");
    Ok(size)
}

fn window_of(text: &str) -> Result<usize> {
    bounded(text.strip_prefix('w').context("a window is written wN")?, 1024)
}

fn bounded(text: &str, most: usize) -> Result<usize> {
    let number: usize = text.parse().with_context(|| format!("{text} is not a number"))?;
    ensure!((1..=most).contains(&number), "{number} is outside 1..={most}");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for name in ALL.iter().chain(&["idle-0", "idle-240x2", "links64x2-256-w16", "connect-255"])
        {
            let shape: Shape = name.parse().expect("a listed shape parses");
            assert_eq!(shape.to_string(), *name);
        }
    }

    #[test]
    fn loads_are_bounded() {
        for name in
            ["echo-255-w1", "echo-131072-w1", "links1000-256-w1", "connect-256", "echo-256-w9999"]
        {
            assert!(name.parse::<Shape>().is_err(), "{name} is too much");
        }
    }
}
