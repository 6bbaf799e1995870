//! A report: one HTML file that shows explanations and works from disk.
//!
//! ```text
//! mod.rs      Report, Sample, Shown: what a report holds
//! data.rs     the numbers as the page reads them
//! page.html   the page
//! style.css   its looks
//! script.js   its behaviour
//! ```

mod data;

use std::collections::BTreeMap;
use std::path::Path;

use attr_core::walk::Ledger;

use crate::file::write_whole;
use crate::{Drawing, Error, Map, Picture};

/// An interactive report as one self-contained HTML file: no network, no other file.
///
/// A reader picks samples, targets, layers and methods, hovers for values and changes saturation
/// and overlay. Text from models and files is shown as text, whatever it contains.
///
/// ```
/// use attr_viz::{Map, Picture, Report, Sample, Shown};
///
/// # fn main() -> Result<(), attr_viz::Error> {
/// let image = Picture::gray(&[0.0, 0.2, 0.9, 0.4], 2, 2, 0.0..1.0)?;
/// let map = Map::new(vec![0.1, 0.0, 2.0, -0.3], 2, 2)?;
/// let sample = Sample::image("seven.png", &image)?
///     .with_predictions([("7", 0.98), ("1", 0.01)])
///     .with(Shown::map("saliency", "7", &map).with_seconds(0.004));
/// let mut report = Report::new("Digits").with_fact("model", "digits.onnx");
/// report.add(sample);
/// let html = report.to_html()?;
/// assert!(html.contains("<title>Digits</title>"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Report {
    title: String,
    created: Option<String>,
    facts: Vec<(String, String)>,
    samples: Vec<Sample>,
    layers: Vec<LayerRow>,
    ledgers: Vec<(String, String, Ledger)>,
    /// The pictures of references by their names, as PNG.
    references: BTreeMap<String, Vec<Vec<u8>>>,
    limit: usize,
}

/// What was explained: an input, the model's predictions for it, and its attributions.
#[derive(Clone, Debug)]
pub struct Sample {
    name: String,
    input: Input,
    predictions: Vec<(String, f32)>,
    shown: Vec<Shown>,
}

#[derive(Clone, Debug)]
enum Input {
    Image { size: (usize, usize), png: Vec<u8> },
    Text(Vec<String>),
    Table(Vec<(String, String)>),
    Series(Vec<(String, Vec<f32>)>),
}

/// An attribution in a report, or why there is none.
#[derive(Clone, Debug)]
pub struct Shown {
    method: String,
    layer: Option<String>,
    target: String,
    shape: Vec<usize>,
    values: Vec<f32>,
    delta: Option<f32>,
    seconds: Option<f64>,
    evaluations: Option<usize>,
    metrics: Vec<(String, f64, bool)>,
    /// Whether the value of a region stands at each of its elements.
    regions: bool,
    references: Option<String>,
    error: Option<String>,
}

#[derive(Clone, Debug)]
struct LayerRow {
    name: String,
    op: String,
    shape: Vec<usize>,
    relevance: Option<f64>,
}

impl Report {
    /// Creates a report without samples, of at most 20 MB.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            created: None,
            facts: Vec::new(),
            samples: Vec::new(),
            layers: Vec::new(),
            ledgers: Vec::new(),
            references: BTreeMap::new(),
            limit: 20_000_000,
        }
    }

    /// Adds what is needed to reproduce the report: a model's hash, parameters, seeds, versions.
    pub fn with_fact(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.push((name.into(), value.into()));
        self
    }

    /// Says when the report was made.
    pub fn with_date(mut self, date: impl Into<String>) -> Self {
        self.created = Some(date.into());
        self
    }

    /// Adds a layer to the model's summary, in execution order: name, operation, shape without the
    /// batch, and its share of the relevance if that is known.
    pub fn with_layer(
        mut self,
        name: impl Into<String>,
        op: impl Into<String>,
        shape: Vec<usize>,
        relevance: Option<f64>,
    ) -> Self {
        self.layers.push(LayerRow {
            name: name.into(),
            op: op.into(),
            shape,
            relevance,
        });
        self
    }

    /// Adds where the relevance of a sample's target went.
    pub fn with_ledger(
        mut self,
        sample: impl Into<String>,
        target: impl Into<String>,
        ledger: Ledger,
    ) -> Self {
        self.ledgers.push((sample.into(), target.into(), ledger));
        self
    }

    /// Adds pictures of samples that show what a concept stands for, under the name by which attributions
    /// refer to them ([`Shown::with_references`]).
    ///
    /// # Errors
    /// [`Error::Draw`] if a picture cannot be encoded.
    pub fn with_references<'a>(
        mut self,
        name: impl Into<String>,
        pictures: impl IntoIterator<Item = &'a Drawing>,
    ) -> Result<Self, Error> {
        let pictures = pictures.into_iter();
        let pictures = pictures.map(|drawing| crate::figure::png_of(drawing.image()));
        let pictures = pictures.collect::<Result<_, Error>>()?;
        self.references.insert(name.into(), pictures);
        Ok(self)
    }

    /// Sets the largest size in bytes; 20 MB by default. What does not fit is left out, and the
    /// report says so.
    pub fn with_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Adds a sample.
    pub fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Renders the report.
    ///
    /// # Errors
    /// [`Error::Draw`] if the page cannot be rendered.
    pub fn to_html(&self) -> Result<String, Error> {
        let mut page = minijinja::Environment::new();
        page.set_auto_escape_callback(|_| minijinja::AutoEscape::Html);
        let failed = |error: minijinja::Error| Error::Draw(error.to_string());
        page.add_template("page.html", include_str!("page.html"))
            .map_err(failed)?;
        let page = page.get_template("page.html").map_err(failed)?;
        page.render(minijinja::context! {
            title => self.title,
            style => include_str!("style.css"),
            script => include_str!("script.js"),
            data => self.data()?,
        })
        .map_err(failed)
    }

    /// Writes the report, which appears only when complete.
    ///
    /// # Errors
    /// As [`to_html`](Self::to_html), and [`Error::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        write_whole(path.as_ref(), self.to_html()?.as_bytes())
    }
}

