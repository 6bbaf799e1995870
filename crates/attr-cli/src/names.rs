//! Names of classes and features, from `--labels` and `--features`.

use std::path::Path;

use attr_core::{Feature, Row, Value};
use serde_json::Value as Json;

use crate::args::QuestionArguments;
use crate::error::Error;

/// The names that the command line gives.
#[derive(Clone, Default)]
pub struct Names {
    labels: Option<Vec<String>>,
    features: Option<Vec<String>>,
}

impl Names {
    /// Reads the files.
    pub fn read(arguments: &QuestionArguments) -> Result<Self, Error> {
        let labels = arguments
            .labels
            .as_deref()
            .map(|path| lines("--labels", path));
        let features = arguments.features.as_deref().map(|path| {
            if path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("csv"))
            {
                header(path)
            } else {
                lines("--features", path)
            }
        });
        Ok(Self {
            labels: labels.transpose()?,
            features: features.transpose()?,
        })
    }

    /// Refuses names that are not as many as the features of a row.
    pub fn check_features(&self, input: &Value) -> Result<(), Error> {
        let count = input.shape().iter().skip(1).product();
        check("--features", &self.features, count, "features in a row")
    }

    /// Refuses names that are not as many as the classes, which are dimension 1 of the output.
    pub fn check_labels(&self, output: &Value) -> Result<(), Error> {
        let classes = output.shape().get(1).copied().unwrap_or(1);
        check("--labels", &self.labels, classes, "classes in the output")
    }

    /// A class, with its name if it has one: `285 Egyptian cat`.
    pub fn class(&self, class: usize) -> String {
        match self.label(class) {
            Some(label) => format!("{class} {label}"),
            None => class.to_string(),
        }
    }

    pub fn label(&self, class: usize) -> Option<&str> {
        let labels = self.labels.as_ref()?;
        labels.get(class).map(String::as_str)
    }

    /// As [`class`](Self::class), for a target that may be an index of several numbers.
    pub fn target(&self, target: &Json) -> String {
        match target
            .as_u64()
            .and_then(|class| usize::try_from(class).ok())
        {
            Some(class) => self.class(class),
            None => target.to_string(),
        }
    }

    /// The name of a feature of a row.
    pub fn feature(&self, index: usize) -> Option<&str> {
        let features = self.features.as_ref()?;
        features.get(index).map(String::as_str)
    }

    /// The features of a row with their names and values, such as `age = 39`, largest first.
    pub fn row(&self, score: f32, attribution: &[f32], input: &[f32]) -> Row {
        let features = attribution.iter().enumerate().map(|(i, &value)| {
            let name = self
                .feature(i)
                .map_or(format!("feature {i}"), str::to_string);
            Feature {
                name: match input.get(i) {
                    Some(own) => format!("{name} = {own}"),
                    None => name,
                },
                value,
                index: vec![i],
                ..Feature::default()
            }
        });
        let row = Row {
            score,
            features: features.collect(),
            ..Row::default()
        };
        row.sorted()
    }

    pub fn has_features(&self) -> bool {
        self.features.is_some()
    }
}

fn check(flag: &str, names: &Option<Vec<String>>, count: usize, what: &str) -> Result<(), Error> {
    match names {
        Some(names) if names.len() != count => Err(Error::input(format!(
            "{flag}: {} names for {count} {what}",
            names.len()
        ))),
        _ => Ok(()),
    }
}

fn text(flag: &str, path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path);
    let bytes = bytes.map_err(|error| {
        Error::input(format!("{flag}: cannot read {}: {error}", path.display()))
    })?;
    String::from_utf8(bytes)
        .map_err(|_| Error::input(format!("{flag} {}: it is not UTF-8 text", path.display())))
}

/// One name for each line.
fn lines(flag: &str, path: &Path) -> Result<Vec<String>, Error> {
    let text = text(flag, path)?;
    Ok(text.lines().map(|line| line.trim().to_string()).collect())
}

/// The names in the first line of a CSV file.
fn header(path: &Path) -> Result<Vec<String>, Error> {
    let text = text("--features", path)?;
    let line = text.trim_start_matches('\u{feff}').lines().next();
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.unwrap_or_default().chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name).trim().to_string()),
            other => name.push(other),
        }
    }
    names.push(name.trim().to_string());
    Ok(names)
}
