//! The recurrent operators, unrolled over time.

use attr_core::Kind;
use attr_core::op::{Op, Unary};
use ndarray::{ArrayD, IxDyn};

use super::Operator;
use crate::call::{Call, Outcome};
use crate::host::Host;
use crate::item::Item;

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "LSTM" => |c| recurrent(c, Cell::Lstm),
        "GRU" => |c| recurrent(c, Cell::Gru),
        "RNN" => |c| recurrent(c, Cell::Rnn),
        _ => return None,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Lstm,
    Gru,
    Rnn,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
            Self::Rnn => 1,
        }
    }

    /// Returns ONNX's default activations for one direction.
    fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            Self::Gru => &["Sigmoid", "Tanh"],
            Self::Rnn => &["Tanh"],
        }
    }
}

/// The weights of one direction, without the direction dimension.
struct Direction<'a> {
    /// `[inputs, gates * hidden]`.
    weight: Item,
    /// `[hidden, gates * hidden]`.
    recurrence: Item,
    /// `[gates * hidden]`, for the input and for the recurrence.
    bias: Option<(Item, Item)>,
    hidden: Item,
    cell: Item,
    activations: Vec<&'a str>,
    reverse: bool,
}

fn recurrent(c: &Call<'_>, cell: Cell) -> Outcome {
    let x = c.input(0)?;
    let batch_first = c.flag("layout", false);
    let (w, r) = (c.input(1)?, c.input(2)?);
    if x.rank() != 3 || w.rank() != 3 || r.rank() != 3 || x.kind != Kind::Float {
        return Err(format!(
            "shapes {:?}, {:?}, {:?} are not those of a recurrent layer",
            x.shape, w.shape, r.shape
        ));
    }
    let x = if batch_first {
        c.permute(x, &[1, 0, 2])?
    } else {
        x.clone()
    };
    let (steps, rows, inputs) = (x.shape[0], x.shape[1], x.shape[2]);
    let (count, gates, size) = (w.shape[0], cell.gates(), r.shape[2]);
    if w.shape != [count, gates * size, inputs] || r.shape != [count, gates * size, size] {
        return Err(format!(
            "weights of shapes {:?} and {:?} do not fit {inputs} inputs",
            w.shape, r.shape
        ));
    }
    let reverse: &[bool] = match c.text("direction", "forward") {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(format!("direction {other:?} does not exist")),
    };
    c.limits.unroll(steps.saturating_mul(reverse.len()))?;
    if reverse.len() != count {
        return Err(format!("its weights are for {count} directions"));
    }
    if let Some(lengths) = c.known_optional(4)?
        && lengths.iter().any(|&length| length != steps as i64)
    {
        return Err("sequences of different lengths in one batch are not supported".into());
    }
    if c.attribute("clip").is_some() || c.flag("input_forget", false) || c.optional(7).is_some() {
        return Err("clip, input_forget and peepholes are not supported".into());
    }

    let mut outputs = Vec::with_capacity(count);
    for (d, &reverse) in reverse.iter().enumerate() {
        let direction = direction(c, cell, d, reverse, [rows, size], batch_first)?;
        outputs.push(unroll(c, cell, &x, &direction)?);
    }
    let stacked = |pick: fn(&Unrolled) -> &Item, dim: usize| {
        let parts: Vec<Item> = outputs.iter().map(|o| pick(o).clone()).collect();
        c.cat(&parts, dim)
    };
    // [steps, directions, rows, size] and [directions, rows, size].
    let mut all = stacked(|o| &o.all, 1)?;
    let mut last = stacked(|o| &o.hidden, 0)?;
    let mut cells = stacked(|o| &o.cell, 0)?;
    if batch_first {
        all = c.permute(&all, &[2, 0, 1, 3])?;
        last = c.permute(&last, &[1, 0, 2])?;
        cells = c.permute(&cells, &[1, 0, 2])?;
    }
    let results = vec![all, last, cells];
    Ok(results
        .into_iter()
        .take(if cell == Cell::Lstm { 3 } else { 2 })
        .collect())
}

fn direction<'a>(
    c: &'a Call<'_>,
    cell: Cell,
    d: usize,
    reverse: bool,
    [rows, size]: [usize; 2],
    batch_first: bool,
) -> Result<Direction<'a>, String> {
    let own = |item: &Item, dim: usize| -> Result<Item, String> {
        let part = c.slice(item, dim, d, d + 1, 1)?;
        let mut shape = part.shape.clone();
        shape.remove(dim);
        c.reshape(&part, &shape)
    };
    let state = |i: usize| -> Result<Item, String> {
        match c.optional(i) {
            Some(state) => {
                let state = own(state, usize::from(batch_first))?;
                c.expand(&state, &[rows, size])
            }
            None => Ok(Host::Float(ArrayD::from_elem(IxDyn(&[rows, size]), 0.0)).into()),
        }
    };
    let bias = match c.optional(3) {
        Some(bias) => {
            let bias = own(bias, 0)?;
            let half = cell.gates() * size;
            if bias.shape != [2 * half] {
                return Err(format!("its bias has shape {:?}", bias.shape));
            }
            let (input, recurrent) = (
                c.slice(&bias, 0, 0, half, 1)?,
                c.slice(&bias, 0, half, 2 * half, 1)?,
            );
            Some((input, recurrent))
        }
        None => None,
    };
    let defaults = cell.activations();
    let activations = match c.attribute("activations") {
        Some(crate::graph::Attribute::Texts(names)) => {
            let own = names.iter().skip(d * defaults.len()).take(defaults.len());
            own.map(String::as_str).collect()
        }
        _ => defaults.to_vec(),
    };
    if activations.len() != defaults.len() {
        return Err("it has too few activations".into());
    }
    Ok(Direction {
        weight: c.transpose(&own(c.input(1)?, 0)?)?,
        recurrence: c.transpose(&own(c.input(2)?, 0)?)?,
        bias,
        hidden: state(5)?,
        cell: state(6)?,
        activations,
        reverse,
    })
}

