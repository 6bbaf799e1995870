//! Pictures of attributions: heat maps, overlays, masked images, panels.
#![doc = include_str!("../README.md")]

mod animation;
mod chart;
mod error;
mod figure;
mod file;
mod map;
mod marked;
mod palette;
mod panel;
mod picture;
mod report;
mod style;
mod tokens;
mod view;

pub use animation::Animation;
pub use chart::{Bars, Beeswarm, Curve, Curves, Series, SeriesView, Table, Waterfall};
pub use error::Error;
pub use figure::Figure;
pub use map::Map;
pub use marked::{Frame, Opaque};
pub use palette::Palette;
pub use panel::Panel;
pub use picture::Picture;
pub use report::{Report, Sample, Shown};
pub use style::{Scale, Sign, Style};
pub use tokens::Tokens;
pub use view::{Drawing, View};
