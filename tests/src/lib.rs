//! Helpers shared by the end-to-end tests in `tests/`.

pub mod alloc;
