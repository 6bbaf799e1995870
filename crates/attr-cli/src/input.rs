//! Reads the model's inputs from arrays and images.

use std::path::Path;

use attr_core::{Kind, Value, Values};
use attr_data::{Array, Elements};
use attr_onnx::{Port, PortDim};
use attr_viz::Picture;
use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

use crate::args::ModelArguments;
use crate::error::Error;
use crate::image::Preparation;
use crate::npy;

/// The inputs in the model's order.
pub struct Inputs {
    /// The values passed to the model.
    pub values: Values,
    /// Which were given with `--input`, including integers, which get no attribution.
    pub explained: Vec<bool>,
    /// The image that each was read from, if any.
    pub pictures: Vec<Option<Picture>>,
}

/// Reads all inputs that the model declares.
pub fn read(arguments: &ModelArguments, ports: &[Port], device: &Device) -> Result<Inputs, Error> {
    let mut slots: Vec<Option<Slot>> = ports.iter().map(|_| None).collect();
    for (flag, attributed, texts) in [
        ("--input", true, &arguments.input),
        ("--constant", false, &arguments.constant),
    ] {
        // Named inputs come first; the others fill the remaining ones in order.
        let split = texts.iter().map(|text| name_and_file(text, ports));
        let (named, unnamed): (Vec<_>, Vec<_>) = split.partition(|(name, _)| name.is_some());
        for (name, file) in named.into_iter().chain(unnamed) {
            let path = Path::new(file);
            let images = is_image(path);
            if path.extension().is_some_and(|e| e == "npz") && name.is_none() {
                bind_archive(path, ports, &mut slots, attributed)?;
                continue;
            }
            let at = match name {
                Some(name) => position(name, ports),
                None => slots.iter().position(Option::is_none),
            };
            let at = at.ok_or_else(|| {
                let problem = match name {
                    Some(name) => format!("the model has no input {name:?}"),
                    None => "all inputs of the model are already given".into(),
                };
                Error::input(format!(
                    "{flag} {file}: {problem}; its inputs are {}",
                    describe(ports)
                ))
            })?;
            let (array, picture) = if images {
                let (array, picture) = image(path, &ports[at], arguments)?;
                (array, Some(picture))
            } else {
                let port = &ports[at];
                let fits = |shape: &[usize]| port.check_shape(shape).map_err(|e| e.to_string());
                (array(path, port.kind, fits)?, None)
            };
            place(
                &mut slots,
                at,
                ports,
                Slot {
                    array,
                    picture,
                    attributed,
                },
            )?;
        }
    }
    let missing: Vec<&Port> = (0..ports.len())
        .filter(|&i| slots[i].is_none())
        .map(|i| &ports[i])
        .collect();
    if !missing.is_empty() {
        let missing: Vec<String> = missing.iter().map(|port| one(port)).collect();
        return Err(Error::input(format!(
            "the model also needs {}; use --input, or --constant for an input that is not \
             attributed",
            missing.join(", ")
        )));
    }
    let (mut values, mut attributed, mut pictures) = (Vec::new(), Vec::new(), Vec::new());
    for (slot, port) in slots.into_iter().flatten().zip(ports) {
        values.push(upload(slot.array, &port.name, port.kind, device)?);
        attributed.push(slot.attributed);
        pictures.push(slot.picture);
    }
    Ok(Inputs {
        values: Values::new(values, attributed.clone()),
        explained: attributed,
        pictures,
    })
}

/// Returns whether [`placeholder`] guesses sizes: those that the file leaves open, except the
/// number of rows.
pub fn is_guessed(ports: &[Port]) -> bool {
    ports.iter().any(|port| match port.shape.as_deref() {
        Some(dims) => dims
            .iter()
            .skip(1)
            .any(|dim| matches!(dim, PortDim::Free(_))),
        None => true,
    })
}

