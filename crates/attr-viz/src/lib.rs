//! Pictures of attributions: heat maps, overlays, masked images, panels.
#![doc = include_str!("../README.md")]

mod error;
mod map;
mod panel;
mod picture;
mod style;
mod view;

pub use error::Error;
pub use map::Map;
pub use panel::Panel;
pub use picture::Picture;
pub use style::{Sign, Style};
pub use view::{Drawing, View};
