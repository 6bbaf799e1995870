//! The derivative of fused attention: two products with a softmax between them.

use burn::tensor::{Device, TensorData};

use super::reductions::softmax;
use super::{Shares, Site, reduced};
use crate::graph::op::{Binary, Compare, Number, Op, Unary};
use crate::{Error, Value};

pub(super) fn shares(site: &Site<'_>) -> Result<Option<Shares>, Error> {
    let (s, g) = (site, site.arriving);
    let Op::Attention {
        scale,
        softcap,
        causal,
        mask,
        bias,
    } = s.op
    else {
        return Ok(None);
    };
    let [query, key, value, further @ ..] = s.operands else {
        return Err(Error::Internal("an attention lacks an operand"));
    };
    let mut further = further.iter();
    let mask = if *mask { further.next() } else { None };
    let bias = if *bias { further.next() } else { None };
    let shape = query.shape();
    let (keys, values) = (of_heads(s, key, &shape)?, of_heads(s, value, &shape)?);
    let scale = scale.unwrap_or(1.0 / (shape[3] as f64).sqrt());

    let mut scores = s.scaled(&s.matmul(query, &s.transposed(&keys)?)?, scale)?;
    let mut capped = None;
    if let Some(cap) = softcap {
        let bent = s.unary(Unary::Tanh, &s.scaled(&scores, 1.0 / cap)?)?;
        scores = s.scaled(&bent, *cap)?;
        capped = Some(bent);
    }
    let mut hidden: Vec<Value> = mask.cloned().into_iter().collect();
    if *causal {
        hidden.push(later_keys(s, shape[2], keys.shape()[2]));
    }
    if let Some(bias) = bias {
        scores = s.binary(Binary::Add, &scores, bias)?;
        let lowest = Op::CompareScalar(Compare::Equal, Number::Float(f64::NEG_INFINITY));
        hidden.push(s.run(lowest, vec![bias.clone()])?);
    }
    let filled = |mut value: Value, number: f64| -> Result<Value, Error> {
        for mask in &hidden {
            let fill = Op::MaskFill(Number::Float(number));
            value = s.run(fill, vec![value, mask.clone()])?;
        }
        Ok(value)
    };
    let info = query.dtype().finfo();
    let lowest = info
        .ok_or(Error::Internal("an attention is not floating point"))?
        .min;
    let weights = s.run(Op::Softmax { dim: 3 }, vec![filled(scores, lowest)?])?;
    // A fully hidden row attends to nothing.
    let weights = filled(weights, 0.0)?;

    let mut at_scores = softmax(s, &weights, &s.matmul(g, &s.transposed(&values)?)?, 3)?;
    let mut shares = vec![None; s.operands.len()];
    if let Some(bias) = bias {
        let last = s.operands.len() - 1;
        if s.is_wanted(last) {
            shares[last] = Some(reduced(at_scores.clone(), bias));
        }
    }
    if let Some(bent) = capped {
        let slope = s.line(&s.square(&bent)?, -1.0, 1.0)?;
        at_scores = s.times(&at_scores, &slope)?;
    }
    let at_scores = s.scaled(&at_scores, scale)?;
    if s.is_wanted(0) {
        shares[0] = Some(s.matmul(&at_scores, &keys)?);
    }
    if s.is_wanted(1) {
        let share = s.matmul(&s.transposed(&at_scores)?, query)?;
        shares[1] = Some(of_own_heads(s, share, key)?);
    }
    if s.is_wanted(2) {
        let share = s.matmul(&s.transposed(&weights)?, g)?;
        shares[2] = Some(of_own_heads(s, share, value)?);
    }
    Ok(Some(shares))
}

/// Keys or values for each head of the queries; several heads may share one.
fn of_heads(s: &Site<'_>, value: &Value, query: &[usize]) -> Result<Value, Error> {
    let [batch, own, length, size] = value.shape()[..] else {
        return Err(Error::Internal(
            "an attention operand does not have four dimensions",
        ));
    };
    let heads = query[1];
    if own == heads {
        return Ok(value.clone());
    }
    let single = value.clone().reshape(&[batch, own, 1, length, size]);
    let like = Value::shape_of(
        &[batch, own, heads / own, length, size],
        value.dtype(),
        &s.place.device,
    );
    let shared = s.expanded(single, &like)?;
    Ok(shared.reshape(&[batch, heads, length, size]))
}

/// The share of keys or values, summed over the heads that share them.
fn of_own_heads(s: &Site<'_>, share: Value, of: &Value) -> Result<Value, Error> {
    let (shape, heads) = (of.shape(), share.shape()[1]);
    if shape[1] == heads {
        return Ok(share);
    }
    let grouped = [shape[0], shape[1], heads / shape[1], shape[2], shape[3]];
    let sum = s.run(Op::SumDims(vec![2]), vec![share.reshape(&grouped)])?;
    Ok(sum.reshape(&shape))
}

/// True where a key comes after the query; the last query sees all keys.
fn later_keys(s: &Site<'_>, queries: usize, keys: usize) -> Value {
    let later = |i: usize| i % keys + queries > i / keys + keys;
    let mask: Vec<bool> = (0..queries * keys).map(later).collect();
    let data = TensorData::new(mask, [1, 1, queries, keys]);
    let dtype = s.place.dtype(data.dtype());
    let data = data.convert_dtype(dtype);
    Value::from_data(data, &Device::new(s.place.device.clone()))
}
