//! Statistics that several metrics need: correlations, ranks, areas. What is not defined is NaN.

/// Returns Pearson's correlation; NaN where one of the two is constant, or for fewer than two
/// values.
pub(crate) fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut covariance, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        covariance += x * y;
        square_a += x * x;
        square_b += y * y;
    }
    // Rounding leaves a residue of a constant's mean.
    let constant = |square: f64, mean: f64| square <= n * (mean * f64::EPSILON).powi(2) * 4.0;
    if constant(square_a, mean_a) || constant(square_b, mean_b) {
        return f64::NAN;
    }
    (covariance / (square_a.sqrt() * square_b.sqrt())).clamp(-1.0, 1.0)
}

/// Returns Spearman's rank correlation, with the mean rank for equal values.
pub(crate) fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b))
}

/// Returns the rank of each value from 1 on, with the mean rank for equal values.
pub(crate) fn ranks(values: &[f64]) -> Vec<f64> {
    let order = ascending(values);
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = |&&i: &&usize| values[i] == values[order[start]];
        let count = order[start..].iter().take_while(same).count().max(1);
        let mean = start as f64 + (count as f64 + 1.0) / 2.0;
        for &i in &order[start..start + count] {
            ranks[i] = mean;
        }
        start += count;
    }
    ranks
}

/// Returns the indices of the values from the smallest to the largest; of equal values, the first
/// comes first.
pub(crate) fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    order
}

/// Returns the indices of the values from the largest to the smallest; of equal values, the first
/// comes first.
pub(crate) fn descending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order
}

/// Returns the area under a curve of equally spaced points by the trapezoidal rule, one unit apart.
pub(crate) fn area(curve: &[f64]) -> f64 {
    curve.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).sum()
}

/// Returns the area under a curve that spans one unit; a single point's is its height.
pub(crate) fn mean_height(curve: &[f64]) -> f64 {
    match curve {
        [] => f64::NAN,
        [only] => *only,
        _ => area(curve) / (curve.len() - 1) as f64,
    }
}

/// Returns the mean of the values that are not NaN; NaN if there are none.
pub(crate) fn mean(values: &[f64]) -> f64 {
    let (sum, count) = defined(values).fold((0.0, 0), |(sum, count), v| (sum + v, count + 1));
    if count == 0 {
        f64::NAN
    } else {
        sum / f64::from(count)
    }
}

/// Returns the standard error of [`mean`]; `None` for fewer than two values.
pub(crate) fn standard_error(values: &[f64]) -> Option<f64> {
    let (mean, count) = (mean(values), defined(values).count());
    if count < 2 {
        return None;
    }
    let squares: f64 = defined(values).map(|v| (v - mean).powi(2)).sum();
    Some((squares / (count - 1) as f64 / count as f64).sqrt())
}

fn defined(values: &[f64]) -> impl Iterator<Item = f64> + '_ {
    values.iter().copied().filter(|value| !value.is_nan())
}

/// Returns the largest of some values that are not NaN; NaN if there are none.
pub(crate) fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::NAN, f64::max)
}

/// Returns the values divided by the largest magnitude; zeros stay zeros.
pub(crate) fn normalised(values: &[f64]) -> Vec<f64> {
    let most = values.iter().fold(0f64, |most, v| most.max(v.abs()));
    let scale = if most > 0.0 { most } else { 1.0 };
    values.iter().map(|v| v / scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_equal_values_are_their_mean() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }

    /// SciPy's `pearsonr` and `spearmanr` of the same numbers.
    #[test]
    fn correlations() {
        let (a, b) = ([1.0, 2.0, 4.0, 8.0], [2.0, 1.0, 5.0, 6.0]);
        assert!((pearson(&a, &b) - 0.882_045_982_412_206).abs() < 1e-12);
        assert!((spearman(&a, &b) - 0.8).abs() < 1e-12);
        assert!(pearson(&[0.1; 3], &[1.0, 2.0, 3.0]).is_nan());
    }

    #[test]
    fn areas() {
        assert_eq!(area(&[1.0, 3.0, 5.0]), 6.0);
        assert_eq!(mean_height(&[1.0, 3.0, 5.0]), 3.0);
        assert_eq!(mean_height(&[2.0]), 2.0);
        assert_eq!(mean(&[1.0, f64::NAN, 3.0]), 2.0);
        assert_eq!(standard_error(&[1.0, f64::NAN, 3.0]), Some(1.0));
        assert_eq!(standard_error(&[1.0]), None);
    }
}
