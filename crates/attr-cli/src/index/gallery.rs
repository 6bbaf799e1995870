//! Samples of an index in rows, drawn with what is looked at in them.

use std::path::{Path, PathBuf};

use attr_core::{Target, Traced, Values};
use attr_data::DataSet;
use attr_index::Index;
use attr_lrp_crp::{Concepts, Condition, Crp, LrpConfig, Mixed, channel_dim};
use attr_viz::{Drawing, Map, Opaque, Panel, Picture, Style, View};

use crate::args::{DataArguments, GalleryArguments, Look, ModelArguments};
use crate::data::{Row, Source};
use crate::error::Error;
use crate::model::{self, Opened};
use crate::output::{self, Outputs};
use crate::picture;

/// What is drawn of a sample.
pub struct Shows<'a> {
    pub sample: u64,
    /// The class whose relevance is drawn; none starts at the concept's activation, or at the predicted
    /// class.
    pub target: Option<usize>,
    pub subject: Subject<'a>,
}

/// Whose relevance is drawn.
pub enum Subject<'a> {
    /// That of all concepts.
    Prediction,
    /// That of a channel, or of one of its neurons, by its place among all positions.
    Concept {
        layer: &'a str,
        channel: usize,
        neuron: Option<usize>,
    },
}

/// Refuses a picture's name.
pub fn check(arguments: &GalleryArguments) -> Result<(), Error> {
    let Some(image) = &arguments.image else {
        return Ok(());
    };
    let read = [&arguments.model, &arguments.data].into_iter().flatten();
    let read: Vec<_> = read.map(|path| path.as_path()).collect();
    output::check(&[("--image", image, &["png"])], &read)
}

/// The names of an index's samples.
pub struct Names(DataSet);

impl Names {
    /// Opens the data set of an index, if it is given.
    pub fn open(arguments: &GalleryArguments, index: &Index) -> Result<Option<Self>, Error> {
        let Some(path) = &arguments.data else {
            return Ok(None);
        };
        let data = data_arguments(path, arguments, index);
        let data = DataSet::open(path, &data.options())?;
        check_data(path, &data, index)?;
        Ok(Some(Self(data)))
    }

    /// The name of a sample.
    pub fn of(&self, number: u64) -> Result<String, Error> {
        let sample = self.0.samples(number..number.saturating_add(1)).next();
        let sample = sample.ok_or_else(|| Error::input(format!("there is no sample {number}")))?;
        Ok(sample?.name)
    }
}

/// How the data set of an index is opened.
fn data_arguments(path: &Path, arguments: &GalleryArguments, index: &Index) -> DataArguments {
    let column = |name: &str| index.run().settings.get(name).cloned().unwrap_or_default();
    DataArguments {
        data: path.into(),
        labels: arguments.labels.clone(),
        image_column: column("image_column"),
        label_column: column("label_column"),
    }
}

/// Refuses other data than those of an index.
fn check_data(path: &Path, data: &DataSet, index: &Index) -> Result<(), Error> {
    if data.fingerprint() == index.run().data {
        return Ok(());
    }
    Err(Error::input(format!(
        "--data {}: the index was made from other data; it had {} samples",
        path.display(),
        index.run().samples
    )))
}

/// The model and the data set of an index.
pub struct Gallery {
    image: Option<PathBuf>,
    view: Look,
    pub source: Source,
    pub opened: Opened,
    pub model: Traced,
    pub composite: Mixed,
}

impl Gallery {
    /// Opens the model and the data set that a picture takes; none without a picture.
    pub fn open(arguments: &GalleryArguments, index: &Index) -> Result<Option<Self>, Error> {
        if arguments.image.is_none() {
            return Ok(None);
        }
        Self::of(arguments, index).map(Some)
    }

    /// Opens the model and the data set, with the settings of the index.
    pub fn of(arguments: &GalleryArguments, index: &Index) -> Result<Self, Error> {
        let run = index.run();
        let needed = || Error::input("give the index's --model and --data");
        let path = arguments.model.clone().ok_or_else(needed)?;
        let data = arguments.data.clone().ok_or_else(needed)?;
        let hash = model::hash(&path)?;
        if hash != run.model {
            return Err(Error::input(format!(
                "--model {}: the index was made with another model (SHA-256 {})",
                path.display(),
                run.model
            )));
        }
        let constants = model::contents(&arguments.constant)?;
        if run
            .settings
            .get("constants")
            .is_some_and(|own| *own != constants)
        {
            return Err(Error::input(
                "--constant: the index was made with other values, or none",
            ));
        }
        let set = |name: &str| run.settings.get(name).filter(|value| !value.is_empty());
        let numbers = |name: &str| -> Vec<f32> {
            let texts = set(name).into_iter().flat_map(|text| text.split(','));
            texts.filter_map(|text| text.parse().ok()).collect()
        };
        let model_arguments = ModelArguments {
            model: path,
            output: set("output").cloned(),
            input: Vec::new(),
            constant: arguments.constant.clone(),
            batch_dim: arguments.batch_dim.clone(),
            size: set("size").cloned(),
            mean: numbers("mean"),
            std: numbers("std"),
            device: arguments.device,
            logits: set("logits").is_some_and(|value| value == "true"),
            quiet: true,
            verbose: false,
        };
        let data_arguments = data_arguments(&data, arguments, index);
        let opened = Opened::new(&model_arguments)?;
        let source = Source::open(&data_arguments, &model_arguments, opened.ports())?;
        check_data(&data, &source.data, index)?;
        let example = source.example()?.array;
        let example = source.upload(vec![example], &opened.device)?;
        let model = opened.trace(&model_arguments, &Values::new(vec![example], vec![true]))?;
        let config = set("lrp").map_or("{}", String::as_str);
        let config: LrpConfig = serde_json::from_str(config)
            .map_err(|error| Error::input(format!("run.json: lrp: {error}")))?;
        Ok(Self {
            image: arguments.image.clone(),
            view: arguments.view,
            source,
            opened,
            model,
            composite: config.composite()?,
        })
    }

