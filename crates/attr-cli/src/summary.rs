//! Formats the summary of `attrx explain` as text and as JSON.

use std::time::Duration;

use attr_core::{Row, Value, Work};
use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use crate::error::Error;
use crate::names::Names;

/// How many features of a row are listed.
const FEATURES: usize = 10;

/// The contents of a summary.
pub struct Summary<'a> {
    pub model: String,
    pub method: &'a str,
    pub parameters: Json,
    pub device: String,
    pub output_name: String,
    pub output: Value,
    pub target: String,
    /// The index of the target in each row, if it is a single element.
    pub targets: Vec<Json>,
    pub scores: Vec<f32>,
    pub delta: Option<Vec<f32>>,
    /// How well each row's surrogate model fits.
    pub r_squared: Option<Vec<f32>>,
    /// What a reader of the attributions must know.
    pub warnings: Vec<String>,
    /// Name and standard error of each attribution that was sampled.
    pub errors: Vec<(String, Value)>,
    /// Name and value of each attribution.
    pub attributions: Vec<(String, Value)>,
    pub layers: Vec<String>,
    /// The names of classes and features.
    pub names: Names,
    /// The explained input, if it is a table.
    pub input: Option<Value>,
    pub neuron: Option<String>,
    pub work: Work,
    /// The time of the only run, or the median of `times`.
    pub time: Duration,
    /// The times of repeated runs.
    pub times: Vec<Duration>,
}

/// Returns the index of each row's largest output, or none unless the rows are class scores.
pub fn predicted(output: &Value) -> Result<Option<Vec<usize>>, Error> {
    let shape = output.shape();
    let [_, classes] = shape[..] else {
        return Ok(None);
    };
    if classes < 2 {
        return Ok(None);
    }
    let values = output.to_vec()?;
    let largest = values.chunks_exact(classes).map(|row| {
        // The first of equal values, as for the target `predicted`.
        let mut best = 0;
        for (i, value) in row.iter().enumerate() {
            if *value > row[best] {
                best = i;
            }
        }
        best
    });
    Ok(Some(largest.collect()))
}

