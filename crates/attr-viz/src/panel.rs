//! Several drawings side by side, with titles, labels and a colour bar.

use image::RgbImage;
use image::imageops::{self, FilterType};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::figure::{Area, Draw, LINE, MARGIN, draw_error, shortened, text, widest};
use crate::{Drawing, Error, Style};

/// A table of drawings.
#[derive(Clone, Debug)]
pub struct Panel {
    columns: Vec<String>,
    rows: Vec<(String, Vec<Drawing>)>,
    cell: u32,
    wrap: usize,
}

const GAP: i32 = 12;
const TITLE: i32 = 30;
/// The width of a colour bar with its numbers.
const BAR: i32 = 70;

impl Panel {
    /// Creates an empty panel with a title for each column.
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = T>) -> Self {
        Self {
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            cell: 160,
            wrap: usize::MAX,
        }
    }

    /// Sets the width and height of a drawing in pixels, from 1 to 4096; 160 by default.
    pub fn with_cell(mut self, pixels: u32) -> Self {
        self.cell = pixels.clamp(1, 4096);
        self
    }

    /// Breaks the only row of a panel after this many drawings; a panel with several rows stays as
    /// it is.
    pub fn with_wrap(mut self, drawings: usize) -> Self {
        self.wrap = drawings.max(1);
        self
    }

    /// Adds a row: its label and a drawing for each column. A row with fewer drawings ends early.
    ///
    /// # Errors
    /// [`Error::Columns`] for more drawings than columns.
    pub fn row(&mut self, label: impl Into<String>, drawings: Vec<Drawing>) -> Result<(), Error> {
        if drawings.len() > self.columns.len() {
            return Err(Error::Columns {
                expected: self.columns.len(),
                got: drawings.len(),
            });
        }
        self.rows.push((label.into(), drawings));
        Ok(())
    }

    /// Scales an image to the cell, by a whole number if possible, so that pixels stay square.
    fn scaled(&self, image: &RgbImage) -> RgbImage {
        let (width, height) = image.dimensions();
        let longest = width.max(height);
        if longest <= self.cell {
            let factor = self.cell / longest;
            return imageops::resize(image, width * factor, height * factor, FilterType::Nearest);
        }
        let scale = |side: u32| (side * self.cell / longest).max(1);
        imageops::resize(image, scale(width), scale(height), FilterType::Triangle)
    }

    /// Returns the style that the colour bar shows: one for all drawings.
    fn bar(&self) -> Result<Option<&Style>, Error> {
        let mut bars = self
            .rows
            .iter()
            .flat_map(|row| &row.1)
            .filter_map(|d| d.bar.as_ref());
        let first = bars.next();
        if first.is_some_and(|first| bars.any(|bar| !bar.same_colors(first))) {
            Err(Error::MixedSigns)
        } else {
            Ok(first)
        }
    }

    fn label_width(&self) -> Result<i32, Error> {
        let widest = widest(self.rows.iter().flat_map(|row| row.0.lines()))?;
        Ok(if widest > 0 { widest + GAP } else { 0 })
    }

    /// How many drawings stand side by side, and in how many lines.
    fn grid(&self) -> (usize, usize) {
        let columns = self.columns.len();
        if self.rows.len() != 1 || self.wrap >= columns {
            return (columns, self.rows.len());
        }
        // As even as the lines can be.
        let lines = columns.div_ceil(self.wrap);
        (columns.div_ceil(lines), lines)
    }

    /// The height of a line and of what stands between two. The lines of a broken row have titles.
    fn line(&self) -> i64 {
        let wrapped = self.grid().1 > self.rows.len();
        let title = if wrapped { TITLE } else { 0 };
        i64::from(self.cell) + i64::from(GAP + title)
    }

    fn bar_width(&self) -> Result<i32, Error> {
        Ok(if self.bar()?.is_some() { BAR } else { 0 })
    }
}

impl Draw for Panel {
    fn size(&self) -> Result<(u32, u32), Error> {
        if self.rows.is_empty() || self.columns.is_empty() {
            return Err(Error::Draw("the panel has no rows or no columns".into()));
        }
        let (columns, lines) = self.grid();
        let width = columns as i64 * (i64::from(self.cell) + i64::from(GAP));
        let beside = self.label_width()? + self.bar_width()? + 2 * MARGIN - GAP;
        let wrapped = lines > self.rows.len();
        let above = 2 * MARGIN - GAP + if wrapped { 0 } else { TITLE };
        let size = |drawings: i64, rest: i32| {
            u32::try_from(drawings + i64::from(rest))
                .map_err(|_| Error::Draw("the panel is too large".into()))
        };
        Ok((
            size(width, beside)?,
            size(lines as i64 * self.line(), above)?,
        ))
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), Error> {
        let (width, height) = area.dim_in_pixel();
        let cell = self.cell as i32;
        let left = MARGIN + self.label_width()?;
        let (per_line, lines) = self.grid();
        let wrapped = lines > self.rows.len();
        let place = |row: usize, column: usize| {
            let line = if wrapped { column / per_line } else { row };
            let x = left + (column % per_line) as i32 * (cell + GAP);
            (x, MARGIN + TITLE + (line as i64 * self.line()) as i32)
        };
        for (c, title) in self.columns.iter().enumerate() {
            let (x, top) = place(0, c);
            let at = (x + cell / 2, top - TITLE / 2);
            let title = shortened(title, cell + GAP / 2)?;
            area.draw_text(&title, &text(HPos::Center), at)
                .map_err(draw_error)?;
        }
        for (r, (label, drawings)) in self.rows.iter().enumerate() {
            let (_, top) = place(r, 0);
            let count = label.lines().count().max(1) as i32;
            for (line, label) in label.lines().enumerate() {
                let y = top + cell / 2 + (2 * line as i32 - count + 1) * 10;
                area.draw_text(label, &text(HPos::Left), (MARGIN, y))
                    .map_err(draw_error)?;
            }
            for (c, drawing) in drawings.iter().enumerate() {
                let scaled = self.scaled(&drawing.image);
                let (w, h) = (scaled.width() as i32, scaled.height() as i32);
                let (x, top) = place(r, c);
                let (x, y) = (x + (cell - w) / 2, top + (cell - h) / 2);
                picture(area, scaled, (x, y))?;
                let outline = Rectangle::new([(x - 1, y - 1), (x + w, y + h)], LINE);
                area.draw(&outline).map_err(draw_error)?;
            }
        }
        if let Some(style) = self.bar()? {
            let top = MARGIN + TITLE;
            let x = width as i32 - MARGIN - BAR + GAP;
            color_bar(area, style, x, top, height as i32 - MARGIN - top)?;
        }
        Ok(())
    }
}