/// Returns inputs of ones with the declared shapes, for inspecting a model. They have one row;
/// other sizes that the file leaves open are this one, or guessed.
pub fn placeholder(ports: &[Port], size: Option<usize>, device: &Device) -> Result<Values, Error> {
    let values = ports.iter().map(|port| {
        let dims = port.shape.as_deref().unwrap_or(&[]);
        let rank = dims.len();
        let sizes = dims.iter().enumerate().map(|(i, dim)| match dim {
            PortDim::Fixed(size) => *size,
            PortDim::Free(_) if i == 0 => 1,
            PortDim::Free(_) if rank >= 4 => size.unwrap_or(224),
            PortDim::Free(_) => size.unwrap_or(16),
        });
        let shape: Vec<usize> = sizes.collect();
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let count = count
            .filter(|&n| (1..=1 << 24).contains(&n))
            .ok_or_else(|| {
                Error::input(format!(
                    "input {}: cannot guess an example; give one with --input",
                    one(port)
                ))
            })?;
        let elements = Elements::Int(vec![1; count]);
        upload(Array { shape, elements }, &port.name, port.kind, device)
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let attributed = vec![true; values.len()];
    Ok(Values::new(values, attributed))
}

/// Describes each input, such as `x [batch, 3, 224, 224]`.
pub fn describe(ports: &[Port]) -> String {
    ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Describes one input.
pub fn one(port: &Port) -> String {
    format!("{} {} ({:?})", port.name, port.describe(), port.kind)
}

struct Slot {
    array: Array,
    picture: Option<Picture>,
    attributed: bool,
}

fn position(name: &str, ports: &[Port]) -> Option<usize> {
    ports.iter().position(|port| port.name == name)
}

/// Splits `NAME=FILE` where NAME is an input of the model; otherwise the text is a file.
pub fn name_and_file<'a>(text: &'a str, ports: &[Port]) -> (Option<&'a str>, &'a str) {
    match text.split_once('=') {
        Some((name, file)) if position(name, ports).is_some() || !Path::new(text).exists() => {
            (Some(name), file)
        }
        _ => (None, text),
    }
}

fn place(slots: &mut [Option<Slot>], at: usize, ports: &[Port], slot: Slot) -> Result<(), Error> {
    match slots[at].replace(slot) {
        None => Ok(()),
        Some(_) => Err(Error::input(format!(
            "the model's input {:?} is given twice",
            ports[at].name
        ))),
    }
}

/// Assigns arrays to the model's inputs by name, or a single array to the next input.
fn bind_archive(
    path: &Path,
    ports: &[Port],
    slots: &mut [Option<Slot>],
    attributed: bool,
) -> Result<(), Error> {
    let mut arrays = npy::read_archive(path)?;
    if let [(name, _)] = &arrays[..]
        && position(name, ports).is_none()
        && let Some(free) = slots.iter().position(Option::is_none)
    {
        arrays[0].0 = ports[free].name.clone();
    }
    for (name, array) in arrays {
        let at = position(&name, ports).ok_or_else(|| {
            Error::input(format!(
                "{}: the model has no input named like array {name:?}; its inputs are {}",
                path.display(),
                describe(ports)
            ))
        })?;
        let picture = None;
        place(
            slots,
            at,
            ports,
            Slot {
                array,
                picture,
                attributed,
            },
        )?;
    }
    Ok(())
}

/// Reads the array of a `.npy` file, or the only array of a `.npz` file, for values of `kind`.
/// `check` sees its shape, that of a `.npy` before its data is read.
pub fn array(
    path: &Path,
    kind: Kind,
    check: impl FnOnce(&[usize]) -> Result<(), String>,
) -> Result<Array, Error> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("npz") => {
            let mut arrays = npy::read_archive(path)?;
            match arrays.len() {
                1 => {
                    let array = arrays.remove(0).1;
                    let refused = |reason| Error::input(format!("{}: {reason}", path.display()));
                    check(&array.shape).map_err(refused)?;
                    Ok(array)
                }
                n => Err(Error::input(format!(
                    "{} holds {n} arrays; give a file with one",
                    path.display()
                ))),
            }
        }
        _ if is_image(path) => Err(Error::input(format!(
            "{}: an array (.npy) is needed here, not an image",
            path.display()
        ))),
        _ => npy::read(path, kind, check),
    }
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    let extension = extension.map(str::to_ascii_lowercase);
    matches!(extension.as_deref(), Some("png" | "jpg" | "jpeg"))
}

/// Uploads an array to the device as the element kind that the model expects.
pub fn upload(array: Array, name: &str, kind: Kind, device: &Device) -> Result<Value, Error> {
    let shape = array.shape.clone();
    let count: usize = shape.iter().product();
    if array.shape.is_empty() || count == 0 {
        return Err(Error::input(format!(
            "input {name:?} has no rows (shape {:?}); a setting is given as --constant {name}=FILE.npy",
            array.shape
        )));
    }
    let ints = || {
        let ints = array.elements.to_ints().ok_or_else(|| {
            Error::input(format!(
                "input {name:?} takes integers, but the array holds fractions"
            ))
        })?;
        let wide = DType::from(device.settings().int_dtype) == DType::I64;
        match ints
            .iter()
            .find(|&&int| !wide && i32::try_from(int).is_err())
        {
            Some(int) => Err(Error::input(format!(
                "input {name:?} holds {int}, but integers on this device have 32 bits"
            ))),
            None => Ok(ints),
        }
    };
    let flat: Value = match kind {
        Kind::Float => Tensor::<1>::from_data(
            TensorData::new(array.elements.into_floats(), [count]),
            device,
        )
        .into(),
        Kind::Int => Tensor::<1, Int>::from_data(TensorData::new(ints()?, [count]), device).into(),
        Kind::Bool => {
            let values: Vec<bool> = ints()?.iter().map(|&v| v != 0).collect();
            Tensor::<1, Bool>::from_data(TensorData::new(values, [count]), device).into()
        }
    };
    Ok(flat.reshape(&shape))
}

/// Reads an image as one row of an input.
fn image(path: &Path, port: &Port, arguments: &ModelArguments) -> Result<(Array, Picture), Error> {
    let shown = path.display();
    let preparation = Preparation::new(port, arguments)?;
    let bytes =
        std::fs::read(path).map_err(|e| Error::input(format!("cannot read {shown}: {e}")))?;
    let prepared = preparation.prepare(&bytes);
    prepared.map_err(|e| Error::input(format!("{shown}: {e}")))
}