impl Summary<'_> {
    /// Passes the summary as it is in JSON to `write`.
    pub fn as_json<T>(
        &self,
        write: impl FnOnce(&Report<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut attributions = Vec::new();
        for (name, value) in &self.attributions {
            let values = value.to_vec()?;
            let rows = value.rows().max(1);
            let sums = values.chunks_exact((values.len() / rows).max(1));
            attributions.push(Summed {
                name,
                shape: value.shape(),
                sum: sums.map(|row| row.iter().sum()).collect(),
            });
        }
        let (output, shape) = (self.output.to_vec()?, self.output.shape());
        let report = Report {
            model: &self.model,
            method: self.method,
            parameters: &self.parameters,
            device: &self.device,
            layer: match &self.layers[..] {
                [] => Json::Null,
                [layer] => json!(layer),
                layers => json!(layers),
            },
            neuron: self.neuron.as_deref(),
            prediction: match predicted(&self.output)? {
                Some(classes) => Prediction::Classes(classes),
                None => Prediction::Values(Nested(&output, &shape)),
            },
            output: Output {
                name: &self.output_name,
                shape: &shape,
                values: &output,
            },
            target: &self.targets,
            target_names: self.target_names(),
            score: &self.scores,
            delta: self.delta.as_deref(),
            r_squared: self.r_squared.as_deref(),
            warnings: &self.warnings,
            largest_standard_error: self.largest_error()?,
            attributions,
            time: self.time.as_secs_f64(),
            times: self.times.iter().map(Duration::as_secs_f64).collect(),
            evaluations: self.work.forward_rows,
            work: self.work,
        };
        write(&report)
    }

    /// The method of attribution `i`, with what distinguishes it from the same method elsewhere: the
    /// method inside a noise tunnel, the layer.
    pub fn title(&self, i: usize) -> String {
        let of = self.parameters.get("of").and_then(Json::as_str);
        let of = of.map_or(String::new(), |of| format!(" of {of}"));
        let layer = self.layers.get(i);
        let layer = layer.map_or(String::new(), |layer| format!(" at {layer}"));
        format!("{}{of}{layer}", self.method)
    }

    /// The names of the targets, if classes have names.
    fn target_names(&self) -> Option<Vec<Option<&str>>> {
        let class = |target: &Json| usize::try_from(target.as_u64()?).ok();
        let names = self.targets.iter().map(|t| self.names.label(class(t)?));
        let names: Vec<Option<&str>> = names.collect();
        names.iter().any(Option::is_some).then_some(names)
    }

    /// The target of a row, with its name.
    pub fn target_of(&self, row: usize) -> String {
        match self.targets.get(row) {
            Some(Json::Null) | None => self.target.clone(),
            Some(target) => self.names.target(target),
        }
    }

    /// The features of a row, if the first attribution is that of a table.
    pub fn row(&self, row: usize) -> Result<Option<Row>, Error> {
        let (Some(input), Some((_, value))) = (&self.input, self.attributions.first()) else {
            return Ok(None);
        };
        if value.shape() != input.shape() {
            return Ok(None);
        }
        let numbers = |value: &Value| value.slice_rows(row..row + 1).to_vec();
        let (attribution, input) = (numbers(value)?, numbers(input)?);
        let score = self.scores.get(row).copied().unwrap_or_default();
        Ok(Some(self.names.row(score, &attribution, &input)))
    }

    /// Returns the largest standard error of any value, if values were sampled.
    fn largest_error(&self) -> Result<Option<f32>, Error> {
        let mut largest: Option<f32> = None;
        for (_, errors) in &self.errors {
            let own = errors.to_vec()?.into_iter().fold(0.0, f32::max);
            largest = Some(largest.map_or(own, |known| known.max(own)));
        }
        Ok(largest)
    }

    /// Returns the summary as text.
    pub fn to_text(&self) -> Result<String, Error> {
        let mut lines = Vec::new();
        let predicted = predicted(&self.output)?;
        for (row, score) in self.scores.iter().enumerate() {
            let predicted = predicted.as_ref().and_then(|p| p.get(row));
            let predicted = predicted.map_or(String::new(), |&p| {
                format!("predicted {}, ", self.names.class(p))
            });
            let target = self.target_of(row);
            let delta = self.delta.as_ref().and_then(|d| d.get(row));
            let delta = delta.map_or(String::new(), |d| format!(", delta {d:.1e}"));
            let fit = self.r_squared.as_ref().and_then(|r| r.get(row));
            let fit = fit.map_or(String::new(), |r| format!(", R² {r:.3}"));
            lines.push(format!(
                "row {row}: {predicted}target {target}, score {score:.6}{delta}{fit}"
            ));
            if let Some(table) = self.row(row)?.filter(|_| self.names.has_features()) {
                let features = table.top(FEATURES).features.into_iter();
                lines.extend(features.map(|f| format!("    {:+.4}  {}", f.value, f.name)));
            }
        }
        let shown: Vec<String> = self
            .attributions
            .iter()
            .map(|(name, value)| format!("{name} {:?}", value.shape()))
            .collect();
        let error = self.largest_error()?;
        let error = error.map_or(String::new(), |e| format!(", standard error up to {e:.1e}"));
        lines.push(format!(
            "{} of {} in {:.3} s, {} evaluations{error}",
            self.method,
            shown.join(", "),
            self.time.as_secs_f64(),
            self.work.forward_rows
        ));
        lines.extend(self.warnings.iter().map(|text| format!("warning: {text}")));
        Ok(lines.join("\n") + "\n")
    }
}

/// The summary's JSON. Numbers are borrowed: those of many rows take more memory as JSON values.
#[derive(Serialize)]
pub struct Report<'a> {
    model: &'a str,
    method: &'a str,
    parameters: &'a Json,
    device: &'a str,
    layer: Json,
    neuron: Option<&'a str>,
    output: Output<'a>,
    prediction: Prediction<'a>,
    target: &'a [Json],
    #[serde(skip_serializing_if = "Option::is_none")]
    target_names: Option<Vec<Option<&'a str>>>,
    score: &'a [f32],
    delta: Option<&'a [f32]>,
    r_squared: Option<&'a [f32]>,
    warnings: &'a [String],
    largest_standard_error: Option<f32>,
    attributions: Vec<Summed<'a>>,
    time: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    times: Vec<f64>,
    evaluations: usize,
    work: Work,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    shape: &'a [usize],
    values: &'a [f32],
}

#[derive(Serialize)]
struct Summed<'a> {
    name: &'a str,
    shape: Vec<usize>,
    sum: Vec<f32>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Prediction<'a> {
    Classes(Vec<usize>),
    Values(Nested<'a>),
}

/// Flat values as nested lists of this shape.
struct Nested<'a>(&'a [f32], &'a [usize]);

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            [] | [_] => self.0.serialize(serializer),
            [rows, rest @ ..] => {
                let each = (self.0.len() / (*rows).max(1)).max(1);
                serializer.collect_seq(self.0.chunks_exact(each).map(|part| Nested(part, rest)))
            }
        }
    }
}
