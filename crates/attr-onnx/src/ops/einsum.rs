//! The `Einsum` operator, for one or two operands.

use attr_core::op::Reduce;

use super::Operator;
use crate::call::{Call, Outcome};
use crate::item::Item;

pub(crate) fn find(op: &str) -> Option<Operator> {
    (op == "Einsum").then_some(einsum as Operator)
}

/// An operand with a letter for each dimension.
struct Term {
    item: Item,
    letters: Vec<char>,
}

/// Evaluates equations such as `ab,bc->ac`; an ellipsis stands for leading dimensions.
fn einsum(c: &Call<'_>) -> Outcome {
    let equation: String = c
        .text("equation", "")
        .chars()
        .filter(|l| !l.is_whitespace())
        .collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_string(), Some(right.to_string())),
        None => (equation.clone(), None),
    };
    let parts: Vec<&str> = left.split(',').collect();
    let items = c.all()?;
    if parts.len() != items.len() || items.len() > 2 {
        return Err(format!(
            "the equation {equation:?} with {} operands is not supported",
            items.len()
        ));
    }
    // The number of dimensions that an operand's ellipsis stands for.
    let unnamed = |part: &str, rank: usize| {
        if part.contains("...") {
            rank.saturating_sub(part.replace("...", "").chars().count())
        } else {
            0
        }
    };
    let counts = parts.iter().zip(&items);
    let dots = counts.map(|(part, item)| unnamed(part, item.rank())).max();
    let dots = dots.unwrap_or(0);
    // Those dimensions get capital Greek letters, aligned at the last dimension.
    let greek =
        |count: usize| (dots - count..dots).filter_map(|i| char::from_u32(0x391 + i as u32));
    let spelled = |part: &str, count: usize| -> Vec<char> {
        let hidden: String = greek(count).collect();
        part.replace("...", &hidden).chars().collect()
    };
    let mut terms = Vec::with_capacity(items.len());
    for (part, item) in parts.iter().zip(items) {
        let count = unnamed(part, item.rank());
        let letters = spelled(part, count);
        if letters.len() != item.rank() {
            return Err(format!("{part:?} does not fit shape {:?}", item.shape));
        }
        let repeats = |i: usize| letters[..i].contains(&letters[i]);
        if (0..letters.len()).any(repeats) {
            return Err(format!("{part:?} takes a diagonal, which is not supported"));
        }
        terms.push(Term { item, letters });
    }
    let output = match right {
        Some(right) => spelled(&right, if right.contains("...") { dots } else { 0 }),
        None => {
            // The ellipsis, then the letters that occur once, in alphabetical order.
            let all: Vec<char> = terms.iter().flat_map(|t| t.letters.clone()).collect();
            let once = |l: &char| l.is_ascii() && all.iter().filter(|m| *m == l).count() == 1;
            let mut named: Vec<char> = all.iter().copied().filter(once).collect();
            named.sort_unstable();
            greek(dots).chain(named).collect()
        }
    };
    if let [a, b] = &terms[..] {
        for (letter, size) in a.letters.iter().zip(&a.item.shape) {
            let other = b
                .letters
                .iter()
                .position(|l| l == letter)
                .map(|i| b.item.shape[i]);
            if let Some(other) = other.filter(|other| other != size) {
                return Err(format!("sizes of {letter:?} differ: {size} and {other}"));
            }
        }
    }
    let mut terms = terms.into_iter();
    let first = terms.next().ok_or("it has no operands")?;
    let result = match terms.next() {
        None => summed(c, first, &output)?,
        Some(second) => product(c, first, second, &output)?,
    };
    let axes = output
        .iter()
        .map(|l| result.letters.iter().position(|m| m == l));
    let axes: Option<Vec<usize>> = axes.collect();
    let axes = axes.ok_or_else(|| format!("the equation {equation:?} has an unknown output"))?;
    Ok(vec![c.permute(&result.item, &axes)?])
}

/// Sums over the letters that are not in `kept`.
fn summed(c: &Call<'_>, term: Term, kept: &[char]) -> Result<Term, String> {
    let letters: Vec<char> = term
        .letters
        .iter()
        .copied()
        .filter(|l| kept.contains(l))
        .collect();
    let gone: Vec<usize> = (0..term.letters.len())
        .filter(|&i| !kept.contains(&term.letters[i]))
        .collect();
    let item = c.reduce_dims(Reduce::Sum, &term.item, &gone)?;
    let shape: Vec<usize> = (0..term.letters.len())
        .filter(|i| !gone.contains(i))
        .map(|i| term.item.shape[i])
        .collect();
    Ok(Term {
        item: c.reshape(&item, &shape)?,
        letters,
    })
}

/// Multiplies two operands as one batched matrix product.
fn product(c: &Call<'_>, a: Term, b: Term, output: &[char]) -> Result<Term, String> {
    let wanted = |other: &Term| [output, &other.letters].concat();
    let (keep_a, keep_b) = (wanted(&b), wanted(&a));
    let (a, b) = (summed(c, a, &keep_a)?, summed(c, b, &keep_b)?);
    let shared = |letter: &char| b.letters.contains(letter);
    let batch: Vec<char> = a
        .letters
        .iter()
        .copied()
        .filter(|l| shared(l) && output.contains(l))
        .collect();
    let inner: Vec<char> = a
        .letters
        .iter()
        .copied()
        .filter(|l| shared(l) && !output.contains(l))
        .collect();
    let rows: Vec<char> = a.letters.iter().copied().filter(|l| !shared(l)).collect();
    let columns: Vec<char> = b
        .letters
        .iter()
        .copied()
        .filter(|l| !a.letters.contains(l))
        .collect();
    let size = |term: &Term, letters: &[char]| -> Vec<usize> {
        let place = |l: &char| term.letters.iter().position(|m| m == l);
        letters
            .iter()
            .filter_map(place)
            .map(|i| term.item.shape[i])
            .collect()
    };
    let matrix = |term: &Term, groups: [&[char]; 3]| -> Result<Item, String> {
        let order = groups.concat();
        let axes: Vec<usize> = order
            .iter()
            .filter_map(|l| term.letters.iter().position(|m| m == l))
            .collect();
        let shape: Vec<usize> = groups
            .iter()
            .map(|g| size(term, g).iter().product())
            .collect();
        c.reshape(&c.permute(&term.item, &axes)?, &shape)
    };
    let left = matrix(&a, [&batch, &rows, &inner])?;
    let right = matrix(&b, [&batch, &inner, &columns])?;
    let result = c.matmul(&left, &right)?;
    let shape = [size(&a, &batch), size(&a, &rows), size(&b, &columns)].concat();
    Ok(Term {
        item: c.reshape(&result, &shape)?,
        letters: [batch, rows, columns].concat(),
    })
}