/// Draws an image with its upper left corner at a point.
pub(crate) fn picture<DB: DrawingBackend>(
    area: &Area<DB>,
    image: RgbImage,
    at: (i32, i32),
) -> Result<(), Error> {
    let element = BitMapElement::with_owned_buffer(at, image.dimensions(), image.into_raw());
    let element = element.ok_or(Error::Draw("a drawing has no pixels".into()))?;
    area.draw(&element).map_err(draw_error)
}

/// Draws the colours from the largest value, on top, to the smallest, with their numbers.
fn color_bar<DB: DrawingBackend>(
    area: &Area<DB>,
    style: &Style,
    x: i32,
    top: i32,
    height: i32,
) -> Result<(), Error> {
    let (least, largest) = style.range();
    for i in 0..height {
        let value = largest - (largest - least) * i as f32 / (height - 1).max(1) as f32;
        let [r, g, b] = style.color(value);
        let line = [(x, top + i), (x + 14, top + i + 1)];
        let filled = Rectangle::new(line, RGBColor(r, g, b).filled());
        area.draw(&filled).map_err(draw_error)?;
    }
    let middle = (least + largest) / 2.0;
    let marks = [(largest, 0), (middle, height / 2), (least, height)];
    for (value, offset) in marks {
        let inside = (top + offset).min(top + height - 7).max(top + 7);
        let label = format!("{value:+.1}").replace("+0.0", "0");
        let style = text(HPos::Left);
        area.draw_text(&label, &style, (x + 20, inside))
            .map_err(draw_error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Figure, Map, View};

    fn drawing() -> Drawing {
        let map = Map::new(vec![1.0, 0.0, -1.0, 0.5], 2, 2).unwrap();
        View::HeatMap.draw(&map, None, &Style::default()).unwrap()
    }

    #[test]
    fn a_panel_shows_its_drawings_titles_and_bar() {
        let mut panel = Panel::new(["one", "two"]).with_cell(40);
        panel.row("label", vec![drawing(), drawing()]).unwrap();
        let image = panel.to_image().unwrap();
        let png = image::load_from_memory(&panel.to_png().unwrap())
            .unwrap()
            .to_rgb8();
        assert_eq!(png, image);
        // The first drawing's upper left pixel, 20 times enlarged, below the title.
        let corner = drawing().image().get_pixel(0, 0).0;
        let found = image.pixels().filter(|p| p.0 == corner).count();
        assert!(found >= 2 * 20 * 20, "{found} pixels of {corner:?}");
        let dark = image.pixels().filter(|p| p.0 == [0; 3]).count();
        assert!(dark > 20, "titles and labels are drawn");
    }

    #[test]
    fn long_rows_and_empty_panels_are_refused() {
        let mut panel = Panel::new(["one", "two"]);
        let long = panel.row("", vec![drawing(), drawing(), drawing()]);
        assert!(matches!(
            long,
            Err(Error::Columns {
                expected: 2,
                got: 3
            })
        ));
        assert!(matches!(panel.to_image(), Err(Error::Draw(_))));
        panel.row("short", vec![drawing()]).unwrap();
        assert!(panel.to_image().is_ok());
    }

    #[test]
    fn tiny_and_mixed_panels() {
        let mut tiny = Panel::new(["one"]).with_cell(0);
        tiny.row("", vec![drawing()]).unwrap();
        assert!(tiny.to_image().is_ok());
        let map = Map::new(vec![1.0], 1, 1).unwrap();
        let style = Style::default().with_sign(crate::Sign::Positive);
        let other = View::HeatMap.draw(&map, None, &style).unwrap();
        let mut mixed = Panel::new(["one", "two"]);
        mixed.row("", vec![drawing(), other]).unwrap();
        assert!(matches!(mixed.to_image(), Err(Error::MixedSigns)));
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let mut panel = Panel::new(["one"]).with_cell(20);
        panel.row("", vec![drawing()]).unwrap();
        let missing = Path::new("no such folder").join("panel.png");
        assert!(matches!(panel.save(&missing), Err(Error::Write { .. })));
        let path = std::env::temp_dir().join(format!("attr-panel-{}.png", std::process::id()));
        panel.save(&path).unwrap();
        let written = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(written, panel.to_png().unwrap());
    }
}
