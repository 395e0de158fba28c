//! Medians and spreads.

/// The middle, the least and the most of a few measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many there were.
    pub rounds: usize,
}

impl Spread {
    /// The spread of `values`, or `None` if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max, rounds: sorted.len() })
    }
}

/// Mean and variance of a stream of numbers, by Welford's method.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Takes one number in.
    pub fn push(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }

    /// The mean so far.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Welch's t between two streams; zero while either has fewer than two numbers or nothing
    /// varies.
    #[must_use]
    pub fn welch_t(&self, other: &Self) -> f64 {
        if self.count < 2.0 || other.count < 2.0 {
            return 0.0;
        }
        let error = |m: &Self| m.squares / (m.count - 1.0) / m.count;
        let scale = (error(self) + error(other)).sqrt();
        if scale == 0.0 { 0.0 } else { (self.mean - other.mean) / scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        let odd = Spread::of(&[3.0, 1.0, 2.0]).expect("three");
        assert_eq!((odd.median, odd.min, odd.max, odd.rounds), (2.0, 1.0, 3.0, 3));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).expect("four").median, 2.5);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn welch_t_of_known_samples() {
        let mut left = Moments::default();
        let mut right = Moments::default();
        [1.0, 2.0, 3.0, 4.0, 5.0].into_iter().for_each(|x| left.push(x));
        [2.0, 4.0, 6.0, 8.0, 10.0].into_iter().for_each(|x| right.push(x));
        assert!((left.welch_t(&right) + 1.897_366).abs() < 1e-5);
    }
}
