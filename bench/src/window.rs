//! The client's end of a stream, without its transport: what may be sent, and when it is over.
//!
//! Every contestant's client asks the same two questions in the same order, so that none does
//! less work than another: how many frames may go now, and here is a frame that came.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;

use crate::frame::{self, HEADER};
use crate::measure::Latencies;
use crate::shape::Traffic;

/// The clock is looked at once in this many frames, so that looking costs nothing.
const FRAMES_PER_LOOK: u32 = 32;

/// An echo client's window on one link.
#[derive(Debug)]
pub struct Window {
    window: usize,
    /// Grows to `window` by one per answer: a full window of large frames at once could find
    /// both ends of a blocking transport writing and neither reading.
    open: usize,
    in_flight: usize,
    returned: u64,
    expected: Bytes,
    clock: Deadline,
    sent_at: Instant,
    latencies: Option<Latencies>,
}

impl Window {
    /// A window for `traffic` that stays open for `time`.
    ///
    /// # Errors
    ///
    /// If the latency histogram cannot be made.
    pub fn new(traffic: &Traffic, expected: Bytes, time: Duration) -> Result<Self> {
        let one = traffic.window == 1;
        Ok(Self {
            window: traffic.window,
            open: traffic.window.min((64 << 10) / traffic.size).max(1),
            in_flight: 0,
            returned: 0,
            expected,
            clock: Deadline::new(time, if one { 1 } else { FRAMES_PER_LOOK }),
            sent_at: Instant::now(),
            latencies: if traffic.timed { Some(Latencies::new()?) } else { None },
        })
    }

    /// How many frames to send now. They count as sent.
    pub fn to_send(&mut self) -> usize {
        self.to_send_at_most(usize::MAX)
    }

    /// The same for one of several links that share the window.
    pub fn to_send_at_most(&mut self, most: usize) -> usize {
        if self.clock.over {
            return 0;
        }
        let count = self.open.saturating_sub(self.in_flight).min(most);
        self.in_flight += count;
        if self.latencies.is_some() && count > 0 {
            self.sent_at = Instant::now();
        }
        count
    }

    /// A frame came back, in one piece or as header and body.
    ///
    /// # Errors
    ///
    /// If it is not the frame that was sent: the first is compared in full, the rest by length.
    pub fn arrived(&mut self, head: &[u8], body: &[u8]) -> Result<()> {
        let length = head.len() + body.len();
        ensure!(length == self.expected.len(), "an echo of {length} bytes came back");
        if self.returned == 0 {
            let (left, right) = self.expected.split_at(head.len());
            ensure!(left == head && right == body, "an echo differs from the frame sent");
        }
        if let Some(latencies) = &mut self.latencies {
            latencies.record(self.sent_at.elapsed());
        }
        self.returned += 1;
        self.in_flight -= 1;
        self.open = self.window.min(self.open + 1);
        self.clock.tick();
        Ok(())
    }

    /// Whether time is up and every frame is back.
    #[must_use]
    pub fn done(&self) -> bool {
        self.clock.over && self.in_flight == 0
    }

    /// Frames that made the whole way, and how long each took if that was asked for.
    #[must_use]
    pub fn finish(&mut self) -> (u64, Option<Latencies>) {
        (self.returned, self.latencies.take())
    }
}

/// A deadline that looks at the clock only now and then.
#[derive(Debug)]
pub struct Deadline {
    at: Instant,
    every: u32,
    until_look: u32,
    over: bool,
}

impl Deadline {
    /// A deadline `time` from now, looked at once in `every` ticks.
    #[must_use]
    pub fn new(time: Duration, every: u32) -> Self {
        Self { at: Instant::now() + time, every, until_look: every, over: false }
    }

    /// One more unit of work was done; returns whether there is time for another.
    pub fn tick(&mut self) -> bool {
        self.until_look -= 1;
        if self.until_look == 0 {
            self.until_look = self.every;
            self.over = self.over || Instant::now() >= self.at;
        }
        !self.over
    }
}

/// A server's end, without its transport: what to answer to a frame.
#[derive(Debug)]
pub enum Answerer {
    /// Sends every frame back.
    Echo,
    /// Swallows frames and counts them.
    Sink(u32),
}

/// What a server does with a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send the same frame back.
    Same,
    /// Send this frame.
    Other(Bytes),
    /// Send nothing.
    Nothing,
}

impl Answerer {
    /// The answerer that `traffic` wants on each link.
    #[must_use]
    pub fn new(traffic: &Traffic) -> Self {
        if traffic.echo { Self::Echo } else { Self::Sink(0) }
    }

    /// What to do with a frame that starts with `header`.
    pub fn answer(&mut self, header: &[u8]) -> Answer {
        match self {
            Self::Echo => Answer::Same,
            Self::Sink(count) if frame::command(header) == frame::PING => {
                Answer::Other(frame::count_answer(std::mem::take(count)))
            }
            Self::Sink(count) => {
                *count = count.wrapping_add(1);
                Answer::Nothing
            }
        }
    }
}

/// Checks the answer that ends a one-way stream.
///
/// # Errors
///
/// If it is not an answer, or counts other frames than `sent`.
pub fn check_count(answer: &[u8], sent: u64) -> Result<()> {
    ensure!(
        answer.len() == HEADER && frame::command(answer) == frame::PING,
        "a one-way stream ended in something else than a count"
    );
    let counted = frame::counted(answer);
    ensure!(counted == sent as u32, "{sent} frames were sent and {counted} arrived");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    fn traffic(name: &str) -> Traffic {
        let shape: Shape = name.parse().expect("a shape");
        shape.traffic().expect("a stream")
    }

    #[test]
    fn a_window_never_holds_more_than_it_may() {
        let traffic = traffic("echo-65536-w16");
        let echo = frame::build(traffic.size, frame::REQUEST);
        let mut window =
            Window::new(&traffic, echo.clone(), Duration::from_secs(60)).expect("a window");
        let mut in_flight = window.to_send();
        for _ in 0..100 {
            window.arrived(&echo, &[]).expect("the same frame");
            in_flight -= 1;
            in_flight += window.to_send();
            assert!(in_flight <= 16);
        }
        assert_eq!(in_flight, 16);
    }

    #[test]
    fn a_changed_echo_is_noticed() {
        let traffic = traffic("echo-256-w1");
        let echo = frame::build(256, frame::REQUEST);
        let mut window = Window::new(&traffic, echo, Duration::from_secs(60)).expect("a window");
        window.to_send();
        assert!(window.arrived(&[0; 256], &[]).is_err());
    }

    #[test]
    fn a_sink_says_how_many_it_swallowed() {
        let mut sink = Answerer::Sink(0);
        let request = frame::build(256, frame::REQUEST);
        for _ in 0..3 {
            assert_eq!(sink.answer(&request), Answer::Nothing);
        }
        let Answer::Other(answer) = sink.answer(&frame::build(256, frame::PING)) else {
            panic!("a ping is answered");
        };
        check_count(&answer, 3).expect("three");
    }
}
