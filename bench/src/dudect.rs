//! A statistical test that checking a MAC takes constant time, after dudect.
//!
//! The acceptor's `on_finish` is timed on two classes of Finish, in random order: those whose MAC
//! is right in all but the last byte, and those whose MAC is random. Welch's t says whether the two
//! distributions of times differ, over all samples and over those below each of many percentiles
//! (a leak of a few nanoseconds drowns in the tail of interrupts otherwise).
//!
//! A test that finds nothing may be blind. So a comparison that stops at the first wrong byte goes
//! through the same harness, behind the same hashing, and has to be found out.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use ringseal_auth::{AwaitFinish, Binding, Direction, Exchange, LinkIds, Transcript, cluster_id};
use ringseal_wire::Header;

use crate::fixture::{self, ACCEPTOR, Cluster, DIALER};
use crate::stats::Moments;

/// Beyond this, dudect calls a function definitely not constant in time.
const THRESHOLD: f64 = 10.0;

/// Samples that only find the percentiles to crop at.
const CALIBRATION: usize = 10_000;

/// Percentiles to crop at, closer together towards the top.
const CROPS: u32 = 50;

/// The MAC of a Finish, within `reserved_command`.
const MAC: std::ops::Range<usize> = 32..64;

/// Runs both tests, prints what they found, and says whether all is as it should be: the acceptor
/// shows no leak and the leaky control shows one.
///
/// # Errors
///
/// If the handshake does not get as far as a Finish.
pub fn run(samples: u32) -> Result<bool> {
    let mut random = XorShift::seeded()?;
    let mut psk = [0; 32];
    random.fill(&mut psk);
    let cluster = Cluster::new(&psk)?;
    let (hello, dialer) = cluster.hello()?;
    let (challenge, acceptor) = cluster.challenge(&hello)?;
    let good = fixture::finish(dialer, challenge.as_view())?;
    acceptor.on_finish(good.as_view()).context("the right MAC is accepted")?;

    let fresh = || cluster.challenge(&hello).map(|(_, acceptor)| acceptor);
    let acceptor = test(samples, &good, &mut random, fresh, refuses)?;
    print("on_finish", &acceptor);

    let leaky = LeakyControl { cluster: &cluster, expected: mac(&good) };
    let control = test(samples, &good, &mut random, || Ok(&leaky), LeakyControl::refuses)?;
    print("leaky control", &control);

    let (constant, found) = (acceptor.worst <= THRESHOLD, control.worst > THRESHOLD);
    println!("on_finish: {}", if constant { "no leak found" } else { "LEAKS" });
    println!("leaky control: {}", if found { "found out, as it must be" } else { "NOT FOUND OUT" });
    Ok(constant && found)
}

fn print(name: &str, found: &Found) {
    let Found { worst, samples, difference } = found;
    println!(
        "{name}: max |t| = {worst:.2} (threshold {THRESHOLD}), {samples} samples, \
         near miss takes {difference:+.2} ns more than random"
    );
}

/// What is tested: a step of the real acceptor that refuses.
fn refuses(acceptor: AwaitFinish<'_>, finish: &Header) -> bool {
    acceptor.on_finish(finish.as_view()).is_err()
}

/// The positive control: the acceptor's hashing, then a comparison that gives away how many bytes
/// were right. Never to be used for anything else.
struct LeakyControl<'a> {
    cluster: &'a Cluster,
    expected: [u8; 32],
}

impl LeakyControl<'_> {
    fn refuses(&self, finish: &Header) -> bool {
        let exchange = Exchange {
            ids: LinkIds { cluster: cluster_id("bench"), dialer: DIALER, acceptor: ACCEPTOR },
            dialer_nonce: [7; 32],
            acceptor_nonce: [9; 32],
            binding: Binding::Plaintext,
        };
        black_box(self.cluster.keys.mac(Transcript::Current, &exchange, Direction::Dialer));
        !leaky_eq(&self.expected, &mac(finish))
    }
}

/// Equality that returns at the first difference: the leak that the test has to find.
#[inline(never)]
fn leaky_eq(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).all(|(left, right)| black_box(left) == black_box(right))
}

/// What a test found.
struct Found {
    /// The largest |t| over all croppings.
    worst: f64,
    /// Samples taken.
    samples: u32,
    /// Difference of the means below the median crop, in nanoseconds.
    difference: f64,
}

/// Times `step` on both classes, `samples` times in all.
fn test<S>(
    samples: u32,
    good: &Header,
    random: &mut XorShift,
    fresh: impl Fn() -> Result<S>,
    step: impl Fn(S, &Header) -> bool,
) -> Result<Found> {
    let mut measure = || -> Result<(usize, u32)> {
        let (class, finish) = random_case(good, random);
        let state = fresh()?;
        let started = Instant::now();
        let refused = black_box(step(black_box(state), black_box(&finish)));
        let took = started.elapsed();
        ensure!(refused, "a wrong MAC was accepted");
        Ok((class, u32::try_from(took.as_nanos()).unwrap_or(u32::MAX)))
    };
    let mut first = (0..CALIBRATION).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    first.sort_unstable_by_key(|(_, nanos)| *nanos);
    let limits: Vec<_> = (1..=CROPS)
        .map(|crop| {
            let kept = 1.0 - 0.5f64.powf(10.0 * f64::from(crop) / f64::from(CROPS));
            first[(kept * CALIBRATION as f64) as usize].1
        })
        .chain([u32::MAX])
        .collect();

    let mut classes = vec![[Moments::default(); 2]; limits.len()];
    for _ in 0..samples {
        let (class, nanos) = measure()?;
        for (limit, moments) in limits.iter().zip(&mut classes) {
            if nanos <= *limit {
                moments[class].push(f64::from(nanos));
            }
        }
    }
    let worst = classes.iter().map(|[near, far]| near.welch_t(far).abs()).fold(0.0, f64::max);
    let [near, far] = classes[CROPS as usize / 2];
    Ok(Found { worst, samples, difference: near.mean() - far.mean() })
}

/// A Finish of either class. Both are made every time and one is chosen without a branch, so that
/// making them takes as long for one as for the other.
fn random_case(good: &Header, random: &mut XorShift) -> (usize, Header) {
    let mut far = [0; 32];
    random.fill(&mut far);
    let mut near = mac(good);
    let changed = random.next();
    near[31] ^= (changed as u8) | 1;
    let class = (changed >> 63) as usize;
    let mut finish = good.clone();
    finish.reserved_command_mut()[MAC].copy_from_slice(black_box(&[near, far][class]));
    (class, finish)
}

fn mac(finish: &Header) -> [u8; 32] {
    let mut mac = [0; 32];
    mac.copy_from_slice(&finish.reserved_command()[MAC]);
    mac
}

/// Marsaglia's xorshift64*, seeded by the system: fast, and no secret depends on it.
struct XorShift(u64);

impl XorShift {
    fn seeded() -> Result<Self> {
        let seed = getrandom::u64().map_err(|error| anyhow!("no randomness: {error}"))?;
        Ok(Self(seed | 1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn fill(&mut self, bytes: &mut [u8; 32]) {
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
    }
}