    /// Writes the picture: rows with their labels.
    pub fn write(&self, rows: &[(String, Vec<Shows<'_>>)]) -> Result<(), Error> {
        let Some(path) = &self.image else {
            return Ok(());
        };
        let columns = rows.iter().map(|row| row.1.len()).max().unwrap_or_default();
        let mut panel = Panel::new((0..columns).map(|rank| format!("{}", rank + 1)));
        for (label, shows) in rows {
            let drawings = shows.iter().map(|one| self.drawing(one));
            panel.row(label, drawings.collect::<Result<_, _>>()?)?;
        }
        let mut outputs = Outputs::default();
        outputs.add(path, picture::encode(&panel.with_cell(128), path)?);
        outputs.write()
    }

    /// One sample as rows of the model's input.
    pub fn values(&self, sample: u64) -> Result<(Values, Option<Picture>), Error> {
        let Row { array, picture } = self.source.one(sample)?;
        let value = self.source.upload(vec![array], &self.opened.device)?;
        Ok((Values::new(vec![value], vec![true]), picture))
    }

    /// Draws a sample.
    pub fn drawing(&self, shows: &Shows<'_>) -> Result<Drawing, Error> {
        let (values, picture) = self.values(shows.sample)?;
        let (input, _) = picture::channels_first(&values.values()[0])?;
        let original = match picture {
            Some(picture) => Some(picture),
            None => picture::original(None, &input, 0, true)?,
        };
        let no_picture = || Error::input("--image: samples of this shape are no pictures");
        let original: Picture = original.ok_or_else(no_picture)?;
        let style = Style::default();
        let map = self.map(&values, shows)?;
        let crop = match self.view {
            Look::Sample => return Ok(View::Original.draw(&map, Some(&original), &style)?),
            Look::Heatmap => return Ok(View::HeatMap.draw(&map, None, &style)?),
            Look::Opaque => false,
            Look::Crop => true,
        };
        let (width, height) = map.size();
        // The window must fit into the picture.
        let kernel_size = Opaque::default()
            .kernel_size
            .min((width.min(height) / 4) * 2 + 1);
        let how = Opaque {
            crop,
            kernel_size,
            ..Opaque::default()
        };
        let picture = original.opaque(&map, &how)?;
        let (width, height) = picture.size();
        let blank = Map::new(vec![0.0; width * height], width, height)?;
        Ok(View::Original.draw(&blank, Some(&picture), &style)?)
    }

    /// Where relevance is: for the class, or from the concept's activation.
    fn map(&self, values: &Values, shows: &Shows<'_>) -> Result<Map, Error> {
        let mut crp = Crp::new(self.composite.clone());
        let mut target = shows.target.map_or(Target::Predicted, Target::Class);
        if let Subject::Concept {
            layer,
            channel,
            neuron,
        } = shows.subject
        {
            let concepts = match neuron {
                Some(place) => Concepts::Neurons(vec![self.neuron(values, layer, channel, place)?]),
                None => Concepts::from([channel]),
            };
            crp = crp.with_condition(Condition::at(layer, concepts));
            if shows.target.is_none() {
                crp = crp.starting_at(layer);
                target = Target::Predicted;
            }
        }
        let found = crp.attribute(&self.model, values, target)?;
        let map = found.maps().first().and_then(|map| map.values()[0].clone());
        let map = map.ok_or_else(|| Error::input("--image: the input gets no relevance"))?;
        let (map, _) = picture::channels_first(&map)?;
        Ok(Map::from_value(&map, 0)?)
    }

    /// The index of a channel's neuron in the layer's output, from its place among all positions.
    fn neuron(
        &self,
        values: &Values,
        layer: &str,
        channel: usize,
        place: usize,
    ) -> Result<Vec<usize>, Error> {
        let found = self.model.activations(values, &[layer])?;
        let shape = found.first().map(|value| value.shape()).unwrap_or_default();
        let plan = self.model.plan(&self.composite, values)?;
        let dim = channel_dim(plan.node(layer)?, shape.len());
        let mut index = vec![0; shape.len()];
        let mut rest = place;
        for at in (1..shape.len()).rev() {
            if at == dim {
                index[at] = channel;
            } else {
                index[at] = rest % shape[at];
                rest /= shape[at];
            }
        }
        Ok(index.split_off(1))
    }
}
