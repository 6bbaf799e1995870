//! Pictures of attributions: heat maps, overlays, masked images, and panels of several pictures.
//!
//! ```
//! use attr_viz::{Map, Panel, Picture, Sign, Style, View};
//!
//! # fn main() -> Result<(), attr_viz::Error> {
//! let map = Map::new(vec![0.0, 1.0, -0.5, 0.2], 2, 2)?;
//! let image = Picture::gray(&[0.1, 0.9, 0.5, 0.4], 2, 2, 0.0..1.0)?;
//! let style = Style::default().with_sign(Sign::All);
//!
//! let mut panel = Panel::new(["original", "saliency"]);
//! panel.row("a digit", vec![
//!     View::Original.draw(&map, Some(&image), &style)?,
//!     View::BlendedHeatMap.draw(&map, Some(&image), &style)?,
//! ])?;
//! let png: Vec<u8> = panel.to_png()?;
//! assert!(png.starts_with(b"\x89PNG"));
//! # Ok(())
//! # }
//! ```

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
