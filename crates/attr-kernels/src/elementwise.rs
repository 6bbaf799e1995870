//! Elementwise functions and their gradients.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use std::mem::MaybeUninit;

use multiversion::multiversion;
use rayon::prelude::*;
use rten_simd::SimdUnaryOp;
use rten_vecmath::{Erf, Exp, Gelu};

use crate::memory::filled;
use crate::parallel::TASK;

/// Elements whose intermediate results stay in the nearest cache.
const BLOCK: usize = 256;

/// Applies `f` to tasks of `x` on all threads.
///
/// # Safety
/// `f` must write all of its second slice.
unsafe fn map(x: &[f32], f: impl Fn(&[f32], &mut [MaybeUninit<f32>]) + Sync) -> Vec<f32> {
    let run = |out: &mut [MaybeUninit<f32>]| {
        let parts = out.par_chunks_mut(TASK).zip(x.par_chunks(TASK));
        parts.for_each(|(out, x)| f(x, out));
    };
    // SAFETY: the caller promises that all are written.
    unsafe { filled(x.len(), run) }
}

/// Applies `f` to tasks of `x` and its gradients, `size` elements at a time, on all threads.
///
/// # Safety
/// `f` must write all of its third slice.
unsafe fn zip(
    x: &[f32],
    grad: &[f32],
    size: usize,
    f: impl Fn(&[f32], &[f32], &mut [MaybeUninit<f32>]) + Sync,
) -> Vec<f32> {
    assert_eq!(x.len(), grad.len(), "one gradient for each input");
    let run = |out: &mut [MaybeUninit<f32>]| {
        let pairs = out.par_chunks_mut(size).zip(x.par_chunks(size));
        let parts = pairs.zip(grad.par_chunks(size)).with_min_len(TASK / size);
        parts.for_each(|((out, x), grad)| f(x, grad, out));
    };
    // SAFETY: the caller promises that all are written.
    unsafe { filled(x.len(), run) }
}

/// `x Φ(x)` with the distribution function `Φ` of the standard normal distribution, to 1e-6.
pub fn gelu(x: &[f32]) -> Vec<f32> {
    // SAFETY: all are written.
    unsafe {
        map(x, |x, out| {
            Gelu {}.map(x, out);
        })
    }
}

/// `grad · (Φ(x) + x φ(x))`: the gradient of [`gelu`].
///
/// # Panics
/// If the lengths differ.
pub fn gelu_backward(x: &[f32], grad: &[f32]) -> Vec<f32> {
    let block = |x: &[f32], grad: &[f32], out: &mut [MaybeUninit<f32>]| {
        let (mut erf, mut bell) = ([0.0; BLOCK], [0.0; BLOCK]);
        let (erf, bell) = (&mut erf[..x.len()], &mut bell[..x.len()]);
        for ((erf, bell), x) in erf.iter_mut().zip(&mut *bell).zip(x) {
            *erf = x * FRAC_1_SQRT_2;
            *bell = -0.5 * x * x;
        }
        Erf {}.map_mut(erf);
        Exp {}.map_mut(bell);
        gelu_slope(x, grad, erf, bell, out);
    };
    // SAFETY: all are written.
    unsafe { zip(x, grad, BLOCK, block) }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn gelu_slope(x: &[f32], grad: &[f32], erf: &[f32], bell: &[f32], out: &mut [MaybeUninit<f32>]) {
    // 1 / sqrt(2 pi)
    const HEIGHT: f32 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2 / 2.0;
    for i in 0..out.len() {
        let slope = 0.5 * (1.0 + erf[i]) + x[i] * bell[i] * HEIGHT;
        out[i].write(grad[i] * slope);
    }
}

/// `x`, but at least `min` and at most `max`; what is not a number stays so.
pub fn clamp(x: &[f32], min: f32, max: f32) -> Vec<f32> {
    // SAFETY: all are written.
    unsafe { map(x, |x, out| limit(x, min, max, out)) }
}

/// [`clamp`] on numbers that nothing else needs.
pub fn clamp_in_place(x: &mut [f32], min: f32, max: f32) {
    x.par_chunks_mut(TASK)
        .for_each(|x| limit_in_place(x, min, max));
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn limit_in_place(x: &mut [f32], min: f32, max: f32) {
    for x in x {
        *x = limited(*x, min, max);
    }
}

/// A number within limits; what is not a number stays so.
#[inline(always)]
pub(crate) fn limited(x: f32, min: f32, max: f32) -> f32 {
    let x = if x < min { min } else { x };
    if x > max { max } else { x }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn limit(x: &[f32], min: f32, max: f32, out: &mut [MaybeUninit<f32>]) {
    for (out, x) in out.iter_mut().zip(x) {
        out.write(limited(*x, min, max));
    }
}

/// `grad` where `min <= x <= max`, or `x` is not a number; zero elsewhere: the gradient of
/// [`clamp`].
///
/// # Panics
/// If the lengths differ.
pub fn clamp_backward(x: &[f32], grad: &[f32], min: f32, max: f32) -> Vec<f32> {
    // SAFETY: all are written.
    unsafe { zip(x, grad, TASK, |x, grad, out| inside(x, grad, min, max, out)) }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma"))]
fn inside(x: &[f32], grad: &[f32], min: f32, max: f32, out: &mut [MaybeUninit<f32>]) {
    for ((out, x), grad) in out.iter_mut().zip(x).zip(grad) {
        let outside = *x < min || *x > max;
        out.write(if outside { 0.0 } else { *grad });
    }
}
