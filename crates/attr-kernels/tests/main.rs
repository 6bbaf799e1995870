//! Every kernel against plain loops in 64 bits.

mod boxes;
mod convolutions;
mod layers;
mod products;

/// Numbers between -0.5 and 0.5 that look random.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(next).collect()
}

/// The largest difference, relative to the largest expected number.
fn error(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0.0_f64, |most, e| most.max(e.abs()));
    let pairs = got.iter().zip(expected);
    let differences = pairs.map(|(&got, e)| (f64::from(got) - e).abs());
    differences.fold(0.0, f64::max) / largest
}
