//! The operators that select or place elements by index.

use std::collections::BTreeMap;

use attr_core::Kind;
use attr_core::op::{Binary, Compare, Cumulative, Op};
use burn::tensor::IndexingUpdateOp;
use ndarray::{ArrayD, IxDyn};

use super::Operator;
use crate::call::{Call, Outcome};
use crate::host::{Host, LIMIT, count};
use crate::item::{Item, LARGEST, axis};

pub(crate) fn find(op: &str) -> Option<Operator> {
    Some(match op {
        "Gather" => gather,
        "GatherElements" => gather_elements,
        "GatherND" => gather_nd,
        "ScatterElements" | "Scatter" => scatter_elements,
        "ScatterND" => scatter_nd,
        "OneHot" => one_hot,
        "NonZero" => non_zero,
        "TopK" => top_k,
        "CumSum" => cum_sum,
        _ => return None,
    })
}

/// Resolves known indices into a dimension of `size`, which may be counted from the end.
fn resolve(indices: &[i64], size: usize) -> Result<Vec<usize>, String> {
    indices
        .iter()
        .map(|&i| {
            let counted = if i < 0 { i + size as i64 } else { i };
            match usize::try_from(counted) {
                Ok(index) if index < size => Ok(index),
                _ => Err(format!("index {i} is outside a dimension of size {size}")),
            }
        })
        .collect()
}

/// Converts indices to count from the start. Known indices are checked here, others when the model
/// runs.
fn from_start(c: &Call<'_>, indices: &Item, size: usize) -> Result<Item, String> {
    if indices.kind != Kind::Int {
        return Err(format!("its indices are {:?}, not Int", indices.kind));
    }
    match &indices.host {
        Some(host) => {
            let resolved = resolve(&host.to_ints(), size)?;
            let resolved = resolved.into_iter().map(|i| i as i64).collect();
            c.reshape(&Host::ints(resolved).into(), &indices.shape)
        }
        None => {
            let below = c.compare(Compare::Lower, indices, &Host::int(0).into())?;
            let counted = c.add(indices, &Host::int(size as i64).into())?;
            c.choose(&below, &counted, indices)
        }
    }
}

fn gather(c: &Call<'_>) -> Outcome {
    let (x, indices) = (c.input(0)?, c.input(1)?);
    let dim = axis(c.int("axis", 0), x.rank())?;
    let mut shape = x.shape[..dim].to_vec();
    shape.extend(&indices.shape);
    shape.extend(&x.shape[dim + 1..]);
    count(&shape, LARGEST)?;
    if let Some(host) = &indices.host {
        let known = resolve(&host.to_ints(), x.shape[dim])?;
        return Ok(vec![c.reshape(&c.select(x, dim, &known)?, &shape)?]);
    }
    // A table whose rows are looked up by tokens, which are never negative, is an embedding.
    if dim == 0 && x.rank() == 2 && indices.rank() == 2 && x.kind == Kind::Float && !x.active {
        return Ok(vec![c.record(Op::Embedding, &[x, indices])?]);
    }
    let indices = from_start(c, indices, x.shape[dim])?;
    let flat = c.reshape(&indices, &[indices.elements()])?;
    let picked = c.record(Op::Select { dim }, &[x, &flat])?;
    Ok(vec![c.reshape(&picked, &shape)?])
}

fn gather_elements(c: &Call<'_>) -> Outcome {
    let (x, indices) = (c.input(0)?, c.input(1)?);
    let dim = axis(c.int("axis", 0), x.rank())?;
    let fits = indices.rank() == x.rank()
        && (0..x.rank()).all(|d| d == dim || indices.shape[d] <= x.shape[d]);
    if !fits {
        return Err(format!(
            "indices of shape {:?} do not fit shape {:?}",
            indices.shape, x.shape
        ));
    }
    let indices = from_start(c, indices, x.shape[dim])?;
    // Burn requires the other dimensions to match.
    let mut part = x.clone();
    for d in (0..x.rank()).filter(|&d| d != dim) {
        part = c.slice(&part, d, 0, indices.shape[d], 1)?;
    }
    Ok(vec![c.record(Op::Gather { dim }, &[&part, &indices])?])
}

