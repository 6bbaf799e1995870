//! The ledger of a walk: at which nodes what set out was lost on the way to the inputs.

use std::fmt;

use serde::Serialize;

use super::info::NodeInfo;
use super::shares::Shares;
use crate::graph::{Binary, Op};
use crate::{Error, Value};

/// Where what a walk started with has gone.
///
/// `started = arrived + bias + stabilizer + stopped + rounding`; [`error`](Self::error) says how far
/// that is from being so. All numbers are sums over the elements of all rows of the walk, in 64
/// bits; walk row by row to see rows apart.
///
/// Prints as a table of the nodes where something was lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ledger {
    /// What the walk started with.
    pub started: f64,
    /// What arrived at the inputs, and at the layers where walks end.
    pub arrived: f64,
    /// The same as a sum of absolute values.
    pub arrived_absolute: f64,
    /// What the sums of shares in the model's own precision lost at the inputs; nodes have theirs.
    pub arrived_rounding: f64,
    /// One entry for each node that the walk passed, and for each gate; last node first.
    pub entries: Vec<Entry>,
}

/// What happened at one node, or at a gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The layer.
    pub layer: String,
    /// Its operation.
    pub operation: String,
    /// The rule that served it; `gradient` for the derivative, `gate` for a gate.
    pub rule: String,
    /// What arrived at its outputs.
    pub received: f64,
    /// The same as a sum of absolute values.
    pub received_absolute: f64,
    /// What it passed on to operands that lead to where the walk ends.
    pub passed: f64,
    /// The same as a sum of absolute values.
    pub passed_absolute: f64,
    /// The share of biases and of other constants that are added.
    pub bias: f64,
    /// What stabilisers of denominators took.
    pub stabilizer: f64,
    /// What rules dropped, or passed to operands that do not lead to where the walk ends. Negative
    /// where a rule adds to what arrives, as a derivative may.
    pub stopped: f64,
    /// What rounding lost when the shares of several readers were added.
    pub rounding: f64,
}

impl Entry {
    /// What was lost at this node, whatever the reason.
    pub fn lost(&self) -> f64 {
        self.bias + self.stabilizer + self.stopped + self.rounding
    }

    /// How much the sum of absolute values grew at this node; 1 where nothing arrived.
    pub fn growth(&self) -> f64 {
        if self.received_absolute > 0.0 {
            self.passed_absolute / self.received_absolute
        } else {
            1.0
        }
    }
}

impl Ledger {
    /// The share of all biases and other constants that are added.
    pub fn bias(&self) -> f64 {
        self.entries.iter().map(|entry| entry.bias).sum()
    }

    /// What all stabilisers took.
    pub fn stabilizer(&self) -> f64 {
        self.entries.iter().map(|entry| entry.stabilizer).sum()
    }

    /// What rules and gates dropped.
    pub fn stopped(&self) -> f64 {
        self.entries.iter().map(|entry| entry.stopped).sum()
    }

    /// What rounding lost, in all sums of shares. A large part of the score means that relevance
    /// cancels so much that its digits are gone.
    pub fn rounding(&self) -> f64 {
        let nodes: f64 = self.entries.iter().map(|entry| entry.rounding).sum();
        nodes + self.arrived_rounding
    }

    /// How far the ledger is from closing, as a fraction of what the walk started with.
    pub fn error(&self) -> f64 {
        let lost: f64 = self.entries.iter().map(Entry::lost).sum();
        let off = (self.started - self.arrived - self.arrived_rounding - lost).abs();
        if off == 0.0 {
            0.0
        } else {
            off / self.started.abs()
        }
    }

    /// Adds what a walk starts with.
    pub(super) fn start(&mut self, seed: &Value) -> Result<(), Error> {
        self.started = sums(seed)?.0;
        Ok(())
    }

    /// Adds what arrived at an input, or at a layer where walks end: a sum of shares, which add up to
    /// `shares`.
    pub(super) fn arrive(&mut self, value: &Value, shares: f64) -> Result<(), Error> {
        let (sum, absolute) = sums(value)?;
        self.arrived += sum;
        self.arrived_absolute += absolute;
        self.arrived_rounding += shares - sum;
        Ok(())
    }

