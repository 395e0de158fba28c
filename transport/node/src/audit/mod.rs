//! The audit log: who was let in, who was not, and what changed, in a file that shows when it was
//! tampered with.
//!
//! Every line is a JSON object with the BLAKE3 hash of the line before, so a line that was altered or
//! removed breaks the chain at that place. The shards hand events to a bounded queue and never wait;
//! one thread writes them. What could not be written is counted, and the count is written as soon as
//! it can be.

mod chain;
mod file;
mod line;
mod verify;
mod writer;

pub use chain::{Broken, Chain};
pub use file::Log;
pub use line::Record;
pub use verify::verify;
pub use writer::{Sink, Writer};