impl Sample {
    /// Creates a sample of an image.
    ///
    /// # Errors
    /// [`Error::Draw`] if the image cannot be encoded.
    pub fn image(name: impl Into<String>, image: &Picture) -> Result<Self, Error> {
        let png = crate::figure::png_of(&image.0)?;
        let size = image.size();
        Ok(Self::of(name, Input::Image { size, png }))
    }

    /// Creates a sample of a text.
    pub fn text<T: Into<String>>(
        name: impl Into<String>,
        tokens: impl IntoIterator<Item = T>,
    ) -> Self {
        Self::of(
            name,
            Input::Text(tokens.into_iter().map(Into::into).collect()),
        )
    }

    /// Creates a sample of a table's row: the features' names and values.
    pub fn table<N: Into<String>, V: Into<String>>(
        name: impl Into<String>,
        features: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let features = features.into_iter();
        let features = features.map(|(name, value)| (name.into(), value.into()));
        Self::of(name, Input::Table(features.collect()))
    }

    /// Creates a sample of a time series: the channels' names and values, all of the same length.
    pub fn series<N: Into<String>>(
        name: impl Into<String>,
        channels: impl IntoIterator<Item = (N, Vec<f32>)>,
    ) -> Self {
        let channels = channels.into_iter();
        let channels = channels.map(|(name, values)| (name.into(), values));
        Self::of(name, Input::Series(channels.collect()))
    }

    fn of(name: impl Into<String>, input: Input) -> Self {
        Self {
            name: name.into(),
            input,
            predictions: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// Sets the model's predictions, best first.
    pub fn with_predictions<L: Into<String>>(
        mut self,
        predictions: impl IntoIterator<Item = (L, f32)>,
    ) -> Self {
        let predictions = predictions.into_iter();
        self.predictions = predictions.map(|(l, score)| (l.into(), score)).collect();
        self
    }

    /// Adds an attribution.
    pub fn with(mut self, shown: Shown) -> Self {
        self.shown.push(shown);
        self
    }
}

impl Shown {
    /// Shows a map over an image. It may be smaller than the image.
    pub fn map(method: impl Into<String>, target: impl Into<String>, map: &Map) -> Self {
        let (width, height) = map.size();
        Self::of(method, target, vec![height, width], map.values().to_vec())
    }

    /// Shows one value for each token or feature.
    pub fn values(method: impl Into<String>, target: impl Into<String>, values: Vec<f32>) -> Self {
        Self::of(method, target, vec![values.len()], values)
    }

    /// Shows one value for each time of each channel of a series, channel by channel.
    pub fn series(
        method: impl Into<String>,
        target: impl Into<String>,
        channels: usize,
        values: Vec<f32>,
    ) -> Self {
        let length = values.len() / channels.max(1);
        Self::of(method, target, vec![channels, length], values)
    }

    /// Shows why a method has no result.
    pub fn error(
        method: impl Into<String>,
        target: impl Into<String>,
        error: impl Into<String>,
    ) -> Self {
        let mut shown = Self::of(method, target, Vec::new(), Vec::new());
        shown.error = Some(error.into());
        shown
    }

    fn of(
        method: impl Into<String>,
        target: impl Into<String>,
        shape: Vec<usize>,
        values: Vec<f32>,
    ) -> Self {
        Self {
            method: method.into(),
            layer: None,
            target: target.into(),
            shape,
            values,
            delta: None,
            seconds: None,
            evaluations: None,
            metrics: Vec::new(),
            regions: false,
            references: None,
            error: None,
        }
    }

    /// Sets the target that is explained.
    pub fn for_target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// Says at which layer the attribution was made.
    pub fn with_layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// Says that features are regions, each with one value that stands at all of its elements, so
    /// that the values' sum means nothing.
    pub fn of_regions(mut self) -> Self {
        self.regions = true;
        self
    }

    /// Shows reference samples beside the attribution, by the name that
    /// [`Report::with_references`] gives them.
    pub fn with_references(mut self, name: impl Into<String>) -> Self {
        self.references = Some(name.into());
        self
    }

    /// Sets the convergence delta.
    pub fn with_delta(mut self, delta: f32) -> Self {
        self.delta = Some(delta);
        self
    }

    /// Sets how long it took.
    pub fn with_seconds(mut self, seconds: f64) -> Self {
        self.seconds = Some(seconds);
        self
    }

    /// Sets how often the model was evaluated.
    pub fn with_evaluations(mut self, evaluations: usize) -> Self {
        self.evaluations = Some(evaluations);
        self
    }

    /// Adds a metric of the attribution's quality.
    pub fn with_metric(
        mut self,
        name: impl Into<String>,
        value: f64,
        higher_is_better: bool,
    ) -> Self {
        self.metrics.push((name.into(), value, higher_is_better));
        self
    }
}
