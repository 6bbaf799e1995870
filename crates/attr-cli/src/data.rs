//! The samples of a data set as rows of the model's input.

use attr_core::{Kind, Value};
use attr_data::{Array, Content, DataSet, Elements, Options, Sample};
use attr_onnx::Port;
use attr_viz::Picture;
use burn::tensor::Device;

use crate::args::{DataArguments, ModelArguments};
use crate::error::Error;
use crate::image::Preparation;
use crate::input;

/// A data set for an input of the model.
pub struct Source {
    pub data: DataSet,
    port: Port,
    /// None for an input that is no image.
    preparation: Option<Preparation>,
}

/// A sample as a row of the input.
pub struct Row {
    pub array: Array,
    /// The image that it was read from, if any.
    pub picture: Option<Picture>,
}

impl DataArguments {
    /// How the data set is opened.
    pub fn options(&self) -> Options {
        Options {
            labels: self.labels.clone(),
            image_column: self.image_column.clone(),
            label_column: self.label_column.clone(),
        }
    }
}

impl Source {
    /// Opens a data set for the model's only input.
    pub fn open(
        arguments: &DataArguments,
        model: &ModelArguments,
        ports: &[Port],
    ) -> Result<Self, Error> {
        let [port] = ports else {
            return Err(Error::input(format!(
                "--data takes a model with one input; this one has {}",
                input::describe(ports)
            )));
        };
        let data = DataSet::open(&arguments.data, &arguments.options())?;
        let preparation = match Preparation::new(port, model) {
            Ok(preparation) => Some(preparation),
            // Arrays need no preparation.
            Err(_) if model.size.is_none() && model.mean.is_empty() && model.std.is_empty() => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            data,
            port: port.clone(),
            preparation,
        })
    }

    /// Turns a sample into a row, or says why it cannot be one.
    pub fn row(&self, sample: &Sample) -> Result<Row, String> {
        match &sample.content {
            Content::Unreadable(reason) => Err(reason.clone()),
            Content::Encoded(bytes) => {
                let preparation = self.preparation.as_ref().ok_or_else(|| {
                    format!("an image, but the model takes {}", input::one(&self.port))
                })?;
                let (array, picture) = preparation.prepare(bytes).map_err(|e| e.to_string())?;
                Ok(Row {
                    array,
                    picture: Some(picture),
                })
            }
            Content::Array(array) => {
                let mut shape = vec![1];
                shape.extend(&array.shape);
                let elements = array.elements.clone();
                let array = Array { shape, elements };
                self.check(&array)?;
                Ok(Row {
                    array,
                    picture: None,
                })
            }
        }
    }

    /// As [`row`](Self::row), for a row of this shape; with `classes`, its label must be one of them.
    pub fn fitting(
        &self,
        sample: &Sample,
        shape: &[usize],
        classes: Option<usize>,
    ) -> Result<Row, String> {
        let row = self.row(sample)?;
        if row.array.shape != shape {
            return Err(format!(
                "its shape is {:?}, where others have {:?}; --size resizes images",
                &row.array.shape[1..],
                &shape[1..]
            ));
        }
        if let Elements::Float(values) = &row.array.elements
            && values.iter().any(|value| !value.is_finite())
        {
            return Err("it holds NaN or infinity".into());
        }
        match (classes, sample.label) {
            (Some(_), None) => Err("it has no label".into()),
            (Some(classes), Some(label)) if label >= classes => Err(format!(
                "its label is {label}, and the model has {classes} classes"
            )),
            _ => Ok(row),
        }
    }

    fn check(&self, array: &Array) -> Result<(), String> {
        let checked = self.port.check_shape(&array.shape);
        checked.map_err(|error| error.to_string())?;
        let whole = self.port.kind == Kind::Float || array.elements.to_ints().is_some();
        whole
            .then_some(())
            .ok_or_else(|| "it holds fractions, but the model takes integers".into())
    }

    /// Joins rows, which must have one shape, into a value on the device.
    pub fn upload(&self, rows: Vec<Array>, device: &Device) -> Result<Value, Error> {
        let count = rows.len();
        let mut rows = rows.into_iter();
        let Some(mut all) = rows.next() else {
            return Err(Error::input("there are no samples"));
        };
        for row in rows {
            all.elements = match (all.elements, row.elements) {
                (Elements::Int(mut all), Elements::Int(more)) => {
                    all.extend(more);
                    Elements::Int(all)
                }
                (Elements::Bool(mut all), Elements::Bool(more)) => {
                    all.extend(more);
                    Elements::Bool(all)
                }
                (all, more) => {
                    let mut all = all.into_floats();
                    all.extend(more.into_floats());
                    Elements::Float(all)
                }
            };
        }
        all.shape[0] = count;
        input::upload(all, &self.port.name, self.port.kind, device)
    }

    /// The first sample that is a row.
    pub fn example(&self) -> Result<Row, Error> {
        let mut reason = String::new();
        for sample in self.data.samples(0..self.data.len()) {
            let sample = sample?;
            match self.row(&sample) {
                Ok(row) => return Ok(row),
                Err(why) if reason.is_empty() => reason = format!("{}: {why}", sample.name),
                Err(_) => {}
            }
        }
        Err(Error::input(format!(
            "no sample can be read, such as {reason}"
        )))
    }

    /// One sample as a row.
    pub fn one(&self, number: u64) -> Result<Row, Error> {
        let sample = self.data.samples(number..number.saturating_add(1)).next();
        let sample =
            sample.ok_or_else(|| Error::input(format!("there is no sample {number}")))??;
        let row = self.row(&sample);
        row.map_err(|why| Error::input(format!("{}: {why}", sample.name)))
    }
}
