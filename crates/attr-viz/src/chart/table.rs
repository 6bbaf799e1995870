//! A table whose cells are coloured by rank.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::Error;
use crate::figure::{Area, Draw, LINE, MARGIN, draw_error, heading, shortened, text, widest};

/// The height of a line in pixels.
const ROW: i32 = 30;
const TITLE: i32 = 34;
/// The widest column in pixels; longer texts are shortened.
const WIDEST: i32 = 230;
/// Space on both sides of a cell's text.
const PAD: i32 = 10;
/// The colour of the best.
const BEST: RGBColor = RGBColor(116, 196, 118);

/// A table of texts, such as scores of methods (lines) by metrics (columns). A cell's colour shows its
/// rank within its column: the deeper the green, the better. Cells without a rank are white.
///
/// ```
/// use attr_viz::{Figure, Table};
///
/// # fn main() -> Result<(), attr_viz::Error> {
/// let mut table = Table::new(["deletion ↓", "abpc ↑"]);
/// table.push("saliency", [("0.31", Some(1.0)), ("0.12", Some(2.0))])?;
/// table.push("random", [("0.52", Some(2.0)), ("0.00", Some(1.0))])?;
/// let svg = table.with_title("digits").to_svg()?;
/// assert!(svg.contains("saliency"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    name: String,
    cells: Vec<(String, Option<f64>)>,
}

impl Table {
    /// Creates a table without lines.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self {
            title: String::new(),
            columns: columns.into_iter().map(Into::into).collect(),
            lines: Vec::new(),
        }
    }

    /// Appends a line: its name, and for each column a text and its rank, 1 for the best.
    ///
    /// # Errors
    /// [`Error::Draw`] for a number of cells other than that of columns.
    pub fn push<S: Into<String>>(
        &mut self,
        name: impl Into<String>,
        cells: impl IntoIterator<Item = (S, Option<f64>)>,
    ) -> Result<(), Error> {
        let cells = cells.into_iter().map(|(text, rank)| (text.into(), rank));
        let cells: Vec<(String, Option<f64>)> = cells.collect();
        if cells.len() != self.columns.len() {
            return Err(Error::Draw(format!(
                "a line of the table has {} cells, but there are {} columns",
                cells.len(),
                self.columns.len()
            )));
        }
        self.lines.push(Line {
            name: name.into(),
            cells,
        });
        Ok(())
    }

    /// Sets the title.
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// The widths of the column of names, and of the others.
    fn widths(&self) -> Result<(i32, Vec<i32>), Error> {
        if self.columns.is_empty() || self.lines.is_empty() {
            return Err(Error::Draw("the table is empty".into()));
        }
        let names = widest(self.lines.iter().map(|line| line.name.as_str()))?;
        let columns = self.columns.iter().enumerate().map(|(i, head)| {
            let cells = self.lines.iter().map(|line| line.cells[i].0.as_str());
            let widest = widest(cells.chain([head.as_str()]))?;
            Ok(widest.min(WIDEST) + 2 * PAD)
        });
        Ok((
            names.min(WIDEST) + PAD,
            columns.collect::<Result<_, Error>>()?,
        ))
    }

    fn top(&self) -> i32 {
        MARGIN + if self.title.is_empty() { 0 } else { TITLE }
    }

    /// How deep a rank's colour is: 1 for the best, 0 for the last.
    fn depth(&self, rank: Option<f64>) -> f64 {
        match (rank, self.lines.len()) {
            (Some(rank), lines @ 2..) => 1.0 - ((rank - 1.0) / (lines - 1) as f64).clamp(0.0, 1.0),
            _ => 0.0,
        }
    }
}

impl Draw for Table {
    fn size(&self) -> Result<(u32, u32), Error> {
        let (names, columns) = self.widths()?;
        let width = 2 * MARGIN + names + columns.iter().sum::<i32>();
        let lines = i64::try_from(self.lines.len() + 1);
        let lines = lines.map_err(|_| Error::Draw("the table has too many lines".into()))?;
        let height = i64::from(self.top() + MARGIN) + lines * i64::from(ROW);
        let height = u32::try_from(height);
        let height = height.map_err(|_| Error::Draw("the table has too many lines".into()))?;
        Ok((width as u32, height))
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), Error> {
        let (names, columns) = self.widths()?;
        if !self.title.is_empty() {
            let width = area.dim_in_pixel().0 as i32 - 2 * MARGIN;
            let title = shortened(&self.title, width * 9 / 10)?;
            area.draw_text(&title, &heading(), (MARGIN, MARGIN + TITLE / 3))
                .map_err(draw_error)?;
        }
        let write = |shown: &str, width: i32, position: HPos, at: (i32, i32)| {
            let shown = shortened(shown, width)?;
            area.draw_text(&shown, &text(position), at)
                .map_err(draw_error)
        };
        let top = self.top();
        for (i, line) in self.lines.iter().enumerate() {
            let y = top + (i as i32 + 1) * ROW + ROW / 2;
            write(&line.name, names - PAD, HPos::Left, (MARGIN, y))?;
        }
        let mut left = MARGIN + names;
        for (i, (head, &width)) in self.columns.iter().zip(&columns).enumerate() {
            let middle = left + width / 2;
            write(head, width - PAD, HPos::Center, (middle, top + ROW / 2))?;
            for (j, line) in self.lines.iter().enumerate() {
                let (shown, rank) = &line.cells[i];
                let y = top + (j as i32 + 1) * ROW;
                let corners = [(left, y), (left + width, y + ROW)];
                let fill = BEST.mix(self.depth(*rank)).filled();
                for style in [fill, LINE.stroke_width(1)] {
                    let cell = Rectangle::new(corners, style);
                    area.draw(&cell).map_err(draw_error)?;
                }
                write(shown, width - PAD, HPos::Center, (middle, y + ROW / 2))?;
            }
            left += width;
        }
        Ok(())
    }
}
