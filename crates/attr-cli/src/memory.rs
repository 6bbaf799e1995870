//! `--memory`: the budget, and what a model needs before anything runs.

use attr_core::{Budget, Traced, Values};

use crate::error::Error;

/// The memory in MiB that a row may need without an explicit `--memory`.
const DEFAULT: usize = 1024;

/// Returns the budget for a model, given `--memory`.
pub fn budget(memory: Option<usize>, model: &Traced) -> Budget {
    match (model.rows(), memory) {
        (Some(rows), _) => Budget::Rows(rows),
        (None, Some(0)) => Budget::Rows(1),
        (None, Some(memory)) => Budget::Bytes(memory.saturating_mul(1 << 20)),
        (None, None) => Budget::Auto,
    }
}

/// Refuses a model that needs more memory than allowed even for the fewest rows that it takes.
/// `backward` says whether it runs backwards, too.
pub fn check(
    memory: Option<usize>,
    backward: bool,
    model: &Traced,
    inputs: &Values,
) -> Result<(), Error> {
    let allowed = memory.unwrap_or(DEFAULT);
    let Some(memory) = model.memory(inputs).filter(|_| allowed > 0) else {
        return Ok(());
    };
    // A backward pass needs the activations of the forward pass.
    let kept = if backward { memory.activations } else { 0 };
    let needed = (memory.forward.saturating_add(kept)).div_ceil(1 << 20);
    if needed <= allowed {
        return Ok(());
    }
    let rows = match model.rows() {
        None | Some(1) => "one row needs".into(),
        Some(rows) => format!("the {rows} rows that the model takes need"),
    };
    Err(Error::input(format!(
        "{rows} about {needed} MiB, more than the {allowed} MiB allowed; allow it with --memory \
         {needed}"
    )))
}
