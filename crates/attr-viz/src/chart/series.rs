//! Time series with their attribution.

use attr_core::Value;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::figure::{
    Area, Draw, LINE, MARGIN, draw_error, heading, number, shortened, text, widest,
};
use crate::{Error, Map, Style};

/// How a time series is shown; names as in Captum's `visualize_timeseries_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeriesView {
    /// Each channel on axes of its own, its attribution as colours behind it.
    #[default]
    OverlayIndividual,
    /// All channels on common axes, the sum of their attributions behind them.
    OverlayCombined,
    /// Each channel as a line in the colours of its attribution.
    ColoredGraph,
}

/// A chart of one row of a time series and its attribution, both `[batch, channels, time]`, or
/// `[batch, time]` for one channel.
///
/// ```
/// use attr_core::Value;
/// use attr_viz::{Figure, Series};
/// use burn::tensor::{Device, Tensor};
///
/// # fn main() -> Result<(), attr_viz::Error> {
/// let device = Device::default();
/// let series = Tensor::<3>::from_floats([[[0.0, 1.0, 0.5, 0.2]]], &device);
/// let attribution = Tensor::<3>::from_floats([[[0.1, 2.0, -0.5, 0.0]]], &device);
/// let chart = Series::new(&Value::from(series), &Value::from(attribution), 0)?;
/// assert!(chart.with_names(&["pressure"])?.to_svg()?.contains("pressure"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Series {
    title: String,
    channels: Vec<Channel>,
    view: SeriesView,
    style: Style,
}

#[derive(Clone, Debug)]
struct Channel {
    name: String,
    values: Vec<f32>,
    attribution: Vec<f32>,
}

/// The size of one channel's plot in pixels.
const PLOT: (i32, i32) = (640, 110);
const GAP: i32 = 14;
/// The colours of channels on common axes: dark, to be seen on a heat map.
const LINES: [RGBColor; 5] = [
    BLACK,
    RGBColor(0, 110, 75),
    RGBColor(120, 60, 0),
    RGBColor(90, 20, 110),
    RGBColor(85, 85, 85),
];
const BELOW: i32 = 34;

impl Series {
    /// Creates a chart of one row.
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes or a missing row, [`Error::Mismatch`] when they differ,
    /// [`Error::NonFinite`] for NaN.
    pub fn new(series: &Value, attribution: &Value, row: usize) -> Result<Self, Error> {
        let values = channels(series, row)?;
        let attributions = channels(attribution, row)?;
        let size = |all: &[Vec<f32>]| (all[0].len(), all.len());
        if size(&values) != size(&attributions) {
            return Err(Error::Mismatch {
                map: size(&attributions),
                image: size(&values),
            });
        }
        let pairs = values.into_iter().zip(attributions).enumerate();
        Ok(Self {
            title: String::new(),
            channels: pairs
                .map(|(i, (values, attribution))| Channel {
                    name: format!("channel {i}"),
                    values,
                    attribution,
                })
                .collect(),
            view: SeriesView::default(),
            style: Style::default(),
        })
    }

    /// Names the channels.
    ///
    /// # Errors
    /// [`Error::Columns`] unless there is one name for each channel.
    pub fn with_names(mut self, names: &[impl AsRef<str>]) -> Result<Self, Error> {
        if names.len() != self.channels.len() {
            return Err(Error::Columns {
                expected: self.channels.len(),
                got: names.len(),
            });
        }
        for (channel, name) in self.channels.iter_mut().zip(names) {
            channel.name = name.as_ref().into();
        }
        Ok(self)
    }

    /// Sets the title.
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets how it is shown.
    pub fn with_view(mut self, view: SeriesView) -> Self {
        self.view = view;
        self
    }

    /// Sets colours, sign and saturation.
    pub fn with_style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }

    /// The normalised attributions behind each plot: one for each channel, or one for all.
    fn normalized(&self) -> Result<Vec<Vec<f32>>, Error> {
        let length = self.channels[0].values.len();
        let map = if self.view == SeriesView::OverlayCombined {
            let sum = |t: usize| self.channels.iter().map(|c| c.attribution[t]).sum();
            Map::new((0..length).map(sum).collect(), length, 1)?
        } else {
            let all = self.channels.iter().flat_map(|c| c.attribution.clone());
            Map::new(all.collect(), length, self.channels.len())?
        };
        let values = map.normalized(&self.style)?;
        Ok(values.chunks(length).map(<[f32]>::to_vec).collect())
    }

    /// The channels of each plot, by number.
    fn plots(&self) -> Vec<Vec<usize>> {
        let all = 0..self.channels.len();
        if self.view == SeriesView::OverlayCombined {
            vec![all.collect()]
        } else {
            all.map(|i| vec![i]).collect()
        }
    }

    fn names_width(&self) -> Result<i32, Error> {
        Ok(widest(self.channels.iter().map(|c| &c.name[..]))?.min(180) + GAP)
    }

    fn top(&self) -> i32 {
        MARGIN + if self.title.is_empty() { 0 } else { 30 }
    }
}

