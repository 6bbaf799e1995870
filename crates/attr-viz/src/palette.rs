//! Colour maps, by name or in zennit's language.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use colorgrad::{Gradient, preset};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A colour map: 256 colours from low to high.
///
/// It is a name of [`Palette::NAMES`], or a text of nodes, as in zennit's CMSL: `node,node,...`,
/// where a node is a colour, `rgb` or `rrggbb`, after its place, `x:` or `xx:`, if that is given;
/// all digits are hexadecimal. The first node lies at `00`, the last at `ff`, those between without
/// a place are spread evenly. Colours between nodes are interpolated; two nodes at the same place
/// make a jump.
///
/// ```
/// use attr_viz::Palette;
///
/// # fn main() -> Result<(), attr_viz::Error> {
/// let named: Palette = "coldnhot".parse()?;
/// // Blue, white in the middle, red.
/// let own: Palette = "00f,80:fff,f00".parse()?;
/// assert_eq!(own, "bwr".parse()?);
/// assert_eq!(own.at(0.0), [0, 0, 255]);
/// assert!("00f".parse::<Palette>().is_err(), "one colour is no map");
/// # let _ = named;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Palette {
    colors: Arc<[[u8; 3]; 256]>,
    source: String,
}

/// Two palettes are equal if their colours are.
impl PartialEq for Palette {
    fn eq(&self, other: &Self) -> bool {
        self.colors == other.colors
    }
}

impl Eq for Palette {}

impl fmt::Debug for Palette {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Palette({})", self.source)
    }
}

impl TryFrom<String> for Palette {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Palette> for String {
    fn from(palette: Palette) -> Self {
        palette.source
    }
}

/// zennit's colour maps, in its language.
const ZENNIT: [(&str, &str); 11] = [
    ("gray", "000,fff"),
    ("wred", "fff,f00"),
    ("wblue", "fff,00f"),
    ("hot", "000,f00,ff0,fff"),
    ("cold", "000,00f,0ff"),
    ("coldnhot", "0ff,00f,80:000,f00,ff0,fff"),
    ("bwr", "00f,80:fff,f00"),
    ("france", "0055a4,80:fff,ef4135"),
    ("seismic", "0000d0,80:d0d0d0,d00000"),
    ("coolio", "00d0d0,80:d0d0d0,d000d0"),
    ("coleus", "00d000,80:d0d0d0,d000d0"),
];

impl Palette {
    /// The names: zennit's, then perceptually uniform ones (`viridis` to `cividis`), `turbo`, and
    /// the defaults of [`Style`](crate::Style): `bu_rd` for both signs, `reds`, `blues`, `purples`.
    pub const NAMES: [&str; 21] = [
        "gray", "wred", "wblue", "hot", "cold", "coldnhot", "bwr", "france", "seismic", "coolio",
        "coleus", "viridis", "magma", "inferno", "plasma", "cividis", "turbo", "bu_rd", "reds",
        "blues", "purples",
    ];

    /// Dark blue over green to yellow; perceptually uniform and readable with every kind of colour
    /// vision.
    pub fn viridis() -> Self {
        Self::of("viridis", |level| preset::viridis().at(level))
    }

    /// Returns the colour at a level between 0 and 1.
    pub fn at(&self, level: f32) -> [u8; 3] {
        self.colors[(level.clamp(0.0, 1.0) * 255.0) as usize]
    }

    /// Returns the 256 colours.
    pub fn colors(&self) -> &[[u8; 3]; 256] {
        &self.colors
    }

    /// Stretches the map around its middle: at 2, its ends are reached halfway; at 0.5, only the
    /// middle half of its colours is used; at -1, it is reversed. zennit's `level`.
    pub fn with_level(self, level: f64) -> Self {
        let color = |i: usize| {
            let x = (level * (2.0 * i as f64 / 255.0 - 1.0) + 1.0) / 2.0;
            let at = x.clamp(0.0, 1.0) * 255.0;
            let ends = [at.floor(), at.ceil()].map(|end| self.colors[end as usize]);
            let mix = |c: usize| {
                let [a, b] = ends.map(|color| f64::from(color[c]));
                (a + (b - a) * at.fract()).round() as u8
            };
            std::array::from_fn(mix)
        };
        Self {
            colors: Arc::new(std::array::from_fn(color)),
            source: self.source.clone(),
        }
    }

    fn of(name: &str, color: impl Fn(f32) -> colorgrad::Color) -> Self {
        let color = |i: usize| {
            let [r, g, b, _] = color(i as f32 / 255.0).to_rgba8();
            [r, g, b]
        };
        Self {
            colors: Arc::new(std::array::from_fn(color)),
            source: name.into(),
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "viridis" => Self::viridis(),
            "magma" => Self::of(name, |level| preset::magma().at(level)),
            "inferno" => Self::of(name, |level| preset::inferno().at(level)),
            "plasma" => Self::of(name, |level| preset::plasma().at(level)),
            "cividis" => Self::of(name, |level| preset::cividis().at(level)),
            "turbo" => Self::of(name, |level| preset::turbo().at(level)),
            "bu_rd" => Self::of(name, |level| preset::rd_bu().at(1.0 - level)),
            "reds" => Self::of(name, |level| preset::reds().at(level)),
            "blues" => Self::of(name, |level| preset::blues().at(level)),
            "purples" => Self::of(name, |level| preset::purples().at(level)),
            _ => {
                let (_, source) = ZENNIT.iter().find(|(own, _)| *own == name)?;
                let colors = palette(&nodes(source).ok()?);
                Self {
                    colors: Arc::new(colors),
                    source: name.into(),
                }
            }
        })
    }
}