/// Returns each index tuple's flat position among the elements of the leading dimensions.
fn flat_places(c: &Call<'_>, indices: &Item, shape: &[usize]) -> Result<Item, String> {
    let depth = indices.shape.last().copied().unwrap_or(0);
    let tuples = indices.elements() / depth.max(1);
    let rows = c.reshape(indices, &[tuples, depth])?;
    let mut place: Option<Item> = None;
    for d in 0..depth {
        let stride: usize = shape[d + 1..depth].iter().product();
        let column = c.reshape(&c.slice(&rows, 1, d, d + 1, 1)?, &[tuples])?;
        let column = from_start(c, &column, shape[d])?;
        let scaled = c.mul(&column, &Host::int(stride as i64).into())?;
        place = Some(match place {
            Some(sum) => c.add(&sum, &scaled)?,
            None => scaled,
        });
    }
    place.ok_or_else(|| "its indices are empty".to_string())
}

fn gather_nd(c: &Call<'_>) -> Outcome {
    let (x, indices) = (c.input(0)?, c.input(1)?);
    let batch = usize::try_from(c.int("batch_dims", 0)).unwrap_or(usize::MAX);
    let depth = indices.shape.last().copied().unwrap_or(0);
    if batch >= indices.rank() || depth == 0 || batch + depth > x.rank() {
        return Err(format!(
            "indices of shape {:?} do not fit shape {:?}",
            indices.shape, x.shape
        ));
    }
    if indices.shape[..batch] != x.shape[..batch] {
        return Err("its batch dimensions differ".into());
    }
    let rest: Vec<usize> = x.shape[batch + depth..].to_vec();
    let mut shape = indices.shape[..indices.rank() - 1].to_vec();
    shape.extend(&rest);
    let leading: usize = x.shape[..batch].iter().product();
    let addressed: usize = x.shape[batch..batch + depth].iter().product();
    let mut places = flat_places(c, indices, &x.shape[batch..batch + depth])?;
    if batch > 0 {
        // Each batch's tuples index that batch's part.
        let each = places.elements() / leading.max(1);
        let offsets = (0..places.elements()).map(|i| (i / each.max(1) * addressed) as i64);
        places = c.add(&places, &Host::ints(offsets.collect()).into())?;
    }
    let mut flat = vec![leading * addressed];
    flat.extend(&rest);
    let table = c.reshape(x, &flat)?;
    let picked = match &places.host {
        Some(host) => c.select(&table, 0, &resolve(&host.to_ints(), flat[0])?)?,
        None => c.record(Op::Select { dim: 0 }, &[&table, &places])?,
    };
    Ok(vec![c.reshape(&picked, &shape)?])
}

fn update(c: &Call<'_>) -> Result<IndexingUpdateOp, String> {
    Ok(match c.text("reduction", "none") {
        "none" => IndexingUpdateOp::Assign,
        "add" => IndexingUpdateOp::Add,
        "mul" => IndexingUpdateOp::Mul,
        "min" => IndexingUpdateOp::Min,
        "max" => IndexingUpdateOp::Max,
        other => return Err(format!("reduction {other:?} is not supported")),
    })
}

/// The maximum number of updates that are combined by addition, product, minimum or maximum.
const UPDATES: usize = 4096;

/// Places `values` at known `places` along dimension 0 of `x`, by selecting rows: Burn's scatter
/// only adds on most backends.
fn place(
    c: &Call<'_>,
    x: &Item,
    places: &Item,
    values: &Item,
    update: IndexingUpdateOp,
) -> Result<Item, String> {
    let known = places
        .host
        .as_ref()
        .map(|host| resolve(&host.to_ints(), x.shape[0]));
    let Some(places) = known.transpose()? else {
        return Err("its indices depend on the values of the model's input".into());
    };
    // Whole rows of x, in order; written rows come from the values.
    let mut source: Vec<usize> = (0..x.shape[0]).collect();
    if update != IndexingUpdateOp::Assign {
        if places.len() > UPDATES {
            return Err(format!(
                "more than {UPDATES} combined updates are not supported"
            ));
        }
        // One after the other, because several may update the same place.
        let mut rows: BTreeMap<usize, Item> = BTreeMap::new();
        for (i, &at) in places.iter().enumerate() {
            let value = c.slice(values, 0, i, i + 1, 1)?;
            let old = match rows.remove(&at) {
                Some(row) => row,
                None => c.slice(x, 0, at, at + 1, 1)?,
            };
            let new = match update {
                IndexingUpdateOp::Add => c.add(&old, &value)?,
                IndexingUpdateOp::Mul => c.mul(&old, &value)?,
                IndexingUpdateOp::Min => c.extreme(&old, &value, true)?,
                _ => c.extreme(&old, &value, false)?,
            };
            rows.insert(at, new);
        }
        for (i, &at) in rows.keys().enumerate() {
            source[at] = x.shape[0] + i;
        }
        let parts: Vec<Item> = std::iter::once(x.clone())
            .chain(rows.into_values())
            .collect();
        return c.select(&c.cat(&parts, 0)?, 0, &source);
    }
    for (i, &at) in places.iter().enumerate() {
        source[at] = x.shape[0] + i;
    }
    let all = c.cat(&[x.clone(), values.clone()], 0)?;
    c.select(&all, 0, &source)
}

