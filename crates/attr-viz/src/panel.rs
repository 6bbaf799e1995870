//! Several drawings side by side, with titles, labels and a colour bar, as one PNG.

use std::io::Cursor;
use std::path::Path;
use std::sync::OnceLock;

use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, TextStyle, register_font};

use crate::{Drawing, Error, Style};

/// A table of drawings.
#[derive(Clone, Debug)]
pub struct Panel {
    columns: Vec<String>,
    rows: Vec<(String, Vec<Drawing>)>,
    cell: u32,
}

const MARGIN: i32 = 16;
const GAP: i32 = 12;
const TITLE: i32 = 30;
const FONT: &str = "DejaVu Sans";
const TEXT: f64 = 15.0;

impl Panel {
    /// Creates an empty panel with a title for each column.
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = T>) -> Self {
        Self {
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            cell: 160,
        }
    }

    /// Sets the width and height of a drawing in pixels, from 1 to 4096; 160 by default.
    pub fn with_cell(mut self, pixels: u32) -> Self {
        self.cell = pixels.clamp(1, 4096);
        self
    }

    /// Adds a row: its label and a drawing for each column.
    ///
    /// # Errors
    /// [`Error::Columns`] unless there is one drawing per column.
    pub fn row(&mut self, label: impl Into<String>, drawings: Vec<Drawing>) -> Result<(), Error> {
        if drawings.len() != self.columns.len() {
            return Err(Error::Columns {
                expected: self.columns.len(),
                got: drawings.len(),
            });
        }
        self.rows.push((label.into(), drawings));
        Ok(())
    }

    /// Renders the panel as an image.
    ///
    /// # Errors
    /// [`Error::Draw`] if there is nothing to draw or drawing fails.
    pub fn render(&self) -> Result<RgbImage, Error> {
        if self.rows.is_empty() || self.columns.is_empty() {
            return Err(Error::Draw("the panel has no rows or no columns".into()));
        }
        load_font()?;
        let cell = self.cell as i32;
        let labels = self.label_width()?;
        let bar = self.bar()?;
        let bar_width = if bar.is_some() { 70 } else { 0 };
        let width =
            2 * MARGIN + labels + self.columns.len() as i32 * (cell + GAP) - GAP + bar_width;
        let height = 2 * MARGIN + TITLE + self.rows.len() as i32 * (cell + GAP) - GAP;
        let bytes = i64::from(width) * i64::from(height) * 3;
        if bytes > i64::from(i32::MAX) {
            return Err(Error::Draw(format!(
                "{width} x {height} pixels are too many"
            )));
        }
        let mut buffer = vec![0u8; bytes as usize];
        {
            let size = (width as u32, height as u32);
            let backend = BitMapBackend::with_buffer_and_format(&mut buffer, size);
            let area = backend.map_err(draw_error)?.into_drawing_area();
            area.fill(&WHITE).map_err(draw_error)?;
            let left = MARGIN + labels;
            for (i, title) in self.columns.iter().enumerate() {
                let x = left + i as i32 * (cell + GAP) + cell / 2;
                let at = (x, MARGIN + TITLE / 2);
                let style = text(HPos::Center);
                area.draw_text(title, &style, at).map_err(draw_error)?;
            }
            for (r, (label, drawings)) in self.rows.iter().enumerate() {
                let top = MARGIN + TITLE + r as i32 * (cell + GAP);
                for (line, label) in label.lines().enumerate() {
                    let lines = label_lines(&self.rows[r].0);
                    let y = top + cell / 2 + (2 * line as i32 - lines + 1) * 10;
                    let at = (MARGIN, y);
                    let style = text(HPos::Left);
                    area.draw_text(label, &style, at).map_err(draw_error)?;
                }
                for (c, drawing) in drawings.iter().enumerate() {
                    let x = left + c as i32 * (cell + GAP);
                    let scaled = self.scaled(&drawing.image);
                    let size = scaled.dimensions();
                    let at = (
                        x + (cell - size.0 as i32) / 2,
                        top + (cell - size.1 as i32) / 2,
                    );
                    let element = BitMapElement::with_owned_buffer(at, size, scaled.into_raw());
                    let element = element.ok_or(Error::Draw("a drawing has no pixels".into()))?;
                    area.draw(&element).map_err(draw_error)?;
                    let corner = (at.0 + size.0 as i32, at.1 + size.1 as i32);
                    let outline = [(at.0 - 1, at.1 - 1), corner];
                    let outline = Rectangle::new(outline, RGBColor(190, 190, 190));
                    area.draw(&outline).map_err(draw_error)?;
                }
            }
            if let Some(style) = bar {
                let top = MARGIN + TITLE;
                let x = width - MARGIN - bar_width + 12;
                color_bar(&area, &style, x, top, height - MARGIN - top)?;
            }
            area.present().map_err(draw_error)?;
        }
        RgbImage::from_raw(width as u32, height as u32, buffer)
            .ok_or(Error::Draw("the picture has the wrong size".into()))
    }

    /// Encodes the panel as the content of a PNG file.
    ///
    /// # Errors
    /// Those of [`render`](Self::render).
    pub fn to_png(&self) -> Result<Vec<u8>, Error> {
        let mut png = Cursor::new(Vec::new());
        let image = self.render()?;
        image
            .write_to(&mut png, ImageFormat::Png)
            .map_err(draw_error)?;
        Ok(png.into_inner())
    }

    /// Writes the panel to a PNG file, which appears only when complete.
    ///
    /// # Errors
    /// Those of [`render`](Self::render), and [`Error::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let png = self.to_png()?;
        let beside = path.with_extension("png.partial");
        let written = std::fs::write(&beside, png).and_then(|()| std::fs::rename(&beside, path));
        written.map_err(|source| Error::Write {
            path: path.to_path_buf(),
            source,
        })
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
    fn bar(&self) -> Result<Option<Style>, Error> {
        let mut bars = self
            .rows
            .iter()
            .flat_map(|row| &row.1)
            .filter_map(|d| d.bar);
        let first = bars.next();
        if first.is_some_and(|first| bars.any(|bar| bar.sign != first.sign)) {
            Err(Error::MixedSigns)
        } else {
            Ok(first)
        }
    }

    fn label_width(&self) -> Result<i32, Error> {
        let lines = self.rows.iter().flat_map(|row| row.0.lines());
        let font = (FONT, TEXT).into_font();
        let mut widest = 0;
        for line in lines {
            let (width, _) = font.box_size(line).map_err(draw_error)?;
            widest = widest.max(width as i32 + GAP);
        }
        Ok(widest)
    }
}

