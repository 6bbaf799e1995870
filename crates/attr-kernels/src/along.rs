//! Softmax and layer normalisation of lines: runs of numbers along the last dimension.

use std::mem::MaybeUninit;

use multiversion::multiversion;
use rayon::prelude::*;
use rten_simd::SimdOp;
use rten_vecmath::Softmax;

use crate::memory::filled;
use crate::parallel::TASK;

/// Calls `f` for every line of `out` with its number.
///
/// # Safety
/// `f` must write its line.
unsafe fn lines(
    elements: usize,
    length: usize,
    f: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync,
) -> Vec<f32> {
    assert!(length > 0 && elements.is_multiple_of(length), "whole lines");
    let run = |out: &mut [MaybeUninit<f32>]| {
        let lines = out.par_chunks_mut(length).enumerate();
        let least = TASK.div_ceil(length);
        lines.with_min_len(least).for_each(|(i, line)| f(i, line));
    };
    // SAFETY: the caller promises that every line is written.
    unsafe { filled(elements, run) }
}

/// `exp(x_i) / sum_j exp(x_j)` of every line of `length` numbers.
///
/// # Panics
/// If `x` is not a number of lines.
pub fn softmax(x: &[f32], length: usize) -> Vec<f32> {
    let line = |i: usize, out: &mut [MaybeUninit<f32>]| {
        Softmax::new(&x[i * length..][..length], out).dispatch();
    };
    // SAFETY: a line is written whole.
    unsafe { lines(x.len(), length, line) }
}

/// The gradient of [`softmax`] from its result `y`: `y_i (g_i - sum_j g_j y_j)`.
///
/// # Panics
/// If the lengths do not fit.
pub fn softmax_backward(y: &[f32], grad: &[f32], length: usize) -> Vec<f32> {
    assert_eq!(y.len(), grad.len(), "one gradient for each output");
    let line = |i: usize, out: &mut [MaybeUninit<f32>]| {
        softmax_slope(
            &y[i * length..][..length],
            &grad[i * length..][..length],
            out,
        );
    };
    // SAFETY: a line is written whole.
    unsafe { lines(y.len(), length, line) }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn softmax_slope(y: &[f32], grad: &[f32], out: &mut [MaybeUninit<f32>]) {
    let mean = sum(y.len(), |i| y[i] * grad[i]);
    for i in 0..out.len() {
        out[i].write(y[i] * (grad[i] - mean));
    }
}

/// A sum in several parts, which the processor adds at the same time.
#[inline(always)]
fn sum(count: usize, term: impl Fn(usize) -> f32) -> f32 {
    const PARTS: usize = 32;
    let mut parts = [0.0; PARTS];
    let whole = count - count % PARTS;
    for start in (0..whole).step_by(PARTS) {
        for (part, sum) in parts.iter_mut().enumerate() {
            *sum += term(start + part);
        }
    }
    let mut total = 0.0;
    for i in whole..count {
        total += term(i);
    }
    for part in parts {
        total += part;
    }
    total
}

/// `(x - mean) / sqrt(variance + epsilon) · gamma + beta` of every line, with the line's own mean
/// and variance.
///
/// # Panics
/// If `x` is not a number of lines as long as `gamma`, or `beta` has another length.
pub fn layer_norm(x: &[f32], gamma: &[f32], beta: Option<&[f32]>, epsilon: f32) -> Vec<f32> {
    let length = gamma.len();
    assert!(
        beta.is_none_or(|beta| beta.len() == length),
        "as long as gamma"
    );
    let line = |i: usize, out: &mut [MaybeUninit<f32>]| {
        normalise(&x[i * length..][..length], gamma, beta, epsilon, out);
    };
    // SAFETY: a line is written whole.
    unsafe { lines(x.len(), length, line) }
}

#[inline(always)]
fn mean_and_scale(x: &[f32], epsilon: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = sum(x.len(), |i| x[i]) / count;
    let variance = sum(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn normalise(
    x: &[f32],
    gamma: &[f32],
    beta: Option<&[f32]>,
    epsilon: f32,
    out: &mut [MaybeUninit<f32>],
) {
    let (mean, scale) = mean_and_scale(x, epsilon);
    match beta {
        Some(beta) => {
            for i in 0..out.len() {
                out[i].write((x[i] - mean) * scale * gamma[i] + beta[i]);
            }
        }
        None => {
            for i in 0..out.len() {
                out[i].write((x[i] - mean) * scale * gamma[i]);
            }
        }
    }
}

/// The gradient of [`layer_norm`] with respect to `x`.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_backward(x: &[f32], grad: &[f32], gamma: &[f32], epsilon: f32) -> Vec<f32> {
    assert_eq!(x.len(), grad.len(), "one gradient for each output");
    let length = gamma.len();
    let line = |i: usize, out: &mut [MaybeUninit<f32>]| {
        normal_slope(
            &x[i * length..][..length],
            &grad[i * length..][..length],
            gamma,
            epsilon,
            out,
        );
    };
    // SAFETY: a line is written whole.
    unsafe { lines(x.len(), length, line) }
}

/// With `n = (x - mean) scale` and `h = grad gamma`: `scale (h - mean(h) - n mean(h n))`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn normal_slope(
    x: &[f32],
    grad: &[f32],
    gamma: &[f32],
    epsilon: f32,
    out: &mut [MaybeUninit<f32>],
) {
    let (mean, scale) = mean_and_scale(x, epsilon);
    let count = x.len() as f32;
    let level = sum(x.len(), |i| grad[i] * gamma[i]) / count;
    let tilt = sum(x.len(), |i| grad[i] * gamma[i] * (x[i] - mean)) * scale / count;
    for i in 0..out.len() {
        let along = (x[i] - mean) * scale;
        out[i].write(scale * (grad[i] * gamma[i] - level - along * tilt));
    }
}
