//! The comparison: the same frames, in the same shapes, through different transports.
//!
//! A [`Shape`](shape::Shape) says what is moved; a [`Contestant`](contestant::Contestant) moves
//! it. Each end of a measurement is a process of its own, pinned to a core of its own, so that CPU
//! time is that end's and nobody else's: [`peer`] is the child, [`process`] drives it,
//! [`compare`] interleaves the rounds, and [`report`] and [`plot`] show what came out.

pub mod compare;
pub mod contestant;
pub mod count;
pub mod dudect;
pub mod fixture;
pub mod frame;
pub mod goals;
pub mod growth;
pub mod material;
pub mod measure;
pub mod output;
pub mod page;
pub mod peer;
pub mod plot;
pub mod process;
pub mod report;
pub mod scale;
pub mod shape;
pub mod siege;
pub mod stats;
pub mod syscalls;
pub mod window;
