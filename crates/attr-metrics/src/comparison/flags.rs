//! What a reader of a table must know: methods that a metric does not tell from random maps, and
//! methods that hardly depend on the model.

use super::{Comparison, EDGE_DETECTOR, RANDOM};
use crate::Family;

/// The similarity from which an explanation counts as independent of the model's parameters.
const SIMILAR: f64 = 0.5;

/// Metrics whose value is a similarity of explanations of the model and of random models.
const SIMILARITIES: [&str; 2] = ["mprt", "smooth-mprt"];

impl Comparison {
    /// Returns a sentence for each method that fails a check: no better than a random map by a metric
    /// of faithfulness or localisation, similar to itself (0.5 or more on average) while the model's
    /// parameters become random, or judged by a metric that is not defined on most of its rows.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let random = self.methods.iter().position(|name| name == RANDOM);
        for (i, method) in self.methods.iter().enumerate() {
            if method == RANDOM || method == EDGE_DETECTOR {
                continue;
            }
            for (j, column) in self.metrics.iter().enumerate() {
                let score = &self.scores[i][j];
                let (undefined, rows) = (score.undefined(), score.values.len());
                if 2 * undefined > rows {
                    flags.push(format!(
                        "{} says little about {method}: it is not defined on {undefined} of {rows} \
                         rows",
                        column.name
                    ));
                }
                let mean = score.mean();
                if SIMILARITIES.contains(&column.name.as_str()) && mean >= SIMILAR {
                    flags.push(format!(
                        "{method} fails {}: its explanations stay similar ({mean:.2}) while the \
                         model's parameters become random",
                        column.name
                    ));
                }
                let by_chance = random.map(|random| self.scores[random][j].mean());
                let judged = matches!(column.family, Family::Faithfulness | Family::Localisation);
                let Some(by_chance) = by_chance.filter(|mean| judged && !mean.is_nan()) else {
                    continue;
                };
                let worse = if column.higher_is_better {
                    mean <= by_chance
                } else {
                    mean >= by_chance
                };
                if worse {
                    flags.push(format!(
                        "{method} is no better than random by {}",
                        column.name
                    ));
                }
            }
        }
        flags
    }
}
