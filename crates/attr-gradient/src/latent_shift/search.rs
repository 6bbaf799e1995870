//! The search for the range of lambda, for all rows at once: all of them take the same steps, until
//! each stops.

use attr_core::{Error, Question};

use super::{Direction, ShiftSearch, Sweeper};

/// A point of the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Searched {
    /// Where.
    pub lambda: f64,
    /// The prediction there.
    pub prediction: f32,
    /// Why the search stopped here, if it did.
    pub stop: Option<Stop>,
}

/// Why the search for one end of the range stopped. To the right, high and low change places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The prediction rose again.
    Turned,
    /// The prediction fell below 0.05; to the right, it rose above 0.95.
    Extreme,
    /// The prediction fell by more than `search_pred_diff`.
    Enough,
    /// Lambda reached `search_max_steps`.
    Far,
    /// The image changed by more than `search_max_pixel_diff_pct`.
    Changed,
}

type Found = (Vec<[f64; 2]>, Vec<Vec<Searched>>);

/// Returns the range of every row, and what was evaluated for it.
pub(super) fn ranges(
    sweeper: &Sweeper<'_>,
    question: &Question<'_>,
    direction: &Direction,
) -> Result<Found, Error> {
    let rows = sweeper.rows.rows();
    let mut ranges = vec![[0.0; 2]; rows];
    let mut searched = vec![Vec::new(); rows];
    let ends: &[(usize, f64)] = match sweeper.method.config.search {
        ShiftSearch::Left => &[(0, -1.0)],
        ShiftSearch::Right => &[(1, 1.0)],
        ShiftSearch::Both => &[(0, -1.0), (1, 1.0)],
    };
    for &(end, sign) in ends {
        for (row, points) in one_end(sweeper, question, direction, sign)?
            .into_iter()
            .enumerate()
        {
            ranges[row][end] = points.last().map_or(0.0, |point| point.lambda);
            searched[row].extend(points);
        }
    }
    Ok((ranges, searched))
}

/// Goes from 0 in the direction of `sign`. The point at which a row stops is the end of its range.
fn one_end(
    sweeper: &Sweeper<'_>,
    question: &Question<'_>,
    direction: &Direction,
    sign: f64,
) -> Result<Vec<Vec<Searched>>, Error> {
    let config = &sweeper.method.config;
    let rows = sweeper.rows.rows();
    let totals = sweeper.reconstruction.matrix()?.abs().sum_dim(1);
    let totals = attr_core::Value::from(totals).to_vec()?;
    let mut searched = vec![Vec::<Searched>::new(); rows];
    let mut active: Vec<usize> = (0..rows).collect();
    let mut distance = 0.0;
    while !active.is_empty() {
        // Adding 0 makes -0 a plain 0.
        let lambda = sign * distance + 0.0;
        let points: Vec<(usize, f64)> = active.iter().map(|&row| (row, lambda)).collect();
        let (images, predictions) = sweeper.evaluate(question, direction, &points)?;
        let own = sweeper.reconstruction.select_rows(&active);
        let moved = images.zip(&own, |a, b| (a - b).abs())?.matrix()?.sum_dim(1);
        let moved = attr_core::Value::from(moved).to_vec()?;
        let mut on = Vec::with_capacity(active.len());
        for (i, &row) in active.iter().enumerate() {
            let prediction = predictions[i];
            // Upside down on the way to the right, so that it always falls.
            let falling = |p: f32| -sign * f64::from(p);
            let first = direction.predictions[row];
            let last = searched[row].last().map_or(first, |point| point.prediction);
            let extreme = if sign < 0.0 {
                prediction < 0.05
            } else {
                prediction > 0.95
            };
            let stop = if falling(last) < falling(prediction) {
                Some(Stop::Turned)
            } else if extreme {
                Some(Stop::Extreme)
            } else if falling(first) - config.search_pred_diff > falling(prediction) {
                Some(Stop::Enough)
            } else if distance >= config.search_max_steps {
                Some(Stop::Far)
            } else if f64::from(moved[i])
                > config.search_max_pixel_diff_pct * f64::from(totals[row])
            {
                Some(Stop::Changed)
            } else {
                None
            };
            searched[row].push(Searched {
                lambda,
                prediction,
                stop,
            });
            if stop.is_none() {
                on.push(row);
            }
        }
        active = on;
        distance += config.search_step_size + (distance / 10.0).ceil();
    }
    Ok(searched)
}