    /// Adds what a node received, a sum of shares that add up to `shares`, and what its rule gave to
    /// each operand. Returns the sum of each share.
    pub(super) fn node(
        &mut self,
        info: &NodeInfo<'_>,
        rule: String,
        (received, shares): ((f64, f64), f64),
        given: &Shares,
        active: impl Fn(usize) -> bool,
    ) -> Result<Vec<f64>, Error> {
        let (mut passed, mut each) = ((0.0, 0.0), vec![0.0; given.shares.len()]);
        for (i, share) in given.shares.iter().enumerate() {
            if let (true, Some(share)) = (active(i), share) {
                let (sum, absolute) = sums(share)?;
                passed = (passed.0 + sum, passed.1 + absolute);
                each[i] = sum;
            }
        }
        let lost = received.0 - passed.0;
        let (stabilizer, bias, stopped) = match &given.stabilized {
            // The share of constants, such as a class token, that the derivative leaves to them.
            None if matches!(info.op(), Op::Cat { .. }) && adds_constant(info) => (0.0, lost, 0.0),
            None => (0.0, 0.0, lost),
            Some(taken) => {
                let taken = sums(taken)?.0;
                if adds_constant(info) {
                    (taken, lost - taken, 0.0)
                } else {
                    (taken, 0.0, lost - taken)
                }
            }
        };
        self.entries.push(Entry {
            layer: info.name().into(),
            operation: info.kind(),
            rule,
            received: received.0,
            received_absolute: received.1,
            passed: passed.0,
            passed_absolute: passed.1,
            bias,
            stabilizer,
            stopped,
            rounding: shares - received.0,
        });
        Ok(each)
    }

    /// Adds what a gate dropped.
    pub(super) fn gate(&mut self, layer: &str, before: (f64, f64), after: (f64, f64)) {
        self.entries.push(Entry {
            layer: layer.into(),
            operation: String::new(),
            rule: "gate".into(),
            received: before.0,
            received_absolute: before.1,
            passed: after.0,
            passed_absolute: after.1,
            bias: 0.0,
            stabilizer: 0.0,
            stopped: before.0 - after.0,
            rounding: 0.0,
        });
    }
}

/// Whether a node adds a constant, which gets the share that its rule passes to no operand.
fn adds_constant(info: &NodeInfo<'_>) -> bool {
    if info.is_linear() {
        return info.operands() > 2;
    }
    let scalar = matches!(info.op(), Op::BinaryScalar(Binary::Add | Binary::Sub, _));
    scalar || (0..info.operands()).any(|i| !info.varies(i))
}

/// The sum of a value's elements, and of their absolute values.
pub(super) fn sums(value: &Value) -> Result<(f64, f64), Error> {
    let data = value.to_data()?;
    let numbers = data.iter::<f64>();
    Ok(numbers.fold((0.0, 0.0), |(sum, absolute), v| {
        (sum + v, absolute + v.abs())
    }))
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<36} {:<16} {:>12} {:>12} {:>12} {:>12} {:>12} {:>8}",
            "layer", "rule", "received", "bias", "stabilizer", "stopped", "rounding", "growth"
        )?;
        // A layer that loses nothing is left out.
        let tiny = 1e-6 * self.started.abs();
        for entry in &self.entries {
            let lost = [entry.bias, entry.stabilizer, entry.stopped, entry.rounding];
            if lost.iter().all(|lost| lost.abs() <= tiny) {
                continue;
            }
            writeln!(
                f,
                "{:<36} {:<16} {:>12.5} {:>12.5} {:>12.5} {:>12.5} {:>12.5} {:>8.2}",
                entry.layer,
                entry.rule,
                entry.received,
                entry.bias,
                entry.stabilizer,
                entry.stopped,
                entry.rounding,
                entry.growth()
            )?;
        }
        writeln!(
            f,
            "started {:.6} = arrived {:.6} + bias {:.6} + stabilizer {:.6} + stopped {:.6} + rounding \
             {:.6}",
            self.started,
            self.arrived,
            self.bias(),
            self.stabilizer(),
            self.stopped(),
            self.rounding()
        )
    }
}
