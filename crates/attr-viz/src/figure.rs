//! What every figure can do: become an image, a PNG or an SVG file.

use std::io::Cursor;
use std::path::Path;
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, TextStyle, register_font};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind,
};

use crate::Error;
use crate::file::write_whole;

/// The embedded font. It has Latin, Greek, Cyrillic, Arabic and Hebrew letters; a box stands for
/// any other, such as Chinese.
pub(crate) const FONT: &str = "DejaVu Sans";
/// The height of text in pixels.
pub(crate) const TEXT: f64 = 15.0;
/// The space around a figure in pixels.
pub(crate) const MARGIN: i32 = 16;

pub(crate) type Area<DB> = DrawingArea<DB, Shift>;

/// How a figure is drawn on any backend.
pub trait Draw {
    /// Width and height in pixels.
    ///
    /// # Errors
    /// Those of the figure: nothing to draw, or parameters out of range.
    fn size(&self) -> Result<(u32, u32), Error>;

    /// Draws on a white area of that size.
    ///
    /// # Errors
    /// As [`size`](Self::size), and those of the backend.
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), Error>;
}

/// A figure: every panel and chart of this crate.
///
/// # Errors
/// All functions: [`Error::Draw`] if there is nothing to draw or drawing fails; those of the figure.
pub trait Figure: Draw {
    /// Renders the figure as pixels.
    fn to_image(&self) -> Result<RgbImage, Error> {
        let (width, height) = checked_size(self)?;
        let mut buffer = vec![255u8; width as usize * height as usize * 3];
        {
            let backend = BitMapBackend::with_buffer(&mut buffer, (width, height));
            let area = backend.into_drawing_area();
            self.draw(&area)?;
            area.present().map_err(draw_error)?;
        }
        RgbImage::from_raw(width, height, buffer)
            .ok_or(Error::Draw("the picture has the wrong size".into()))
    }

    /// Encodes the figure as the content of a PNG file.
    fn to_png(&self) -> Result<Vec<u8>, Error> {
        png_of(&self.to_image()?)
    }

    /// Encodes the figure as the content of an SVG file. Text stays text; pictures are embedded.
    fn to_svg(&self) -> Result<String, Error> {
        let size = checked_size(self)?;
        let mut svg = String::new();
        let mut pictures = Vec::new();
        {
            let inner = SVGBackend::with_string(&mut svg, size);
            let backend = WithPictures {
                inner,
                pictures: &mut pictures,
            };
            let area = backend.into_drawing_area();
            area.fill(&WHITE).map_err(draw_error)?;
            self.draw(&area)?;
            area.present().map_err(draw_error)?;
        }
        let end = svg.rfind("</svg>").unwrap_or(svg.len());
        svg.insert_str(end, &pictures.concat());
        Ok(svg)
    }

    /// Writes a `.png` or `.svg` file, which appears only when complete.
    ///
    /// # Errors
    /// Also [`Error::Write`], and [`Error::Parameter`] for another extension.
    fn save(&self, path: impl AsRef<Path>) -> Result<(), Error>
    where
        Self: Sized,
    {
        let path = path.as_ref();
        let extension = path.extension().map(|e| e.to_ascii_lowercase());
        match extension.as_deref().and_then(|e| e.to_str()) {
            Some("png") => write_whole(path, &self.to_png()?),
            Some("svg") => write_whole(path, self.to_svg()?.as_bytes()),
            _ => Err(Error::Parameter {
                name: "path",
                value: path.display().to_string(),
                expected: "a figure is written as .png or .svg",
            }),
        }
    }
}

impl<T: Draw> Figure for T {}

/// More pixels than this are a mistake, such as a chart of a million bars.
const MOST_PIXELS: u64 = 1 << 28;

fn checked_size(figure: &(impl Draw + ?Sized)) -> Result<(u32, u32), Error> {
    load_font()?;
    let (width, height) = figure.size()?;
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(Error::Draw(format!(
            "{width} x {height} pixels are too many"
        )));
    }
    Ok((width, height))
}

pub(crate) fn png_of(image: &RgbImage) -> Result<Vec<u8>, Error> {
    let mut png = Cursor::new(Vec::new());
    image
        .write_to(&mut png, ImageFormat::Png)
        .map_err(draw_error)?;
    Ok(png.into_inner())
}

/// SVG with embedded pictures; the plotting library alone would draw a rectangle for each pixel.
struct WithPictures<'a> {
    inner: SVGBackend<'a>,
    pictures: &'a mut Vec<String>,
}

type Drawn<DB> = Result<(), DrawingErrorKind<<DB as DrawingBackend>::ErrorType>>;

