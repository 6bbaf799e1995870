//! The operators of the `ai.onnx.ml` domain used by exported linear models and perceptrons.

use attr_core::Kind;
use attr_core::op::{Binary, Op, Reduce, Unary};
use ndarray::{ArrayD, IxDyn};

use super::Operator;
use super::norm::or_one;
use crate::call::{Call, Outcome};
use crate::graph::Attribute;
use crate::host::Host;
use crate::item::Item;

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "ArrayFeatureExtractor" => array_feature_extractor,
        "LinearClassifier" => linear_classifier,
        "LinearRegressor" => linear_regressor,
        "Normalizer" => normalizer,
        "Scaler" => scaler,
        "ZipMap" => |c| Ok(vec![c.input(0)?.clone()]),
        _ => return None,
    })
}

/// Selects columns of the last dimension.
fn array_feature_extractor(c: &Call<'_>) -> Outcome {
    let (x, indices) = (c.input(0)?, c.input(1)?);
    let x = match x.rank() {
        0 => return Err("its input has no dimensions".into()),
        1 => c.reshape(x, &[1, x.elements()])?,
        _ => x.clone(),
    };
    let dim = x.rank() - 1;
    match &indices.host {
        Some(host) => {
            let known = host.to_ints().into_iter().map(|i| {
                let i = usize::try_from(i).ok().filter(|&i| i < x.shape[dim]);
                i.ok_or_else(|| format!("an index is outside a dimension of {}", x.shape[dim]))
            });
            Ok(vec![c.select(
                &x,
                dim,
                &known.collect::<Result<Vec<_>, _>>()?,
            )?])
        }
        None => {
            let flat = c.reshape(indices, &[indices.elements()])?;
            Ok(vec![c.record(Op::Select { dim }, &[&x, &flat])?])
        }
    }
}

/// Computes `x Wᵀ + b` with W `[outputs, features]`.
fn scores(c: &Call<'_>, outputs: usize) -> Result<Item, String> {
    let x = c.cast(c.input(0)?, Kind::Float)?;
    let x = match x.rank() {
        1 => c.reshape(&x, &[1, x.elements()])?,
        2 => x,
        _ => return Err(format!("its input has shape {:?}", x.shape)),
    };
    let weights = c
        .floats("coefficients")
        .ok_or("its coefficients are missing")?;
    let features = x.shape[1];
    if weights.len() != outputs * features {
        return Err(format!(
            "{} coefficients do not fit {features} features and {outputs} outputs",
            weights.len()
        ));
    }
    let weights = Host::floats(&[outputs, features], weights.to_vec())?.permute(&[1, 0]);
    let bias = match c.floats("intercepts") {
        Some(bias) if bias.len() == outputs => bias.to_vec(),
        Some(bias) => {
            return Err(format!(
                "{} intercepts do not fit {outputs} outputs",
                bias.len()
            ));
        }
        None => vec![0.0; outputs],
    };
    c.record(
        Op::Linear,
        &[&x, &weights.into(), &Host::floats(&[outputs], bias)?.into()],
    )
}

fn transformed(c: &Call<'_>, scores: &Item) -> Result<Item, String> {
    let dim = scores.rank() - 1;
    match c.text("post_transform", "NONE") {
        "NONE" => Ok(scores.clone()),
        "LOGISTIC" => c.map(Op::Sigmoid, scores),
        "SOFTMAX" => c.map(Op::Softmax { dim }, scores),
        other => Err(format!("post_transform {other:?} is not supported")),
    }
}

/// Returns the labels and the scores. Labels that are not integers become class indices.
fn linear_classifier(c: &Call<'_>) -> Outcome {
    let labels: Vec<i64> = match (
        c.ints("classlabels_ints"),
        c.attribute("classlabels_strings"),
    ) {
        (Some(labels), _) => labels.to_vec(),
        (None, Some(Attribute::Texts(names))) => (0..names.len() as i64).collect(),
        _ => return Err("its class labels are missing".into()),
    };
    let classes = labels.len();
    let intercepts = c.floats("intercepts").map_or(classes, <[f32]>::len);
    let one_sided = classes == 2 && intercepts == 1;
    let raw = scores(c, if one_sided { 1 } else { classes })?;
    let (scores, raw) = if one_sided {
        // A single score is the second class's; the first class gets its opposite.
        let positive = transformed(c, &raw)?;
        let negative = match c.text("post_transform", "NONE") {
            "LOGISTIC" | "NONE" => {
                c.with_number(Binary::Add, &c.unary(Unary::Neg, &positive)?, 1.0)?
            }
            other => return Err(format!("post_transform {other:?} is not supported")),
        };
        let opposite = c.unary(Unary::Neg, &raw)?;
        (
            c.cat(&[negative, positive], 1)?,
            c.cat(&[opposite, raw], 1)?,
        )
    } else {
        (transformed(c, &raw)?, raw)
    };
    let place = c.reduce(Reduce::ArgMax, &raw, 1)?;
    let place = c.reshape(&place, &[place.elements()])?;
    let label = c.record(Op::Select { dim: 0 }, &[&Host::ints(labels).into(), &place])?;
    Ok(vec![label, scores])
}

fn linear_regressor(c: &Call<'_>) -> Outcome {
    let targets = usize::try_from(c.int("targets", 1)).unwrap_or(0);
    Ok(vec![transformed(c, &scores(c, targets)?)?])
}

fn normalizer(c: &Call<'_>) -> Outcome {
    let x = c.cast(c.input(0)?, Kind::Float)?;
    if x.rank() == 0 {
        return Err("its input has no dimensions".into());
    }
    let dim = x.rank() - 1;
    let norm = match c.text("norm", "MAX") {
        "L1" => c.reduce(Reduce::Sum, &c.unary(Unary::Abs, &x)?, dim)?,
        "L2" => c.unary(Unary::Sqrt, &c.reduce(Reduce::Sum, &c.mul(&x, &x)?, dim)?)?,
        "MAX" => c.reduce(Reduce::Max, &x, dim)?,
        other => return Err(format!("norm {other:?} does not exist")),
    };
    Ok(vec![c.div(&x, &or_one(c, &norm)?)?])
}

/// Computes `(x - offset) * scale`.
fn scaler(c: &Call<'_>) -> Outcome {
    let x = c.cast(c.input(0)?, Kind::Float)?;
    let vector = |name: &str, default: f32| -> Result<Item, String> {
        let values = c.floats(name).unwrap_or(&[]);
        Ok(match values {
            [] => Host::Float(ArrayD::from_elem(IxDyn(&[]), default)).into(),
            values => Host::floats(&[values.len()], values.to_vec())?.into(),
        })
    };
    let centred = c.sub(&x, &vector("offset", 0.0)?)?;
    Ok(vec![c.mul(&centred, &vector("scale", 1.0)?)?])
}