/// Runs one direction; returns `[steps, 1, rows, size]` and twice `[1, rows, size]`.
struct Unrolled {
    all: Item,
    hidden: Item,
    cell: Item,
}

fn activation(c: &Call<'_>, name: &str, x: &Item) -> Result<Item, String> {
    let own = |name: &str, default: f64| match c.floats(name) {
        Some([value, ..]) => f64::from(*value),
        _ => default,
    };
    match &name.to_ascii_lowercase()[..] {
        "sigmoid" => c.map(Op::Sigmoid, x),
        "tanh" => c.unary(Unary::Tanh, x),
        "relu" => c.map(Op::Relu, x),
        "hardsigmoid" => {
            let (alpha, beta) = (own("activation_alpha", 0.2), own("activation_beta", 0.5));
            c.map(Op::HardSigmoid { alpha, beta }, x)
        }
        other => Err(format!("activation {other:?} is not supported")),
    }
}

fn unroll(c: &Call<'_>, cell: Cell, x: &Item, d: &Direction<'_>) -> Result<Unrolled, String> {
    let (steps, rows, inputs) = (x.shape[0], x.shape[1], x.shape[2]);
    let size = d.hidden.shape[1];
    let width = cell.gates() * size;
    // The input's contribution to all steps at once. It includes the input bias, and also the
    // recurrent bias unless a GRU multiplies that by a gate.
    let linear_before_reset = c.flag("linear_before_reset", false);
    let apart = cell == Cell::Gru && linear_before_reset;
    let flat = c.reshape(x, &[steps * rows, inputs])?;
    let mut share = c.matmul(&flat, &d.weight)?;
    if let Some((input, recurrent)) = &d.bias {
        let bias = match cell {
            Cell::Gru if apart => {
                let gates = c.slice(recurrent, 0, 0, 2 * size, 1)?;
                let none = Host::Float(ArrayD::from_elem(IxDyn(&[size]), 0.0));
                c.add(input, &c.cat(&[gates, none.into()], 0)?)?
            }
            _ => c.add(input, recurrent)?,
        };
        share = c.add(&share, &bias)?;
    }
    let share = c.reshape(&share, &[steps, rows, width])?;
    let reset_bias = match (&d.bias, apart) {
        (Some((_, recurrent)), true) => Some(c.slice(recurrent, 0, 2 * size, 3 * size, 1)?),
        _ => None,
    };

    let (mut hidden, mut state) = (d.hidden.clone(), d.cell.clone());
    let mut all = vec![None; steps];
    for i in 0..steps {
        let step = if d.reverse { steps - 1 - i } else { i };
        let now = c.reshape(&c.slice(&share, 0, step, step + 1, 1)?, &[rows, width])?;
        let gate = |item: &Item, at: usize| c.slice(item, 1, at * size, (at + 1) * size, 1);
        let act = |at: usize, x: &Item| activation(c, d.activations[at], x);
        match cell {
            Cell::Rnn => {
                hidden = act(0, &c.add(&now, &c.matmul(&hidden, &d.recurrence)?)?)?;
            }
            Cell::Lstm => {
                // Gates in ONNX's order: input, output, forget, cell.
                let sum = c.add(&now, &c.matmul(&hidden, &d.recurrence)?)?;
                let (input, output) = (act(0, &gate(&sum, 0)?)?, act(0, &gate(&sum, 1)?)?);
                let (forget, new) = (act(0, &gate(&sum, 2)?)?, act(1, &gate(&sum, 3)?)?);
                state = c.add(&c.mul(&forget, &state)?, &c.mul(&input, &new)?)?;
                hidden = c.mul(&output, &act(2, &state)?)?;
            }
            Cell::Gru => {
                // Gates in ONNX's order: update, reset, hidden.
                let weights =
                    |from: usize, to: usize| c.slice(&d.recurrence, 1, from * size, to * size, 1);
                let gates = c.matmul(&hidden, &weights(0, 2)?)?;
                let gates = c.add(&c.slice(&now, 1, 0, 2 * size, 1)?, &gates)?;
                let (update, reset) = (act(0, &gate(&gates, 0)?)?, act(0, &gate(&gates, 1)?)?);
                let recurrent = if linear_before_reset {
                    let mut product = c.matmul(&hidden, &weights(2, 3)?)?;
                    if let Some(bias) = &reset_bias {
                        product = c.add(&product, bias)?;
                    }
                    c.mul(&reset, &product)?
                } else {
                    c.matmul(&c.mul(&reset, &hidden)?, &weights(2, 3)?)?
                };
                let new = act(1, &c.add(&gate(&now, 2)?, &recurrent)?)?;
                // (1 - z) n + z h
                let kept = c.mul(&update, &c.sub(&hidden, &new)?)?;
                hidden = c.add(&new, &kept)?;
            }
        }
        all[step] = Some(c.reshape(&hidden, &[1, 1, rows, size])?);
    }
    let all: Vec<Item> = all.into_iter().flatten().collect();
    Ok(Unrolled {
        all: c.cat(&all, 0)?,
        hidden: c.reshape(&hidden, &[1, rows, size])?,
        cell: c.reshape(&state, &[1, rows, size])?,
    })
}
