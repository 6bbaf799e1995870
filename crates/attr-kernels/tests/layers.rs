//! Pooling, softmax, normalisation and elementwise functions against plain loops in 64 bits.

use attr_kernels::{
    MaxPool, clamp, clamp_backward, gelu, gelu_backward, layer_norm, layer_norm_backward, softmax,
    softmax_backward,
};

use super::{error, numbers};

/// The gradient of `f` at `x` along `grad`, by central differences.
fn differences(x: &[f32], grad: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let along = |x: &[f64]| -> f64 { f(x).iter().zip(grad).map(|(y, &g)| y * f64::from(g)).sum() };
    let mut at: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let mut slope = |i: usize| {
        let here = at[i];
        at[i] = here + STEP;
        let above = along(&at);
        at[i] = here - STEP;
        let below = along(&at);
        at[i] = here;
        (above - below) / (2.0 * STEP)
    };
    (0..x.len()).map(&mut slope).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn softmax_and_its_gradient() {
    let (x, grad) = (numbers(7 * 45, 1), numbers(7 * 45, 2));
    let plain = |x: &[f64]| -> Vec<f64> {
        let line = |line: &[f64]| {
            let sum: f64 = line.iter().map(|x| x.exp()).sum();
            line.iter().map(|x| x.exp() / sum).collect::<Vec<_>>()
        };
        x.chunks(45).flat_map(line).collect()
    };
    let y = softmax(&x, 45);
    assert!(error(&y, &plain(&wide(&x))) < 1e-6);
    let slope = softmax_backward(&y, &grad, 45);
    assert!(error(&slope, &differences(&x, &grad, plain)) < 1e-5);
}

#[test]
fn layer_norm_and_its_gradient() {
    let (x, grad) = (numbers(5 * 67, 1), numbers(5 * 67, 2));
    let (gamma, beta) = (numbers(67, 3), numbers(67, 4));
    for beta in [Some(&beta[..]), None] {
        let plain = |x: &[f64]| -> Vec<f64> {
            let line = |line: &[f64]| {
                let mean = line.iter().sum::<f64>() / 67.0;
                let variance = line.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 67.0;
                let scale = 1.0 / (variance + 1e-5).sqrt();
                let each = line.iter().enumerate();
                let each = each.map(|(i, x)| {
                    let shift = beta.map_or(0.0, |beta| f64::from(beta[i]));
                    (x - mean) * scale * f64::from(gamma[i]) + shift
                });
                each.collect::<Vec<_>>()
            };
            x.chunks(67).flat_map(line).collect()
        };
        assert!(error(&layer_norm(&x, &gamma, beta, 1e-5), &plain(&wide(&x))) < 1e-6);
        let slope = layer_norm_backward(&x, &grad, &gamma, 1e-5);
        assert!(error(&slope, &differences(&x, &grad, plain)) < 1e-5);
    }
}

#[test]
fn gelu_and_its_gradient() {
    // Values of the function to nine digits.
    let known = [
        (-3.0, -0.004_049_694),
        (-1.0, -0.158_655_254),
        (0.0, 0.0),
        (0.5, 0.345_731_231),
        (2.0, 1.954_499_736),
    ];
    for (x, expected) in known {
        assert!((f64::from(gelu(&[x])[0]) - expected).abs() < 2e-6);
    }
    // The slope against that of the function itself, over more than a block of values.
    let x: Vec<f32> = (0..1001).map(|i| (i as f32 - 500.0) / 100.0).collect();
    let slope = gelu_backward(&x, &vec![2.0; x.len()]);
    let step = 1e-2_f32;
    let shifted = |by: f32| gelu(&x.iter().map(|x| x + by).collect::<Vec<_>>());
    for (i, (above, below)) in shifted(step).iter().zip(shifted(-step)).enumerate() {
        let expected = (above - below) / step;
        assert!(
            (slope[i] - expected).abs() < 1e-3,
            "at {}: {} for {expected}",
            x[i],
            slope[i]
        );
    }
}

#[test]
fn a_clamp_passes_gradients_inside_and_at_its_limits() {
    let x = [-1.0, 0.0, 3.0, 6.0, 6.5, f32::NAN];
    assert_eq!(
        clamp_backward(&x, &[2.0; 6], 0.0, 6.0),
        [0.0, 2.0, 2.0, 2.0, 0.0, 2.0]
    );
    assert_eq!(clamp(&x[..5], 0.0, 6.0), [0.0, 0.0, 3.0, 6.0, 6.0]);
    assert!(clamp(&x, 0.0, 6.0)[5].is_nan());
    let below = clamp_backward(&x, &[2.0; 6], f32::NEG_INFINITY, 3.0);
    assert_eq!(below, [2.0, 2.0, 2.0, 0.0, 0.0, 2.0]);
}

#[test]
fn max_pooling_and_its_gradient() {
    let base = MaxPool {
        input: [9, 11],
        output: [4, 5],
        kernel: [2, 2],
        stride: [2, 2],
        padding: [0, 0],
        dilation: [1, 1],
    };
    let pools = [
        base,
        MaxPool {
            output: [5, 6],
            kernel: [3, 3],
            padding: [1, 1],
            ..base
        },
        MaxPool {
            output: [7, 5],
            kernel: [3, 3],
            stride: [1, 2],
            dilation: [1, 1],
            ..base
        },
        MaxPool {
            output: [5, 6],
            kernel: [2, 3],
            dilation: [4, 2],
            padding: [2, 2],
            ..base
        },
    ];
    for pool in pools {
        assert!(pool.is_valid(), "{pool:?}");
        // Whole numbers, so that some windows have several largest elements.
        let x: Vec<f32> = numbers(3 * 99, 1)
            .iter()
            .map(|x| (x * 8.0).round())
            .collect();
        let positions = pool.output[0] * pool.output[1];
        let grad = numbers(3 * positions, 2);
        let mut largest = vec![f64::NEG_INFINITY; 3 * positions];
        let mut slope = vec![0.0; x.len()];
        for (at, largest) in largest.iter_mut().enumerate() {
            let (plane, y, column) = (
                at / positions,
                at % positions / pool.output[1],
                at % pool.output[1],
            );
            let mut from = None;
            for ky in 0..pool.kernel[0] {
                for kx in 0..pool.kernel[1] {
                    let y =
                        (y * pool.stride[0] + ky * pool.dilation[0]).checked_sub(pool.padding[0]);
                    let x_at = (column * pool.stride[1] + kx * pool.dilation[1])
                        .checked_sub(pool.padding[1]);
                    let (Some(y), Some(x_at)) = (y.filter(|&y| y < 9), x_at.filter(|&x| x < 11))
                    else {
                        continue;
                    };
                    let place = plane * 99 + y * 11 + x_at;
                    if f64::from(x[place]) > *largest {
                        (*largest, from) = (f64::from(x[place]), Some(place));
                    }
                }
            }
            slope[from.expect("a window has an element")] += f64::from(grad[at]);
        }
        assert!(error(&pool.run(&x), &largest) == 0.0, "{pool:?}");
        assert!(error(&pool.backward(&x, &grad), &slope) < 1e-6, "{pool:?}");
    }
    // Not-a-number wins; a window beyond the plane has no largest element.
    let mut x = vec![0.0; 99];
    x[1] = f32::NAN;
    assert!(base.run(&x)[0].is_nan() && base.run(&x)[1] == 0.0);
    assert_eq!(base.backward(&x, &[1.0; 20])[1], 1.0);
    // Minus infinity everywhere: the first element counts, not the padding.
    let padded = MaxPool {
        output: [5, 6],
        kernel: [3, 3],
        padding: [1, 1],
        ..base
    };
    let slope = padded.backward(&[f32::NEG_INFINITY; 99], &[1.0; 30]);
    assert_eq!((slope[0], slope.iter().sum::<f32>()), (1.0, 30.0));
    assert!(
        !MaxPool {
            output: [6, 5],
            ..base
        }
        .is_valid()
    );
}