impl FromStr for Palette {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(named) = Self::named(text) {
            return Ok(named);
        }
        let nodes = nodes(text).map_err(|(at, expected)| Error::Palette {
            text: text.into(),
            at,
            expected,
        })?;
        Ok(Self {
            colors: Arc::new(palette(&nodes)),
            source: text.into(),
        })
    }
}

/// A colour at a place.
struct Node {
    place: f64,
    color: [f64; 3],
}

/// A colour with its place, if one is given.
type Given = (Option<u8>, [u8; 3]);

/// Reads the nodes of a colour map; the error is where and what was expected.
fn nodes(text: &str) -> Result<Vec<Node>, (usize, &'static str)> {
    let mut tokens = Tokens { text, at: 0 };
    let mut given: Vec<Given> = Vec::new();
    loop {
        if !given.is_empty() && tokens.peek().is_none() {
            break; // A comma at the end is allowed.
        }
        given.push(tokens.node()?);
        match tokens.peek() {
            None => break,
            Some(b',') => tokens.at += 1,
            Some(_) => return Err((tokens.at, "a comma is needed between colours")),
        }
    }
    if given.len() < 2 {
        return Err((text.len(), "a map needs at least two colours"));
    }
    placed(&given).ok_or((text.len(), "places must not decrease"))
}

/// Gives every node a place.
fn placed(given: &[Given]) -> Option<Vec<Node>> {
    let mut places: Vec<Option<f64>> = given.iter().map(|node| node.0.map(f64::from)).collect();
    let last = places.len() - 1;
    places[last].get_or_insert(255.0);
    let mut start = (None, 0.0);
    for i in 0..places.len() {
        let Some(place) = places[i] else { continue };
        if place < start.1 {
            return None;
        }
        // Those without a place since the last one that had one; a first one lies at 0.
        let from = start.0.map_or(0, |at: usize| at + 1);
        let (steps, offset) = match start.0 {
            Some(_) => (i - from + 1, 1),
            None => (i - from, 0),
        };
        for (step, open) in places[from..i].iter_mut().enumerate() {
            let part = (step + offset) as f64 / steps.max(1) as f64;
            *open = Some((start.1 * (1.0 - part) + place * part).trunc());
        }
        start = (Some(i), place);
    }
    let nodes = given.iter().zip(places);
    let mut nodes: Vec<Node> = nodes
        .map(|((_, color), place)| Node {
            place: place.unwrap_or_default(),
            color: color.map(f64::from),
        })
        .collect();
    // The first colour starts at 0 even if its place is later.
    if nodes[0].place > 0.0 {
        let color = nodes[0].color;
        nodes.insert(0, Node { place: 0.0, color });
    }
    Some(nodes)
}

fn palette(nodes: &[Node]) -> [[u8; 3]; 256] {
    std::array::from_fn(|i| {
        let t = i as f64;
        let before = nodes.iter().rposition(|node| node.place <= t).unwrap_or(0);
        let (a, b) = (&nodes[before], nodes.get(before + 1));
        std::array::from_fn(|c| {
            let value = match b {
                Some(b) => {
                    let part = (t - a.place) / (b.place - a.place);
                    a.color[c] + (b.color[c] - a.color[c]) * part
                }
                None => a.color[c],
            };
            // Without this, 127.99999999999999 would become 127.
            ((value * 1e9).round() / 1e9) as u8
        })
    })
}

/// Reads digits from the left: six of them if there are six, else three, else one or two.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl Tokens<'_> {
    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// The values of the next digits.
    fn digits(&mut self) -> Vec<u8> {
        self.peek();
        let rest = self.text.as_bytes()[self.at..].iter();
        let digits = rest.map_while(|&b| (b as char).to_digit(16));
        let digits: Vec<u8> = digits.map(|digit| digit as u8).collect();
        let count = match digits.len() {
            count @ 0..=2 => count,
            3..=5 => 3,
            _ => 6,
        };
        self.at += count;
        digits[..count].to_vec()
    }

    fn node(&mut self) -> Result<Given, (usize, &'static str)> {
        self.peek();
        let start = self.at;
        let mut place = None;
        let mut digits = self.digits();
        if let 1 | 2 = digits.len() {
            if self.peek() != Some(b':') {
                return Err((start, "a colour has three or six hexadecimal digits"));
            }
            self.at += 1;
            place = Some(match digits[..] {
                [one] => one * 17,
                _ => digits[0] * 16 + digits[1],
            });
            self.peek();
            digits = self.digits();
        }
        let color = match digits[..] {
            [r, g, b] => [r, g, b].map(|digit| digit * 17),
            [r, rr, g, gg, b, bb] => [r * 16 + rr, g * 16 + gg, b * 16 + bb],
            _ => {
                let expected = "a name or a colour of three or six hexadecimal digits is needed";
                return Err((start, expected));
            }
        };
        Ok((place, color))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_palette() {
        for name in Palette::NAMES {
            let palette: Palette = name.parse().unwrap();
            assert_eq!(String::from(palette), name);
        }
    }

    #[test]
    fn errors_say_where() {
        for (text, at) in [
            ("", 0),
            ("fff", 3),
            ("fff,80", 4),
            ("fff 000", 4),
            ("pink", 0),
        ] {
            let error = text.parse::<Palette>().unwrap_err();
            assert!(
                matches!(error, Error::Palette { at: found, .. } if found == at),
                "{error}"
            );
        }
    }
}
