//! What the charts of features share: a column of names and a horizontal axis.

use std::ops::Range;

use attr_core::Feature;
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::Error;
use crate::figure::{
    Area, LINE, MARGIN, by_sign, draw_error, heading, number, shortened, signed, text, widest,
};

/// The height of a bar's line in pixels.
pub(super) const ROW: i32 = 26;
/// The width of the plot in pixels, without names.
const PLOT: i32 = 420;
/// The space for numbers on either side of the plot.
const SIDE: i32 = 76;
/// The widest column of names in pixels; longer names are shortened.
const NAMES: i32 = 260;
const TITLE: i32 = 34;
const BELOW: i32 = 52;

/// The frame of a chart with one line for each feature.
pub(super) struct Frame<'a> {
    pub title: &'a str,
    /// What the horizontal axis shows.
    pub axis: &'a str,
    pub names: Vec<String>,
    pub range: Range<f64>,
    /// The height of a line in pixels.
    pub row: i32,
}

/// Where to draw in a frame.
pub(super) struct Plot {
    axis: RangedCoordf64,
    left: i32,
    top: i32,
    row: i32,
}

impl Plot {
    pub fn x(&self, value: f64) -> i32 {
        self.axis.map(&value, (self.left, self.left + PLOT))
    }

    /// The middle of a feature's line.
    pub fn y(&self, line: usize) -> i32 {
        self.top + line as i32 * self.row + self.row / 2
    }

    /// The top of a feature's line, or the bottom of the one before.
    pub fn edge(&self, line: usize) -> i32 {
        self.top + line as i32 * self.row
    }
}

impl Plot {
    /// Draws a bar in a feature's line, in the colour of its sign.
    pub fn bar<DB: DrawingBackend>(
        &self,
        area: &Area<DB>,
        line: usize,
        (from, to): (f64, f64),
    ) -> Result<(), Error> {
        let (start, end, y) = (self.x(from), self.x(to), self.y(line));
        let half = self.row / 3;
        let corners = [(start.min(end), y - half), (start.max(end), y + half)];
        let filled = Rectangle::new(corners, by_sign(to - from).filled());
        area.draw(&filled).map_err(draw_error)
    }

    /// Writes a contribution beside the end `x` of its bar: left of it if it is negative.
    pub fn contribution<DB: DrawingBackend>(
        &self,
        area: &Area<DB>,
        line: usize,
        (x, color): (i32, RGBColor),
        value: f64,
    ) -> Result<(), Error> {
        let (position, at) = if value < 0.0 {
            (HPos::Right, x - 6)
        } else {
            (HPos::Left, x + 6)
        };
        let style = text(position).color(&color);
        area.draw_text(&signed(value), &style, (at, self.y(line)))
            .map_err(draw_error)
    }
}

impl Frame<'_> {
    fn names_width(&self) -> Result<i32, Error> {
        Ok(widest(self.names.iter().map(String::as_str))?.min(NAMES))
    }

    fn top(&self) -> i32 {
        MARGIN + if self.title.is_empty() { 0 } else { TITLE }
    }

    pub fn size(&self) -> Result<(u32, u32), Error> {
        if self.names.is_empty() {
            return Err(Error::Draw("the chart has no features".into()));
        }
        let width = 2 * MARGIN + self.names_width()? + 2 * SIDE + PLOT;
        let height = self.names.len() as i64 * i64::from(self.row) + i64::from(self.top() + BELOW);
        let height = u32::try_from(height);
        let height = height.map_err(|_| Error::Draw("the chart has too many features".into()))?;
        Ok((width as u32, height))
    }

    /// Draws title, names and axis.
    pub fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<Plot, Error> {
        let names = self.names_width()?;
        let top = self.top();
        let bottom = top + self.names.len() as i32 * self.row;
        let plot = Plot {
            axis: RangedCoordf64::from(self.range.clone()),
            left: MARGIN + names + SIDE,
            top,
            row: self.row,
        };
        if !self.title.is_empty() {
            let width = area.dim_in_pixel().0 as i32 - 2 * MARGIN;
            let title = shortened(self.title, width * 9 / 10)?;
            area.draw_text(&title, &heading(), (MARGIN, MARGIN + TITLE / 3))
                .map_err(draw_error)?;
        }
        for mark in plot.axis.key_points(6) {
            let x = plot.x(mark);
            let line = PathElement::new([(x, top), (x, bottom + 4)], LINE.mix(0.5));
            area.draw(&line).map_err(draw_error)?;
            area.draw_text(&axis_number(mark), &text(HPos::Center), (x, bottom + 15))
                .map_err(draw_error)?;
        }
        let ends = [(plot.left, bottom), (plot.left + PLOT, bottom)];
        area.draw(&PathElement::new(ends, LINE))
            .map_err(draw_error)?;
        let middle = (plot.left + PLOT / 2, bottom + 36);
        area.draw_text(self.axis, &text(HPos::Center), middle)
            .map_err(draw_error)?;
        for (i, name) in self.names.iter().enumerate() {
            let shown = shortened(name, names)?;
            let at = (MARGIN + names, plot.y(i));
            area.draw_text(&shown, &text(HPos::Right), at)
                .map_err(draw_error)?;
        }
        Ok(plot)
    }
}

/// A mark of an axis: a round number.
pub(super) fn axis_number(value: f64) -> String {
    let rounded = (value * 1e9).round() / 1e9;
    if rounded == 0.0 || (1e-4..1e6).contains(&rounded.abs()) {
        format!("{rounded}").replace('-', "\u{2212}")
    } else {
        number(value)
    }
}

/// A range that holds all values and 0, with some space; never empty.
pub(super) fn around(values: impl IntoIterator<Item = f64>) -> Range<f64> {
    let (low, high) = values
        .into_iter()
        .fold((0f64, 0f64), |(low, high), v| (low.min(v), high.max(v)));
    if low == high {
        return -1.0..1.0;
    }
    let space = (high - low) * 0.04;
    let low = if low < 0.0 { low - space } else { low };
    let high = if high > 0.0 { high + space } else { high };
    low..high
}

/// The features' names; a place in the input for those without one.
pub(super) fn name(feature: &Feature) -> String {
    if !feature.name.is_empty() {
        return feature.name.clone();
    }
    match feature.index[..] {
        [index] => format!("feature {index}"),
        _ => format!("{:?}", feature.index),
    }
}

/// Refuses numbers that have no place on an axis.
pub(super) fn finite(values: impl IntoIterator<Item = f64>) -> Result<(), Error> {
    if values.into_iter().all(f64::is_finite) {
        Ok(())
    } else {
        Err(Error::NonFinite {
            what: "the attribution",
        })
    }
}
