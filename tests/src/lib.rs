//! Helpers shared by the end-to-end tests in `tests/`.

pub mod address;
pub mod alloc;
pub mod cluster;
pub mod fleet;
pub mod frames;
pub mod journal;
pub mod kernel;
pub mod netns;
pub mod proxy;
pub mod raw;
pub mod script;
pub mod stranger;
pub mod target;

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The book's examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
pub struct Embedding;
