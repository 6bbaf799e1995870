//! Colour maps.

use colorgrad::Gradient;

/// A colour map: 256 colours from low to high.
#[derive(Clone, PartialEq, Eq)]
pub struct Palette {
    colors: std::sync::Arc<[[u8; 3]; 256]>,
    name: String,
}

impl std::fmt::Debug for Palette {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Palette({})", self.name)
    }
}

impl Palette {
    /// Dark blue over green to yellow; perceptually uniform and readable with every kind of colour
    /// vision.
    pub fn viridis() -> Self {
        Self::of("viridis", &colorgrad::preset::viridis())
    }

    pub(crate) fn of(name: &str, gradient: &impl Gradient) -> Self {
        let color = |i: usize| {
            let [r, g, b, _] = gradient.at(i as f32 / 255.0).to_rgba8();
            [r, g, b]
        };
        Self {
            colors: std::sync::Arc::new(std::array::from_fn(color)),
            name: name.into(),
        }
    }

    /// Returns the colour at a level between 0 and 1.
    pub fn at(&self, level: f32) -> [u8; 3] {
        self.colors[(level.clamp(0.0, 1.0) * 255.0).round() as usize]
    }
}
