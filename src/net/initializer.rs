//! Initial weights, named as the rules were published.
//!
//! n_in and n_out are the fan-in and fan-out of one output: KH*KW*I and KH*KW*O for a convolution, I and O for an fc.
//! Draws are made in f64 and rounded to f32. Each layer has its own ChaCha8 stream, so the same seed gives the same
//! weights on every platform, and a change to one layer leaves the others' draws unchanged.

use super::ParameterShape;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// How initial weights are drawn. Biases are not drawn: each layer's description gives them, with a default of 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Initializer {
    /// Uniform within ±1/√n_in.
    Xavier,
    /// Uniform within ±√6/√(n_in + n_out): Glorot and Bengio 2010, equation 16.
    XavierNormalized,
    /// Normal with σ = √(2/n_in): He et al. 2015, equation 10.
    #[default]
    Kaiming,
    /// Normal with σ = √(1/n_in): LeCun et al. 1998; ConvNetJS's choice.
    Lecun,
}

impl Initializer {
    /// Every initializer with its name in descriptions.
    pub const ALL: [(Initializer, &str); 4] = [
        (Initializer::Xavier, "xavier"),
        (Initializer::XavierNormalized, "xavier-normalized"),
        (Initializer::Kaiming, "kaiming"),
        (Initializer::Lecun, "lecun"),
    ];

    /// The names in PyTorch and Keras.
    const ELSEWHERE: [(Initializer, &str); 8] = [
        (Initializer::XavierNormalized, "xavier-uniform"),
        (Initializer::XavierNormalized, "glorot-uniform"),
        (Initializer::XavierNormalized, "glorot"),
        (Initializer::XavierNormalized, "xavier-normalised"),
        (Initializer::Kaiming, "kaiming-normal"),
        (Initializer::Kaiming, "he-normal"),
        (Initializer::Kaiming, "he"),
        (Initializer::Lecun, "lecun-normal"),
    ];

    /// Draws one layer's weights; `layer` numbers the layers that have weights.
    pub(super) fn draw(self, shape: &ParameterShape, seed: u64, layer: u64) -> Vec<f32> {
        let count = shape.weight.iter().product();
        let (n_in, n_out) = (shape.fan_in as f64, shape.fan_out as f64);
        let mut random = stream(seed, layer);
        match self {
            Initializer::Xavier => uniform(&mut random, count, 1.0 / n_in.sqrt()),
            Initializer::XavierNormalized => uniform(&mut random, count, 6f64.sqrt() / (n_in + n_out).sqrt()),
            Initializer::Kaiming => normal(&mut random, count, (2.0 / n_in).sqrt()),
            Initializer::Lecun => normal(&mut random, count, (1.0 / n_in).sqrt()),
        }
    }
}

impl fmt::Display for Initializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::name_of(*self, &Initializer::ALL))
    }
}

impl FromStr for Initializer {
    type Err = crate::Error;

    fn from_str(name: &str) -> crate::Result<Initializer> {
        super::by_name("initializer", name, &Initializer::ALL, &Initializer::ELSEWHERE)
    }
}

impl TryFrom<String> for Initializer {
    type Error = crate::Error;

    fn try_from(name: String) -> crate::Result<Initializer> {
        name.parse()
    }
}

/// The random stream of one layer. Its 32-byte key is the seed, the layer's number and a tag that separates it from
/// streams drawn from the same seed for other purposes.
fn stream(seed: u64, layer: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&layer.to_le_bytes());
    key[16..].copy_from_slice(b"initial weights.");
    ChaCha8Rng::from_seed(key)
}

fn uniform(random: &mut ChaCha8Rng, count: usize, bound: f64) -> Vec<f32> {
    (0..count).map(|_| random.random_range(-bound..=bound) as f32).collect()
}

fn normal(random: &mut ChaCha8Rng, count: usize, sigma: f64) -> Vec<f32> {
    (0..count).map(|_| (sigma * random.sample::<f64, _>(StandardNormal)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const N_IN: usize = 200;
    const N_OUT: usize = 500;

    fn fc() -> ParameterShape {
        ParameterShape {
            layer: "fc1".to_string(),
            node: 1,
            weight: vec![N_IN, N_OUT],
            bias: N_OUT,
            running: 0,
            fan_in: N_IN,
            fan_out: N_OUT,
        }
    }

    /// Mean, standard deviation and largest magnitude of 100,000 draws.
    fn statistics(initializer: Initializer) -> (f64, f64, f64) {
        let weights = initializer.draw(&fc(), 7, 0);
        let n = weights.len() as f64;
        let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
        let variance = weights.iter().map(|&w| (f64::from(w) - mean).powi(2)).sum::<f64>() / n;
        let largest = weights.iter().fold(0.0, |largest: f64, &w| largest.max(f64::from(w).abs()));
        (mean, variance.sqrt(), largest)
    }

    /// The standard error of the mean is σ/√100000, and that of σ is about as large; five of them are 1.6 % of σ.
    fn assert_close(actual: f64, expected: f64, sigma: f64, what: &str) {
        assert!((actual - expected).abs() < 0.016 * sigma, "{what} is {actual}, not {expected}");
    }

    #[test]
    fn uniform_draws_fill_their_bounds_and_stay_within() {
        for (initializer, bound) in [
            (Initializer::Xavier, 1.0 / (N_IN as f64).sqrt()),
            (Initializer::XavierNormalized, (6.0 / (N_IN + N_OUT) as f64).sqrt()),
        ] {
            let (mean, sigma, largest) = statistics(initializer);
            assert_close(mean, 0.0, sigma, "mean");
            assert_close(sigma, bound / 3f64.sqrt(), sigma, "standard deviation");
            assert!(largest <= f64::from(bound as f32) && largest > 0.999 * bound, "{initializer}: {largest}, {bound}");
        }
    }

    #[test]
    fn normal_draws_have_the_published_spread() {
        for (initializer, expected) in
            [(Initializer::Kaiming, (2.0 / N_IN as f64).sqrt()), (Initializer::Lecun, (1.0 / N_IN as f64).sqrt())]
        {
            let (mean, sigma, largest) = statistics(initializer);
            assert_close(mean, 0.0, sigma, "mean");
            assert_close(sigma, expected, sigma, "standard deviation");
            assert!(largest > 3.5 * sigma, "{initializer} has no tails: {largest}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_weights_and_another_does_not() {
        let draw = |seed, layer| Initializer::Kaiming.draw(&fc(), seed, layer);
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(2, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
    }

    #[test]
    fn every_name_reads_back() {
        for (initializer, name) in Initializer::ALL {
            assert_eq!(name.parse::<Initializer>().ok(), Some(initializer));
            assert_eq!(name.to_uppercase().parse::<Initializer>().ok(), Some(initializer));
            assert_eq!(initializer.to_string(), name);
        }
        let message = "orthogonal".parse::<Initializer>().map_err(|error| error.to_string());
        assert_eq!(
            message,
            Err("unknown initializer `orthogonal`; known are xavier, xavier-normalized, kaiming, lecun".to_string())
        );
    }
}
