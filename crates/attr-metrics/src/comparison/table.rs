//! The table of a comparison as text and CSV.

use std::fmt;

use super::Comparison;
use crate::Score;

impl Comparison {
    /// Returns the mean of a score and the half width of its confidence interval as a short text.
    pub fn cell(score: &Score) -> String {
        with_interval(score.mean(), Self::interval(score))
    }

    /// Returns the table as comma-separated values: a line for each method and metric, with mean,
    /// standard error, half width of the 95 % confidence interval, rank, direction, number of rows
    /// for which the metric is defined, and model evaluations. Unknown numbers are empty.
    pub fn to_csv(&self) -> String {
        let mut csv = String::from(
            "method,metric,mean,standard_error,interval,rank,higher_is_better,rows,evaluations\n",
        );
        let ranks = self.ranks();
        for (i, method) in self.methods.iter().enumerate() {
            for (j, score) in self.scores[i].iter().enumerate() {
                let number = |value: Option<f64>| {
                    let known = value.filter(|value| value.is_finite());
                    known.map_or(String::new(), |value| value.to_string())
                };
                let fields = [
                    quoted(method),
                    quoted(&score.metric),
                    number(Some(score.mean())),
                    number(score.standard_error()),
                    number(Self::interval(score)),
                    number(ranks[i][j]),
                    score.higher_is_better.to_string(),
                    (score.values.len() - score.undefined()).to_string(),
                    score.work.forward_rows.to_string(),
                ];
                csv.push_str(&fields.join(","));
                csv.push('\n');
            }
        }
        csv
    }
}

/// Quotes a field that contains what separates fields, as RFC 4180 says.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.into()
    }
}

/// A table with a line for each method: the mean of each metric with its 95 % confidence interval,
/// and the mean rank. The best mean of each metric has a star.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranks = self.ranks();
        let head = self.metrics.iter().map(|metric| {
            let arrow = if metric.higher_is_better {
                "↑"
            } else {
                "↓"
            };
            format!("{} {arrow}", metric.name)
        });
        let head = std::iter::once("method".to_string()).chain(head);
        let mut lines: Vec<Vec<String>> = vec![head.chain(["mean rank".into()]).collect()];
        for (i, (method, mean_rank)) in self.methods.iter().zip(self.mean_ranks()).enumerate() {
            let cells = self.scores[i].iter().zip(&ranks[i]).map(|(score, rank)| {
                let star = if *rank == Some(1.0) { "*" } else { " " };
                format!("{}{star}", Self::cell(score))
            });
            let cells = std::iter::once(method.clone()).chain(cells);
            let rank = if mean_rank.is_nan() {
                "-".into()
            } else {
                format!("{mean_rank:.1}")
            };
            lines.push(cells.chain([rank]).collect());
        }
        let columns = lines[0].len();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<usize> = (0..columns)
            .map(|column| width(column).unwrap_or(0))
            .collect();
        for line in &lines {
            let cells = line.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, &width))| {
                if column == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Formats a mean with its confidence interval.
fn with_interval(mean: f64, interval: Option<f64>) -> String {
    if mean.is_nan() {
        return "-".into();
    }
    match interval {
        // Rounding is not a spread.
        Some(interval) if interval <= 1e-9 * mean.abs() => format!("{} ± 0", short(mean)),
        Some(interval) => format!("{} ± {}", short(mean), short(interval)),
        None => short(mean),
    }
}

/// Formats a number with three significant digits.
fn short(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-3..1e5).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let places = if magnitude == 0.0 {
        2
    } else {
        (2 - magnitude.log10().floor() as i32).max(0) as usize
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1234.5, 12.345, 0.12345, 0.000123, -3.0].map(short);
        assert_eq!(shown, ["0.00", "1234", "12.3", "0.123", "1.23e-4", "-3.00"]);
    }

    #[test]
    fn fields_are_quoted_where_needed() {
        assert_eq!(quoted("a,b\"c"), "\"a,b\"\"c\"");
        assert_eq!(quoted("lrp"), "lrp");
    }
}
