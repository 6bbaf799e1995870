//! Text whose tokens are coloured by their attribution.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::figure::{Area, Draw, MARGIN, draw_error, heading, shortened, text, widest};
use crate::{Error, Map, Style};

/// Tokens with their attribution, as HTML, for a terminal, or as a figure.
///
/// ```
/// use attr_viz::{Figure, Tokens};
///
/// # fn main() -> Result<(), attr_viz::Error> {
/// let text = Tokens::new(&["a", "dull", "<b>film</b>"], vec![0.1, -2.0, 0.3])?;
/// println!("{}", text.to_terminal()?);
/// assert!(text.to_html()?.contains("&lt;b&gt;film&lt;/b&gt;"));
/// let png = text.to_png()?;
/// # let _ = png;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tokens {
    title: String,
    tokens: Vec<String>,
    map: Map,
    style: Style,
}

/// The width of a figure's lines of text in pixels.
const WIDTH: i32 = 680;
const LINE_HEIGHT: i32 = 26;
const SPACE: i32 = 4;

impl Tokens {
    /// Creates the text from tokens and one attribution for each.
    ///
    /// # Errors
    /// [`Error::Size`] unless there are as many attributions as tokens, and at least one;
    /// [`Error::NonFinite`] for NaN.
    pub fn new(tokens: &[impl AsRef<str>], attribution: Vec<f32>) -> Result<Self, Error> {
        Ok(Self {
            title: String::new(),
            map: Map::new(attribution, tokens.len(), 1)?,
            tokens: tokens.iter().map(|token| token.as_ref().into()).collect(),
            style: Style::default().with_outlier_perc(0.0),
        })
    }

    /// Sets the title.
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets colours, sign and saturation; by default no token is saturated but the strongest.
    pub fn with_style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }

    fn colors(&self) -> Result<Vec<[u8; 3]>, Error> {
        let values = self.map.normalized(&self.style)?;
        Ok(values.iter().map(|&v| self.style.color(v)).collect())
    }

    /// Returns an HTML fragment: a paragraph of `span`s. Text is escaped; the value is the tooltip.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a style out of range.
    pub fn to_html(&self) -> Result<String, Error> {
        let mut html = String::from("<p style=\"line-height:1.8\">");
        let all = self.tokens.iter().zip(self.colors()?);
        for ((token, color), value) in all.zip(self.map.values()) {
            let [r, g, b] = color;
            let ink = ink(color);
            html.push_str(&format!(
                "<span title=\"{value:+.4}\" style=\"background:#{r:02x}{g:02x}{b:02x};\
                 color:{ink};padding:1px 3px;border-radius:3px\">{}</span> ",
                escaped(token)
            ));
        }
        html.push_str("</p>\n");
        Ok(html)
    }

    /// Returns text for a terminal with 24-bit colours. Control characters are shown as such.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a style out of range.
    pub fn to_terminal(&self) -> Result<String, Error> {
        let mut shown = String::new();
        for (token, color) in self.tokens.iter().zip(self.colors()?) {
            let [r, g, b] = color;
            let [ir, ig, ib] = if is_dark(color) { [255; 3] } else { [0; 3] };
            let token: String = token.chars().map(visible).collect();
            shown.push_str(&format!(
                "\x1b[48;2;{r};{g};{b}m\x1b[38;2;{ir};{ig};{ib}m{token}\x1b[0m "
            ));
        }
        Ok(shown.trim_end().to_string())
    }

    /// The place of each token, and the number of lines.
    fn layout(&self) -> Result<(Vec<Place>, i32), Error> {
        let (mut x, mut line) = (0, 0);
        let mut places = Vec::with_capacity(self.tokens.len());
        for token in &self.tokens {
            let width = widest([&shortened(token, WIDTH - 10)?[..]])?.max(4) + 8;
            if x > 0 && x + width > WIDTH {
                (x, line) = (0, line + 1);
            }
            places.push(Place { x, line, width });
            x += width + SPACE;
        }
        Ok((places, line + 1))
    }

    fn top(&self) -> i32 {
        MARGIN + if self.title.is_empty() { 0 } else { 30 }
    }
}

/// Where a token stands.
struct Place {
    x: i32,
    line: i32,
    width: i32,
}

/// Control characters, such as escapes and line ends, as their names.
fn visible(c: char) -> char {
    match c {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}'..='\u{9f}' => '\u{fffd}',
        // Marks that turn the direction of all that follows.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        other => other,
    }
}

fn escaped(token: &str) -> String {
    let mut safe = String::with_capacity(token.len());
    for c in token.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Whether white text is easier to read on a colour than black.
fn is_dark([r, g, b]: [u8; 3]) -> bool {
    0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b) < 140.0
}

fn ink(color: [u8; 3]) -> &'static str {
    if is_dark(color) { "#fff" } else { "#000" }
}

impl Draw for Tokens {
    fn size(&self) -> Result<(u32, u32), Error> {
        let (_, lines) = self.layout()?;
        let height = self.top() + lines * LINE_HEIGHT + MARGIN;
        Ok(((WIDTH + 2 * MARGIN) as u32, height as u32))
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), Error> {
        if !self.title.is_empty() {
            let title = shortened(&self.title, WIDTH)?;
            area.draw_text(&title, &heading(), (MARGIN, MARGIN + 10))
                .map_err(draw_error)?;
        }
        let (places, _) = self.layout()?;
        let all = self.tokens.iter().zip(self.colors()?);
        for ((token, color), place) in all.zip(places) {
            let (x, y) = (MARGIN + place.x, self.top() + place.line * LINE_HEIGHT);
            let [r, g, b] = color;
            let corners = [(x, y + 1), (x + place.width, y + LINE_HEIGHT - 3)];
            let filled = Rectangle::new(corners, RGBColor(r, g, b).filled());
            area.draw(&filled).map_err(draw_error)?;
            let shown = shortened(token, WIDTH - 10)?;
            let ink = if is_dark(color) { &WHITE } else { &BLACK };
            let at = (x + place.width / 2, y + LINE_HEIGHT / 2 - 1);
            area.draw_text(&shown, &text(HPos::Center).color(ink), at)
                .map_err(draw_error)?;
        }
        Ok(())
    }
}
