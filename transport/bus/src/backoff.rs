//! How long to wait before dialling a peer again.

use std::time::Duration;

/// The first step, unless the period is shorter.
const FIRST: Duration = Duration::from_millis(50);

/// Waits that double up to a period, each drawn from the upper half of its step, so that replicas
/// which lost the same peer do not all come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    step: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { step: FIRST }
    }

    /// The next wait, of at most `period`. `random` is any number, uniformly drawn.
    pub(crate) fn next(&mut self, period: Duration, random: u32) -> Duration {
        let half = self.step.min(period) / 2;
        self.step = (self.step * 2).min(period);
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Tells how long a link stayed up: only one that stayed as long as the period proves that the
    /// peer wants us, and starts the steps again. A peer that admits us and hangs up does not.
    pub(crate) fn link_lasted(&mut self, period: Duration, up: Duration) {
        if up >= period {
            *self = Self::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wait_lies_in_the_upper_half_of_its_step_and_steps_double_to_the_period() {
        for random in [0, 1, u32::MAX / 2, u32::MAX] {
            let period = Duration::from_secs(5);
            let mut backoff = Backoff::new();
            let mut step = FIRST;
            for _ in 0..12 {
                let wait = backoff.next(period, random);
                assert!(step / 2 <= wait && wait <= step, "{wait:?} of {step:?}");
                step = (step * 2).min(period);
            }
            assert_eq!(step, period);
        }
    }

    #[test]
    fn only_a_link_that_lasted_starts_the_steps_again() {
        let period = Duration::from_secs(1);
        let mut backoff = Backoff::new();
        let _ = (0..8).map(|_| backoff.next(period, 0)).last();
        backoff.link_lasted(period, period - Duration::from_millis(1));
        assert_eq!(backoff.next(period, 0), period / 2);
        backoff.link_lasted(period, period);
        assert_eq!(backoff.next(period, 0), FIRST / 2);
    }

    #[test]
    fn a_short_period_is_its_own_first_step() {
        let period = Duration::from_millis(10);
        assert!(Backoff::new().next(period, u32::MAX) <= period);
    }
}