/// Returns the channels of one row.
fn channels(value: &Value, row: usize) -> Result<Vec<Vec<f32>>, Error> {
    let shape = value.shape();
    let (channels, length) = match shape[..] {
        [_, channels, length] => (channels, length),
        [_, length] => (1, length),
        _ => (0, 0),
    };
    if channels * length == 0 || row >= value.rows() {
        return Err(Error::Shape { shape, row });
    }
    let values = value.slice_rows(row..row + 1).to_vec()?;
    if values.iter().any(|v| !v.is_finite()) {
        return Err(Error::NonFinite {
            what: "the time series or its attribution",
        });
    }
    Ok(values.chunks(length).map(<[f32]>::to_vec).collect())
}

impl Draw for Series {
    fn size(&self) -> Result<(u32, u32), Error> {
        let plots = self.plots().len() as i64;
        let width = 2 * MARGIN + self.names_width()? + PLOT.0 + 70;
        let height = plots * i64::from(PLOT.1 + GAP) + i64::from(self.top() + BELOW);
        let height = u32::try_from(height);
        let height = height.map_err(|_| Error::Draw("too many channels".into()))?;
        Ok((width as u32, height))
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), Error> {
        if !self.title.is_empty() {
            let title = shortened(&self.title, PLOT.0)?;
            area.draw_text(&title, &heading(), (MARGIN, MARGIN + 10))
                .map_err(draw_error)?;
        }
        let normalized = self.normalized()?;
        let left = MARGIN + self.names_width()?;
        let length = self.channels[0].values.len();
        let x = |t: f64| left + (t / length as f64 * f64::from(PLOT.0)).round() as i32;
        let color = |value: f32| {
            let [r, g, b] = self.style.color(value);
            RGBColor(r, g, b)
        };
        for (p, (channels, colors)) in self.plots().iter().zip(&normalized).enumerate() {
            let top = self.top() + p as i32 * (PLOT.1 + GAP);
            let all = || channels.iter().flat_map(|&c| &self.channels[c].values);
            let low = all().copied().fold(f32::INFINITY, f32::min);
            let high = all().copied().fold(f32::NEG_INFINITY, f32::max);
            let span = if high > low { high - low } else { 1.0 };
            let inner = f32::from(PLOT.1 as i16 - 16);
            let y = |v: f32| top + 8 + ((high - v) / span * inner).round() as i32;
            let behind = self.view != SeriesView::ColoredGraph;
            // Channels that share axes are told apart by colour.
            let line_color = |c: usize| match self.view {
                SeriesView::OverlayCombined => LINES[c % LINES.len()],
                _ => BLACK,
            };
            if behind {
                for (t, &value) in colors.iter().enumerate() {
                    let corners = [(x(t as f64), top), (x(t as f64 + 1.0), top + PLOT.1)];
                    let filled = Rectangle::new(corners, color(value).filled());
                    area.draw(&filled).map_err(draw_error)?;
                }
            }
            let outline = [(left, top), (left + PLOT.0, top + PLOT.1)];
            area.draw(&Rectangle::new(outline, LINE))
                .map_err(draw_error)?;
            for &c in channels {
                let at = |t: usize| (x(t as f64 + 0.5), y(self.channels[c].values[t]));
                for t in 1..length {
                    let shade = if behind {
                        line_color(c)
                    } else {
                        color((colors[t - 1] + colors[t]) / 2.0)
                    };
                    let width = if behind { 2 } else { 3 };
                    let line = PathElement::new([at(t - 1), at(t)], shade.stroke_width(width));
                    area.draw(&line).map_err(draw_error)?;
                }
                if length == 1 {
                    let point = Circle::new(at(0), 3, BLACK.filled());
                    area.draw(&point).map_err(draw_error)?;
                }
            }
            let names: Vec<&str> = channels
                .iter()
                .map(|&c| &self.channels[c].name[..])
                .collect();
            for (i, name) in names.iter().enumerate() {
                let shown = shortened(name, left - MARGIN - GAP)?;
                let middle = 2 * i as i32 - names.len() as i32 + 1;
                let at = (left - GAP, top + PLOT.1 / 2 + middle * 9);
                let color = line_color(channels[i]);
                let style = text(HPos::Right).color(&color);
                area.draw_text(&shown, &style, at).map_err(draw_error)?;
            }
            for (value, at) in [(high, top + 8), (low, top + PLOT.1 - 8)] {
                let label = number(f64::from(value));
                area.draw_text(&label, &text(HPos::Left), (left + PLOT.0 + 6, at))
                    .map_err(draw_error)?;
            }
        }
        let bottom = self.top() + self.plots().len() as i32 * (PLOT.1 + GAP);
        for (label, at) in [(0, x(0.5)), (length - 1, x(length as f64 - 0.5))] {
            area.draw_text(&format!("{label}"), &text(HPos::Center), (at, bottom + 4))
                .map_err(draw_error)?;
        }
        Ok(())
    }
}
