//! The colours and textures of objects, and the background behind them.

use attr::build::Random;

use super::{PIXELS, SIZE};

/// The colour of an object: the middle of a range of hues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Hue 0.
    Red,
    /// Hue 1/6.
    Yellow,
    /// Hue 1/3.
    Green,
    /// Hue 1/2.
    Cyan,
    /// Hue 2/3.
    Blue,
}

impl Color {
    /// All colours. Magenta is left to the tags.
    pub const ALL: [Self; 5] = [Self::Red, Self::Yellow, Self::Green, Self::Cyan, Self::Blue];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Cyan => "cyan",
            Self::Blue => "blue",
        }
    }

    /// Draws one of its shades: red, green and blue from 0 to 1.
    pub(super) fn shade(self, random: &mut Random) -> [f64; 3] {
        let hue = f64::from(self as u8) / 6.0 + 0.08 * (random.uniform() - 0.5);
        let saturation = 0.65 + 0.35 * random.uniform();
        let value = 0.8 + 0.2 * random.uniform();
        rgb(hue.rem_euclid(1.0), saturation, value)
    }
}

/// The texture of an object: where it is dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texture {
    /// Nowhere.
    Plain,
    /// In every other pair of rows.
    Stripes,
    /// In dots of 2x2 pixels.
    Dots,
    /// In every other square of 3x3 pixels.
    Checks,
}

impl Texture {
    /// All textures.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Stripes, Self::Dots, Self::Checks];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Stripes => "stripes",
            Self::Dots => "dots",
            Self::Checks => "checks",
        }
    }

    /// Whether a pixel is dark.
    pub(super) fn dark(self, row: usize, column: usize) -> bool {
        match self {
            Self::Plain => false,
            Self::Stripes => row % 4 < 2,
            Self::Dots => row % 4 < 2 && column % 4 < 2,
            Self::Checks => (row / 3 + column / 3).is_multiple_of(2),
        }
    }
}

/// Draws a dim background `[3, 32, 32]`: a greyish colour, soft clouds and noise.
pub(super) fn background(random: &mut Random) -> Vec<f32> {
    let (hue, saturation) = (random.uniform(), 0.3 * random.uniform());
    let color = rgb(hue, saturation, 0.25 + 0.2 * random.uniform());
    // Clouds: random heights at the corners of squares, and straight lines between them.
    let corners: Vec<f32> = random.normal(CORNERS * CORNERS).collect();
    let mut clouds = Vec::with_capacity(PIXELS);
    for row in 0..SIZE {
        for column in 0..SIZE {
            let (i, down) = (row / SQUARE, (row % SQUARE) as f32 / SQUARE as f32);
            let (j, right) = (column / SQUARE, (column % SQUARE) as f32 / SQUARE as f32);
            let between = |i: usize| {
                let at = i * CORNERS + j;
                corners[at] * (1.0 - right) + corners[at + 1] * right
            };
            clouds.push(between(i) * (1.0 - down) + between(i + 1) * down);
        }
    }
    let noise: Vec<f32> = random.normal(3 * PIXELS).collect();
    let mut image = Vec::with_capacity(3 * PIXELS);
    for (channel, level) in color.iter().enumerate() {
        for (pixel, cloud) in clouds.iter().enumerate() {
            let noise = noise[channel * PIXELS + pixel];
            let level = *level as f32 + 0.05 * cloud + 0.03 * noise;
            image.push(level.clamp(0.0, 1.0));
        }
    }
    image
}

/// The size of the clouds' squares, and the number of corners in a row of them.
const SQUARE: usize = 4;
const CORNERS: usize = SIZE / SQUARE + 1;

/// Converts a colour from hue, saturation and value, all from 0 to 1.
fn rgb(hue: f64, saturation: f64, value: f64) -> [f64; 3] {
    [5.0, 3.0, 1.0].map(|offset: f64| {
        let place = (offset + 6.0 * hue) % 6.0;
        let away = place.min(4.0 - place).clamp(0.0, 1.0);
        value * (1.0 - saturation * away)
    })
}
