//! Noisy linear imputation: removed pixels become weighted means of their neighbours, which may be
//! removed themselves.
//!
//! Rong et al., 2022 (<https://arxiv.org/abs/2202.00449>): neighbours along a side have the weight
//! 1/6, diagonal ones 1/12, and all equations are solved at once. The system is symmetric and
//! positive definite, so conjugate gradients solve it without a matrix.

/// The neighbours of a pixel: rows down, columns right, weight.
const NEIGHBOURS: [(isize, isize, f64); 8] = [
    (1, 1, 1.0 / 12.0),
    (0, 1, 1.0 / 6.0),
    (-1, 1, 1.0 / 12.0),
    (1, -1, 1.0 / 12.0),
    (0, -1, 1.0 / 6.0),
    (-1, -1, 1.0 / 12.0),
    (1, 0, 1.0 / 6.0),
    (-1, 0, 1.0 / 6.0),
];

/// The residual at which the solution is exact enough, relative to the larger of the right-hand side
/// and the residual at the start.
const EXACT: f64 = 1e-7;

/// Which pixels of an image are removed, and how they depend on their neighbours.
pub(super) struct Removed {
    /// The removed pixels.
    pixels: Vec<usize>,
    /// Per removed pixel, the sum of the weights of its neighbours inside the image.
    weights: Vec<f64>,
    /// Per removed pixel, its neighbours inside the image: pixel, number among the removed pixels if
    /// it is one, and weight.
    neighbours: Vec<Vec<(usize, Option<usize>, f64)>>,
}

impl Removed {
    /// Prepares the equations of an image of `height` by `width` pixels.
    pub fn new(pixels: &[usize], height: usize, width: usize) -> Self {
        let mut numbers = vec![None; height * width];
        for (number, &pixel) in pixels.iter().enumerate() {
            numbers[pixel] = Some(number);
        }
        let neighbours = pixels.iter().map(|&pixel| {
            let (y, x) = (pixel / width, pixel % width);
            let inside = NEIGHBOURS.iter().filter_map(|&(down, right, weight)| {
                let y = y.checked_add_signed(down).filter(|&y| y < height)?;
                let x = x.checked_add_signed(right).filter(|&x| x < width)?;
                let at = y * width + x;
                Some((at, numbers[at], weight))
            });
            inside.collect::<Vec<_>>()
        });
        let neighbours: Vec<Vec<_>> = neighbours.collect();
        let sum = |all: &Vec<(usize, Option<usize>, f64)>| all.iter().map(|each| each.2).sum();
        Self {
            pixels: pixels.to_vec(),
            weights: neighbours.iter().map(sum).collect(),
            neighbours,
        }
    }

    /// Replaces the removed pixels of one channel. If all pixels are removed, there is nothing to
    /// impute from, and they become their mean.
    pub fn impute(&self, channel: &mut [f32]) {
        let removed = self.pixels.len();
        if removed == 0 {
            return;
        }
        let mean = channel.iter().map(|&v| f64::from(v)).sum::<f64>() / channel.len() as f64;
        let mut x = vec![mean; removed];
        if removed < channel.len() {
            self.solve(channel, &mut x);
        }
        for (&pixel, &value) in self.pixels.iter().zip(&x) {
            channel[pixel] = value as f32;
        }
    }

    /// Solves the equations by conjugate gradients with the diagonal as preconditioner, from `x` on.
    fn solve(&self, channel: &[f32], x: &mut [f64]) {
        let known = self.neighbours.iter().map(|all| {
            let outside = all.iter().filter(|(_, number, _)| number.is_none());
            outside
                .map(|&(at, _, weight)| weight * f64::from(channel[at]))
                .sum()
        });
        let right: Vec<f64> = known.collect();
        let product = self.times(x);
        let mut residual: Vec<f64> = right.iter().zip(product).map(|(b, ax)| b - ax).collect();
        let scaled = |residual: &[f64]| -> Vec<f64> {
            residual
                .iter()
                .zip(&self.weights)
                .map(|(r, w)| r / w)
                .collect()
        };
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let mut preconditioned = scaled(&residual);
        let mut direction = preconditioned.clone();
        let mut rho = dot(&residual, &preconditioned);
        // Both, since all known neighbours may be 0, or the start be exact.
        let norm = |v: &[f64]| dot(v, v).sqrt();
        let enough = EXACT * norm(&right).max(norm(&residual));
        // In exact arithmetic, there are at most as many steps as unknowns.
        for _ in 0..4 * x.len() {
            let product = self.times(&direction);
            let curvature = dot(&direction, &product);
            // The last of the residual may be too small to divide by.
            if norm(&residual) <= enough || !(rho > 0.0 && curvature > 0.0) {
                return;
            }
            let step = rho / curvature;
            for (((x, r), d), p) in x
                .iter_mut()
                .zip(&mut residual)
                .zip(&direction)
                .zip(&product)
            {
                *x += step * d;
                *r -= step * p;
            }
            preconditioned = scaled(&residual);
            let next = dot(&residual, &preconditioned);
            for (d, z) in direction.iter_mut().zip(&preconditioned) {
                *d = z + next / rho * *d;
            }
            rho = next;
        }
    }

    fn times(&self, x: &[f64]) -> Vec<f64> {
        let rows = self.neighbours.iter().zip(&self.weights).zip(x);
        rows.map(|((all, weight), own)| {
            let inside = all
                .iter()
                .filter_map(|&(_, number, weight)| Some(weight * x[number?]));
            weight * own - inside.sum::<f64>()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_pixel_is_the_weighted_mean_of_its_neighbours() {
        let mut image = [1.0, 2.0, 3.0, 4.0, 100.0, 6.0, 7.0, 8.0, 9.0];
        Removed::new(&[4], 3, 3).impute(&mut image);
        assert!((image[4] - 5.0).abs() < 1e-6);
    }

    /// A ramp solves the equations, wherever it is removed away from the border.
    #[test]
    fn a_ramp_is_restored() {
        let ramp: Vec<f32> = (0..100).map(|i| (i / 10 + 2 * (i % 10)) as f32).collect();
        let inner: Vec<usize> = (0..100)
            .filter(|i| (1..9).contains(&(i / 10)) && (1..9).contains(&(i % 10)))
            .collect();
        let mut image = ramp.clone();
        for &pixel in &inner {
            image[pixel] = -50.0;
        }
        Removed::new(&inner, 10, 10).impute(&mut image);
        for (found, expected) in image.iter().zip(&ramp) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    /// A stroke on a black background: the right-hand side is zero.
    #[test]
    fn what_black_surrounds_becomes_black() {
        let mut image: Vec<f32> = (0..784)
            .map(|i| if i % 28 == 9 { 0.9 } else { 0.0 })
            .collect();
        let stroke: Vec<usize> = (0..784).filter(|i| (7..12).contains(&(i % 28))).collect();
        Removed::new(&stroke, 28, 28).impute(&mut image);
        assert!(image.iter().all(|v| v.abs() < 1e-5), "{:?}", &image[..28]);
    }

    #[test]
    fn without_a_known_pixel_all_become_the_mean() {
        let mut image = [1.0, 3.0, 5.0, 7.0];
        Removed::new(&[0, 1, 2, 3], 2, 2).impute(&mut image);
        assert_eq!(image, [4.0; 4]);
    }
}
