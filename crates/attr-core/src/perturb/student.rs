//! Standard errors of means of few samples.

/// The normal distribution's quantile of 97.5 %.
const NORMAL: f64 = 1.959_963_984_540_054;

/// The fewest samples whose spread is reported.
const FEWEST: usize = 5;

/// Returns how much a standard error estimated from `samples` samples is widened, so that an
/// interval of 1.96 standard errors around the mean holds the true mean with a probability of 95 %:
/// the ratio of the quantiles of Student's t distribution and the normal distribution.
///
/// It is 1.42 for 5 samples, 1.15 for 10, and 1 for many. `None` for fewer than 5, whose spread says
/// too little: contributions are not normally distributed.
///
/// ```
/// use attr_core::perturb::widened;
///
/// assert!((widened(10).unwrap() * 1.96 - 2.262).abs() < 1e-3);
/// assert_eq!(widened(4), None);
/// ```
pub fn widened(samples: usize) -> Option<f64> {
    if samples < FEWEST {
        return None;
    }
    // Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    let (z, freedom) = (NORMAL, (samples - 1) as f64);
    let power = |exponent| z.powi(exponent);
    let terms = [
        (power(3) + z) / 4.0,
        (5.0 * power(5) + 16.0 * power(3) + 3.0 * z) / 96.0,
        (3.0 * power(7) + 19.0 * power(5) + 17.0 * power(3) - 15.0 * z) / 384.0,
        (79.0 * power(9) + 776.0 * power(7) + 1482.0 * power(5) - 1920.0 * power(3) - 945.0 * z)
            / 92160.0,
    ];
    let beyond = terms.iter().rev();
    let quantile = z + beyond.fold(0.0, |sum, term| (sum + term) / freedom);
    Some(quantile / NORMAL)
}

#[cfg(test)]
mod tests {
    use super::widened;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // Table of Student's t distribution at 97.5 %.
        let table = [
            (5, 2.776),
            (6, 2.571),
            (8, 2.365),
            (11, 2.228),
            (21, 2.086),
            (31, 2.042),
            (121, 1.980),
        ];
        for (samples, expected) in table {
            let got = widened(samples).unwrap() * 1.959_964;
            assert!((got - expected).abs() < 1e-3, "{samples}: {got}");
        }
        assert_eq!(widened(4), None);
        assert!((widened(1 << 40).unwrap() - 1.0).abs() < 1e-9);
    }
}