fn label_lines(label: &str) -> i32 {
    label.lines().count().max(1) as i32
}

fn text(position: HPos) -> TextStyle<'static> {
    let style = TextStyle::from((FONT, TEXT).into_font()).color(&BLACK);
    style.pos(Pos::new(position, VPos::Center))
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

/// Draws the colours from the largest value, on top, to the smallest, with their numbers.
fn color_bar(area: &Area<'_>, style: &Style, x: i32, top: i32, height: i32) -> Result<(), Error> {
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

/// Registers the embedded font with the plotting library, once.
fn load_font() -> Result<(), Error> {
    static LOADED: OnceLock<bool> = OnceLock::new();
    let load = || register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).is_ok();
    if *LOADED.get_or_init(load) {
        Ok(())
    } else {
        Err(Error::Draw("the embedded font cannot be read".into()))
    }
}

fn draw_error(error: impl std::fmt::Display) -> Error {
    Error::Draw(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Map, View};

    fn drawing() -> Drawing {
        let map = Map::new(vec![1.0, 0.0, -1.0, 0.5], 2, 2).unwrap();
        View::HeatMap.draw(&map, None, &Style::default()).unwrap()
    }

    #[test]
    fn a_panel_shows_its_drawings_titles_and_bar() {
        let mut panel = Panel::new(["one", "two"]).with_cell(40);
        panel.row("label", vec![drawing(), drawing()]).unwrap();
        let image = panel.render().unwrap();
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
    fn wrong_rows_and_empty_panels_are_refused() {
        let mut panel = Panel::new(["one", "two"]);
        let short = panel.row("", vec![drawing()]);
        assert!(matches!(
            short,
            Err(Error::Columns {
                expected: 2,
                got: 1
            })
        ));
        assert!(matches!(panel.render(), Err(Error::Draw(_))));
    }

    #[test]
    fn tiny_and_mixed_panels() {
        let mut tiny = Panel::new(["one"]).with_cell(0);
        tiny.row("", vec![drawing()]).unwrap();
        assert!(tiny.render().is_ok());
        let map = Map::new(vec![1.0], 1, 1).unwrap();
        let style = Style::default().with_sign(crate::Sign::Positive);
        let other = View::HeatMap.draw(&map, None, &style).unwrap();
        let mut mixed = Panel::new(["one", "two"]);
        mixed.row("", vec![drawing(), other]).unwrap();
        assert!(matches!(mixed.render(), Err(Error::MixedSigns)));
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