fn scatter_nd(c: &Call<'_>) -> Outcome {
    let (x, indices, values) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let depth = indices.shape.last().copied().unwrap_or(0);
    if depth == 0 || depth > x.rank() || indices.rank() == 0 {
        return Err(format!(
            "indices of shape {:?} do not fit shape {:?}",
            indices.shape, x.shape
        ));
    }
    let rest: usize = x.shape[depth..].iter().product();
    let tuples: usize = indices.shape[..indices.rank() - 1].iter().product();
    let addressed: usize = x.shape[..depth].iter().product();
    if values.elements() != tuples * rest || values.kind != x.kind {
        return Err(format!("its updates have shape {:?}", values.shape));
    }
    let places = flat_places(c, indices, &x.shape[..depth])?;
    let table = c.reshape(x, &[addressed, rest])?;
    let values = c.reshape(values, &[tuples, rest])?;
    let placed = place(c, &table, &places, &values, update(c)?)?;
    Ok(vec![c.reshape(&placed, &x.shape)?])
}

fn scatter_elements(c: &Call<'_>) -> Outcome {
    let (x, indices, values) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let dim = axis(c.int("axis", 0), x.rank())?;
    let Some(host) = &indices.host else {
        return Err("its indices depend on the values of the model's input".into());
    };
    if indices.shape != values.shape || indices.rank() != x.rank() || values.kind != x.kind {
        return Err(format!(
            "indices and updates of shapes {:?} and {:?} do not fit shape {:?}",
            indices.shape, values.shape, x.shape
        ));
    }
    let along = resolve(&host.to_ints(), x.shape[dim])?;
    let mut places = Vec::with_capacity(along.len());
    for (flat, at) in along.into_iter().enumerate() {
        let (mut rest, mut place, mut stride) = (flat, 0, 1);
        for d in (0..x.rank()).rev() {
            let i = rest % indices.shape[d];
            rest /= indices.shape[d];
            let i = if d == dim { at } else { i };
            if i >= x.shape[d] {
                return Err("its indices reach outside the tensor".into());
            }
            place += i * stride;
            stride *= x.shape[d];
        }
        places.push(place as i64);
    }
    let count = places.len();
    let table = c.reshape(x, &[x.elements(), 1])?;
    let values = c.reshape(values, &[count, 1])?;
    let placed = place(c, &table, &Host::ints(places).into(), &values, update(c)?)?;
    Ok(vec![c.reshape(&placed, &x.shape)?])
}

