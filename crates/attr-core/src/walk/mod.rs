//! Walks a graph backwards from its output. At every node, a rule decides how what arrives there
//! is shared among the operands.
//!
//! The default rule, [`Gradient`], is the true derivative. Guided backpropagation, DeepLIFT and
//! every LRP rule are other choices on the same walk.
//!
//! ```text
//! info.rs       NodeInfo: what is known of a node before anything runs
//! composite.rs  Composite: chooses the rule of each node
//! plan.rs       Plan: the choices for one graph, with what rules prepared
//! stand.rs      the values of a forward pass, for the rows of a walk
//! pass.rs       Pass: one forward pass, which any number of walks stand on
//! parts.rs      a forward pass in parts of the batch that run side by side
//! shares.rs     Reads, Shares: what a rule reads and hands back
//! rule.rs       Rule: prepare, forward, backward
//! view.rs       NodeView: what a rule sees of its node during a walk
//! pieces.rs     elementwise work of rules, in pieces that a cache holds
//! record.rs     walks recorded as models of their own
//! gate.rs       gates: masks and directions at layers
//! ledger.rs     Ledger: what was lost at which node
//! traverse.rs   Walk: where a walk starts, what it masks and what it keeps; the walk itself
//! stretches.rs  long walks, a stretch of rows at a time
//! ```

mod composite;
mod gate;
mod info;
mod ledger;
mod parts;
mod pass;
mod pieces;
mod plan;
mod record;
mod rule;
mod shares;
mod stand;
mod stretches;
mod traverse;
mod view;

pub use composite::{Composite, GradientEverywhere};
pub use gate::{Around, Directions, Through};
pub use info::{NodeInfo, Role};
pub use ledger::{Entry, Ledger};
pub use pass::Pass;
pub use pieces::in_pieces;
pub use plan::Plan;
pub use rule::{Gradient, Rule};
pub use shares::{Reads, Shares};
pub use traverse::{Keep, Visitor, Walk, Walked};
pub use view::{LinearParts, NodeView};
