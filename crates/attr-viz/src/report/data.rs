//! The numbers of a report as its page reads them.

use std::collections::BTreeMap;

use attr_core::walk::Ledger;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value as Json, json};

use super::{Input, Report, Sample, Shown};
use crate::{Error, Style};

impl Report {
    /// Returns the data as JSON that can stand inside a script element.
    pub(super) fn data(&self) -> Result<String, Error> {
        let (mut samples, mut ledgers) = (Vec::new(), Vec::new());
        let (mut size, mut left_out) = (0, 0);
        let mut used: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for sample in &self.samples {
            let own = self.ledgers.iter().filter(|one| one.0 == sample.name);
            let own = own.map(|(name, target, ledger)| text(&entry(name, target, ledger)));
            let own = own.collect::<Result<Vec<String>, Error>>()?.join(",");
            let shown = &sample.shown;
            let sample = text(&sample.to_json())?;
            let names = shown.iter().filter_map(|one| one.references.as_ref());
            let mut more: BTreeMap<&String, Vec<String>> = BTreeMap::new();
            for name in names.filter(|name| !used.contains_key(name)) {
                let pictures = self.references.get(name).into_iter().flatten();
                more.insert(name, pictures.map(|png| data_url(png)).collect());
            }
            let pictures: usize = more.values().flatten().map(String::len).sum();
            let own_size = sample.len() + own.len() + pictures;
            if left_out > 0 || size + own_size > self.limit {
                left_out += 1;
                continue;
            }
            size += own_size;
            used.append(&mut more);
            samples.push(sample);
            ledgers.extend((!own.is_empty()).then_some(own));
        }
        let statement = (left_out > 0).then(|| {
            format!(
                "{left_out} of {} samples: with them, the report would be larger than {:.1} MB.",
                self.samples.len(),
                self.limit as f64 / 1e6
            )
        });
        let layers = self.layers.iter().map(|layer| {
            json!({
                "name": layer.name,
                "op": layer.op,
                "shape": layer.shape,
                "relevance": layer.relevance,
            })
        });
        let facts = self.facts.iter();
        let rest = text(&json!({
            "title": self.title,
            "generator": concat!("attr ", env!("CARGO_PKG_VERSION")),
            "created": self.created,
            "reproduce": facts
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect::<Vec<_>>(),
            "left_out": statement.into_iter().collect::<Vec<_>>(),
            "palettes": {
                "signed": palette(&Style::default(), -1.0),
                "unsigned": palette(&Style::default().with_sign(crate::Sign::Positive), 0.0),
            },
            "model": layers.collect::<Vec<_>>(),
            "references": used,
        }))?;
        // Samples and ledgers are text already.
        let rest = rest.strip_suffix('}').unwrap_or(&rest);
        Ok(format!(
            "{rest},\"samples\":[{}],\"ledger\":[{}]}}",
            samples.join(","),
            ledgers.join(",")
        ))
    }
}

/// Where the relevance of a sample's target went.
fn entry(sample: &str, target: &str, ledger: &Ledger) -> Json {
    let entries = ledger.entries.iter().map(|entry| {
        json!({
            "layer": entry.layer,
            "bias": entry.bias,
            "stabilizer": entry.stabilizer,
            "stopped": entry.stopped,
            "rounding": entry.rounding,
        })
    });
    json!({
        "sample": sample,
        "target": target,
        "start": ledger.started,
        "inputs": ledger.arrived,
        "entries": entries.collect::<Vec<_>>(),
    })
}

/// The colours of 256 values from the lowest to 1.
fn palette(style: &Style, low: f32) -> String {
    let color = |i: u16| style.color(low + (1.0 - low) * f32::from(i) / 255.0);
    BASE64_STANDARD.encode((0..256).flat_map(color).collect::<Vec<u8>>())
}

/// JSON without characters that mean something in HTML.
fn text(json: &Json) -> Result<String, Error> {
    let plain = serde_json::to_string(json).map_err(|error| Error::Draw(error.to_string()))?;
    let mut safe = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            other => safe.push(other),
        }
    }
    Ok(safe)
}

fn data_url(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png))
}

fn floats(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}

impl Sample {
    fn to_json(&self) -> Json {
        let input = match &self.input {
            Input::Image { size, png } => json!({
                "kind": "image",
                "width": size.0,
                "height": size.1,
                "png": data_url(png),
            }),
            Input::Text(tokens) => json!({"kind": "text", "tokens": tokens}),
            Input::Table(features) => {
                let features = features.iter();
                let features = features.map(|(name, value)| json!({"name": name, "value": value}));
                json!({"kind": "table", "features": features.collect::<Vec<_>>()})
            }
            Input::Series(channels) => {
                let channels = channels.iter();
                let channels =
                    channels.map(|(name, values)| json!({"name": name, "values": floats(values)}));
                json!({"kind": "series", "channels": channels.collect::<Vec<_>>()})
            }
        };
        let predictions = self.predictions.iter();
        let predictions = predictions.map(|(label, score)| json!({"label": label, "score": score}));
        json!({
            "name": self.name,
            "input": input,
            "predictions": predictions.collect::<Vec<_>>(),
            "attributions": self.shown.iter().map(Shown::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Shown {
    fn to_json(&self) -> Json {
        let metrics = self.metrics.iter().map(|(name, value, higher)| {
            let better = if *higher { "higher" } else { "lower" };
            json!({"name": name, "value": value, "better": better})
        });
        // A value that no map can hold is said instead of drawn.
        let broken = self.values.iter().any(|v| !v.is_finite());
        let error = match &self.error {
            None if broken => Some("The attribution holds NaN or infinity.".to_string()),
            error => error.clone(),
        };
        let values = if error.is_some() {
            String::new()
        } else {
            floats(&self.values)
        };
        json!({
            "method": self.method,
            "layer": self.layer,
            "target": self.target,
            "shape": self.shape,
            "values": values,
            "delta": self.delta,
            "seconds": self.seconds,
            "evaluations": self.evaluations,
            "metrics": metrics.collect::<Vec<_>>(),
            "regions": self.regions,
            "references": self.references,
            "error": error,
        })
    }
}