fn one_hot(c: &Call<'_>) -> Outcome {
    let (indices, values) = (c.input(0)?, c.input(2)?);
    let depth = match c.known(1)?[..] {
        [depth] if depth > 0 && depth <= LIMIT as i64 => depth,
        ref other => return Err(format!("its depth {other:?} is invalid")),
    };
    if values.shape != [2] {
        return Err(format!(
            "its values have shape {:?}, but [2] is needed",
            values.shape
        ));
    }
    let rank = indices.rank() + 1;
    let dim = axis(c.int("axis", -1), rank)?;
    let indices = c.cast(indices, Kind::Int)?;
    let mut shape = indices.shape.clone();
    shape.insert(dim, 1);
    let indices = c.reshape(&indices, &shape)?;
    let mut along = vec![1; rank];
    along[dim] = depth as usize;
    let classes = c.reshape(&Host::ints((0..depth).collect()).into(), &along)?;
    // An index counted from the end also matches its class minus the depth.
    let below = c.add(&classes, &Host::int(-depth).into())?;
    let hit = c.compare(
        Compare::Equal,
        &c.expand(&indices, &{
            let mut full = shape.clone();
            full[dim] = depth as usize;
            full
        })?,
        &classes,
    )?;
    let hit_below = c.compare(Compare::Equal, &indices, &below)?;
    let hit = c.binary(Binary::Or, &hit, &hit_below)?;
    let off = c.reshape(&c.slice(values, 0, 0, 1, 1)?, &[])?;
    let on = c.reshape(&c.slice(values, 0, 1, 2, 1)?, &[])?;
    Ok(vec![c.choose(&hit, &on, &off)?])
}

fn non_zero(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let Some(host) = &x.host else {
        return Err("its output size depends on the values of the model's input".into());
    };
    let hits = host.to_floats();
    let hits: Vec<usize> = (0..hits.len()).filter(|&i| hits[i] != 0.0).collect();
    let mut result = vec![0i64; x.rank() * hits.len()];
    for (column, &flat) in hits.iter().enumerate() {
        let mut rest = flat;
        for d in (0..x.rank()).rev() {
            result[d * hits.len() + column] = (rest % x.shape[d]) as i64;
            rest /= x.shape[d];
        }
    }
    let array = ArrayD::from_shape_vec(IxDyn(&[x.rank(), hits.len()]), result);
    Ok(vec![Host::Int(array.map_err(|e| e.to_string())?).into()])
}

fn top_k(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let dim = axis(c.int("axis", -1), x.rank())?;
    let k = match c.optional(1) {
        Some(_) => c.known(1)?.first().copied().unwrap_or(0),
        None => c.int("k", 0),
    };
    let size = x.shape[dim];
    let Some(k) = usize::try_from(k).ok().filter(|k| (1..=size).contains(k)) else {
        return Err(format!("k = {k} does not fit dimension {dim} of {size}"));
    };
    let descending = c.flag("largest", true);
    let (values, indices) = (true, true);
    let sort = Op::Sort {
        dim,
        descending,
        values,
        indices,
    };
    let sorted = c.record_all(sort, &[x])?;
    sorted
        .iter()
        .map(|item| c.slice(item, dim, 0, k, 1))
        .collect()
}

fn cum_sum(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let at = c.known(1)?.first().copied().unwrap_or(0);
    let dim = axis(at, x.rank())?;
    if x.kind == Kind::Bool {
        return Err("sums of booleans are not supported".into());
    }
    let (exclusive, reverse) = (c.flag("exclusive", false), c.flag("reverse", false));
    if let Some(host) = &x.host {
        return Ok(vec![cum_sum_host(host, dim, exclusive, reverse).into()]);
    }
    let turned = if reverse { c.flip(x, dim)? } else { x.clone() };
    let mut sum = c.record(Op::Cumulative(Cumulative::Sum, dim), &[&turned])?;
    if exclusive {
        sum = c.sub(&sum, &turned)?;
    }
    Ok(vec![if reverse { c.flip(&sum, dim)? } else { sum }])
}

fn cum_sum_host(host: &Host, dim: usize, exclusive: bool, reverse: bool) -> Host {
    fn inner<T: Copy + std::ops::Add<Output = T> + Default>(
        a: &ArrayD<T>,
        dim: usize,
        exclusive: bool,
    ) -> ArrayD<T> {
        let mut sums = a.clone();
        for mut lane in sums.lanes_mut(ndarray::Axis(dim)) {
            let mut sum = T::default();
            for element in &mut lane {
                let next = sum + *element;
                *element = if exclusive { sum } else { next };
                sum = next;
            }
        }
        sums
    }
    let turned = if reverse {
        host.flip(dim)
    } else {
        host.clone()
    };
    let sums = match &turned {
        Host::Float(a) => Host::Float(inner(a, dim, exclusive)),
        Host::Int(a) => Host::Int(inner(a, dim, exclusive)),
        Host::Bool(_) => turned,
    };
    if reverse { sums.flip(dim) } else { sums }
}
