//! Numbers as people read them.

use std::time::Duration;

/// A whole number with its thousands set apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in three digits or so: `870 ns`, `12.3 µs`, `4.56 ms`, `7.89 s`.
pub fn time(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = match value {
        _ if unit == "ns" => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A number of bytes in the unit that suits it: `3.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    let digits = usize::from(unit != "B" && value < 99.95);
    format!("{value:.digits$} {unit}")
}

/// How long something has lasted, in its one or two largest units: `42s`, `3m07s`, `5h02m`, `12d`.
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d"),
    }
}

/// Bytes per second as MiB/s.
pub fn mib(bytes_per_second: f64) -> String {
    format!("{:.1}", bytes_per_second / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_set_in_threes() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn times_and_sizes_have_a_unit_that_suits_them() {
        for (nanos, text) in [
            (870, "870 ns"),
            (1_234, "1.23 µs"),
            (45_600, "45.6 µs"),
            (789_000, "789 µs"),
            (1_500_000, "1.50 ms"),
            (2_000_000_000, "2.00 s"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), text);
        }
        for (size, text) in [(5, "5 B"), (4096, "4.0 KiB"), (200 << 20, "200 MiB")] {
            assert_eq!(bytes(size), text);
        }
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (187, "3m07s"), (18_125, "5h02m"), (1_100_000, "12d")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
        assert_eq!(mib(f64::from(3 << 19)), "1.5");
    }
}
