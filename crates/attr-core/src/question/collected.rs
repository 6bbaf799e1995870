//! Results collected from chunks of rows.

use crate::{Error, Explanation, Value};

/// Results for each target, collected from chunks of rows.
pub struct Collected {
    /// `[target][input][chunk]`.
    values: Vec<Vec<Vec<Value>>>,
    scores: Vec<Vec<f32>>,
}

impl Collected {
    /// Creates an empty collection for this many targets and values.
    pub fn new(targets: usize, values: usize) -> Self {
        Self {
            values: vec![vec![Vec::new(); values]; targets],
            scores: vec![Vec::new(); targets],
        }
    }

    /// Appends a chunk for one target: the rows of each value (`None` for inputs without
    /// attribution) and their scores.
    pub fn push(&mut self, target: usize, chunk: Vec<Option<Value>>, scores: &[f32]) {
        let Some(values) = self.values.get_mut(target) else {
            return;
        };
        for (parts, value) in values.iter_mut().zip(chunk) {
            parts.extend(value);
        }
        self.scores[target].extend(scores);
    }

    /// Returns an explanation for each target.
    ///
    /// # Errors
    /// [`Error::Shape`] for chunks that disagree in kind or shape.
    pub fn finish(self) -> Result<Vec<Explanation>, Error> {
        let each = self.values.into_iter().zip(self.scores);
        each.map(|(per_input, scores)| {
            let values = per_input.into_iter().map(|parts| {
                if parts.is_empty() {
                    Ok(None)
                } else {
                    Value::cat_rows(parts).map(Some)
                }
            });
            Ok(Explanation::new(
                values.collect::<Result<_, Error>>()?,
                scores,
            ))
        })
        .collect()
    }
}