impl<'a> DrawingBackend for WithPictures<'a> {
    type ErrorType = <SVGBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.inner.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn<Self> {
        self.inner.ensure_prepared()
    }

    fn present(&mut self) -> Drawn<Self> {
        self.inner.present()
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn<Self> {
        self.inner.draw_pixel(point, color)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn<Self> {
        self.inner.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn<Self> {
        self.inner.draw_rect(upper_left, bottom_right, style, fill)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn<Self> {
        self.inner.draw_path(path, style)
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn<Self> {
        self.inner.draw_circle(center, radius, style, fill)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        vert: I,
        style: &S,
    ) -> Drawn<Self> {
        self.inner.fill_polygon(vert, style)
    }

    fn draw_text<T: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &T,
        at: BackendCoord,
    ) -> Drawn<Self> {
        self.inner.draw_text(text, style, at)
    }

    fn estimate_text_size<T: BackendTextStyle>(
        &self,
        text: &str,
        style: &T,
    ) -> Result<(u32, u32), DrawingErrorKind<Self::ErrorType>> {
        self.inner.estimate_text_size(text, style)
    }

    fn blit_bitmap(
        &mut self,
        (x, y): BackendCoord,
        (width, height): (u32, u32),
        pixels: &[u8],
    ) -> Drawn<Self> {
        let failed = |error: Error| DrawingErrorKind::FontError(Box::new(error));
        let image = RgbImage::from_raw(width, height, pixels.to_vec());
        let image = image.ok_or(Error::Draw("a picture has the wrong size".into()));
        let png = image.and_then(|image| png_of(&image)).map_err(failed)?;
        self.pictures.push(format!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" \
             href=\"data:image/png;base64,{}\"/>\n",
            BASE64_STANDARD.encode(png)
        ));
        Ok(())
    }
}

/// Registers the embedded font with the plotting library, once.
fn load_font() -> Result<(), Error> {
    static LOADED: OnceLock<bool> = OnceLock::new();
    let load = || {
        register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).is_ok()
            && register_font(FONT, FontStyle::Bold, dejavu::sans::bold()).is_ok()
    };
    if *LOADED.get_or_init(load) {
        Ok(())
    } else {
        Err(Error::Draw("the embedded font cannot be read".into()))
    }
}

/// Black text, centred vertically.
pub(crate) fn text(position: HPos) -> TextStyle<'static> {
    let style = TextStyle::from((FONT, TEXT).into_font()).color(&BLACK);
    style.pos(Pos::new(position, VPos::Center))
}

/// A figure's title.
pub(crate) fn heading() -> TextStyle<'static> {
    let font = (FONT, TEXT + 2.0, FontStyle::Bold).into_font();
    let style = TextStyle::from(font).color(&BLACK);
    style.pos(Pos::new(HPos::Left, VPos::Center))
}

/// The width of the widest text in pixels.
pub(crate) fn widest<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<i32, Error> {
    load_font()?;
    let font = (FONT, TEXT).into_font();
    let mut widest = 0;
    for text in texts {
        let (width, _) = font.box_size(text).map_err(draw_error)?;
        widest = widest.max(width as i32);
    }
    Ok(widest)
}

/// Shortens a text to a width in pixels; an ellipsis shows that something is missing.
pub(crate) fn shortened(text: &str, width: i32) -> Result<String, Error> {
    let mut shown = text.replace(['\n', '\r', '\t'], " ");
    if widest([&shown[..]])? <= width {
        return Ok(shown);
    }
    while !shown.is_empty() && widest([&format!("{shown}…")[..]])? > width {
        shown.pop();
    }
    Ok(format!("{}…", shown.trim_end()))
}

/// A number as a label: with sign, short.
pub(crate) fn signed(value: f64) -> String {
    let number = number(value);
    if value > 0.0 {
        format!("+{number}")
    } else {
        number.replace('-', "\u{2212}")
    }
}

/// A number with three significant digits.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor();
    if !(-4.0..6.0).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let digits = (2.0 - magnitude).clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

pub(crate) fn draw_error(error: impl std::fmt::Display) -> Error {
    Error::Draw(error.to_string())
}

/// Two colours that people with every kind of colour vision tell apart, for contributions in favour
/// and against.
pub(crate) const POSITIVE: RGBColor = RGBColor(178, 24, 43);
pub(crate) const NEGATIVE: RGBColor = RGBColor(33, 102, 172);
pub(crate) const LINE: RGBColor = RGBColor(190, 190, 190);

/// The colour of a contribution.
pub(crate) fn by_sign(value: f64) -> RGBColor {
    if value < 0.0 { NEGATIVE } else { POSITIVE }
}
