//! Compares numbers, with messages that show how they differ.

use attr_core::Value;

/// Returns the largest difference, relative to the largest expected magnitude.
pub fn relative_difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len(), "different numbers of elements");
    let scale = expected.iter().fold(1e-12f32, |m, v| m.max(v.abs()));
    let largest = got
        .iter()
        .zip(expected)
        .fold(0f32, |m, (a, b)| match (a - b).abs() {
            difference if difference.is_nan() => f32::INFINITY,
            difference => m.max(difference),
        });
    largest / scale
}

/// Asserts that `got` equals `expected` within `tolerance` times the largest expected magnitude.
///
/// # Panics
/// When the values differ by more, or cannot be read.
#[track_caller]
pub fn assert_close(what: &str, got: &Value, expected: &Value, tolerance: f32) {
    assert_eq!(got.shape(), expected.shape(), "{what}: shapes differ");
    let read = |value: &Value| value.to_vec().expect("values are readable");
    assert_close_slices(what, &read(got), &read(expected), tolerance);
}

/// As [`assert_close`], for numbers on the host.
///
/// # Panics
/// When the numbers differ by more.
#[track_caller]
pub fn assert_close_slices(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    let difference = relative_difference(got, expected);
    assert!(
        difference <= tolerance,
        "{what}: relative difference {difference:e} exceeds {tolerance:e}\n got      {:?}\n expected {:?}",
        &got[..got.len().min(8)],
        &expected[..expected.len().min(8)],
    );
}
