//! Charts of attributions that are not images.
//!
//! ```text
//! axis.rs       a horizontal axis, and names of features
//! bars.rs       Bars: one bar for each feature, with errors
//! waterfall.rs  Waterfall: from the expected output to this one, feature by feature
//! beeswarm.rs   Beeswarm: all rows of a data set, feature by feature
//! curves.rs     Curves: lines with bands
//! series.rs     Series: time series with their attribution
//! table.rs      Table: texts in cells coloured by rank
//! ```

mod axis;
mod bars;
mod beeswarm;
mod curves;
mod series;
mod table;
mod waterfall;

pub use bars::Bars;
pub use beeswarm::Beeswarm;
pub use curves::{Curve, Curves};
pub use series::{Series, SeriesView};
pub use table::Table;
pub use waterfall::Waterfall;
