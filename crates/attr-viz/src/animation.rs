//! Moving pictures, such as the video of a latent shift.

use std::io::{Cursor, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use image::codecs::gif::{GifEncoder, Repeat};
use image::imageops::{self, FilterType};
use image::{Delay, Frame, RgbImage, RgbaImage};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::figure::{Area, Draw, Figure, draw_error, png_of, text};
use crate::file::write_whole;
use crate::panel::picture;
use crate::{Error, Picture};

/// Pictures in a row, shown forwards and back, without end.
///
/// Written as `.gif`, as animated `.png` (also `.apng`), or as `.mp4` where the program `ffmpeg` is
/// installed.
///
/// ```
/// use attr_viz::{Animation, Picture};
///
/// # fn main() -> Result<(), attr_viz::Error> {
/// let picture = |level: f32| Picture::gray(&[level; 4], 2, 2, 0.0..1.0);
/// let pictures = vec![picture(0.1)?, picture(0.5)?, picture(0.9)?];
/// let video = Animation::new(pictures).with_predictions(vec![0.1, 0.4, 0.8])?;
/// let gif = video.to_gif()?;
/// assert!(gif.starts_with(b"GIF89a"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Animation {
    pictures: Vec<Picture>,
    predictions: Vec<f32>,
    width: Option<u32>,
    frames_per_second: f64,
    back: bool,
    extra_loops: u32,
    watermark: Option<String>,
}

/// The height of the line with the prediction, and of the watermark's, in pixels.
const BAR: u32 = 30;
/// The narrowest frame, so that a prediction can be read, in pixels.
const NARROWEST: u32 = 160;

impl Animation {
    /// Creates an animation of pictures of the same size.
    pub fn new(pictures: Vec<Picture>) -> Self {
        Self {
            pictures,
            predictions: Vec::new(),
            width: None,
            frames_per_second: 10.0,
            back: true,
            extra_loops: 0,
            watermark: None,
        }
    }

    /// Shows a bar with the prediction, from 0 to 1, below each picture.
    ///
    /// # Errors
    /// [`Error::Columns`] unless there is one for each picture.
    pub fn with_predictions(mut self, predictions: Vec<f32>) -> Result<Self, Error> {
        if predictions.len() != self.pictures.len() {
            return Err(Error::Columns {
                expected: self.pictures.len(),
                got: predictions.len(),
            });
        }
        self.predictions = predictions;
        Ok(self)
    }

    /// Sets the width of a frame in pixels; by default, small pictures are enlarged to at least 160.
    pub fn with_width(mut self, pixels: u32) -> Self {
        self.width = Some(pixels.clamp(1, 4096));
        self
    }

    /// Sets how many pictures are shown in a second; 10 by default.
    pub fn with_frames_per_second(mut self, frames: f64) -> Self {
        self.frames_per_second = frames;
        self
    }

    /// Starts again from the first picture instead of going back.
    pub fn forwards_only(mut self) -> Self {
        self.back = false;
        self
    }

    /// Repeats all pictures this many times more, for players that do not repeat; each time doubles
    /// the length, as in the authors' implementation.
    pub fn with_extra_loops(mut self, loops: u32) -> Self {
        self.extra_loops = loops;
        self
    }

    /// Writes a text below each picture.
    pub fn with_watermark(mut self, text: impl Into<String>) -> Self {
        self.watermark = Some(text.into());
        self
    }

    /// Draws the frames, in the order in which they are shown.
    ///
    /// # Errors
    /// [`Error::Draw`] without pictures, [`Error::Mismatch`] for pictures of different sizes,
    /// [`Error::NonFinite`] for predictions that are NaN, [`Error::Parameter`] for a rate out of
    /// range.
    pub fn frames(&self) -> Result<Vec<RgbImage>, Error> {
        let first = self.pictures.first();
        let first = first.ok_or(Error::Draw("the animation has no pictures".into()))?;
        if let Some(other) = self.pictures.iter().find(|p| p.size() != first.size()) {
            return Err(Error::Mismatch {
                map: first.size(),
                image: other.size(),
            });
        }
        if self.predictions.iter().any(|p| !p.is_finite()) {
            return Err(Error::NonFinite {
                what: "a prediction",
            });
        }
        if !(0.1..=100.0).contains(&self.frames_per_second) {
            return Err(Error::Parameter {
                name: "frames_per_second",
                value: self.frames_per_second.to_string(),
                expected: "it must lie between 0.1 and 100",
            });
        }
        let drawn = (0..self.pictures.len()).map(|i| {
            let frame = Shown {
                animation: self,
                index: i,
            };
            frame.to_image()
        });
        let mut frames = drawn.collect::<Result<Vec<_>, _>>()?;
        if self.back {
            frames.extend(frames.clone().into_iter().rev());
        }
        for _ in 0..self.extra_loops.min(8) {
            frames.extend(frames.clone());
        }
        Ok(frames)
    }

    /// Encodes the animation as the content of a GIF file, which repeats without end.
    ///
    /// # Errors
    /// As [`frames`](Self::frames).
    pub fn to_gif(&self) -> Result<Vec<u8>, Error> {
        let mut gif = Vec::new();
        {
            let mut encoder = GifEncoder::new(&mut gif);
            encoder.set_repeat(Repeat::Infinite).map_err(draw_error)?;
            let milliseconds = (1000.0 / self.frames_per_second).round() as u32;
            for frame in self.frames()? {
                let delay = Delay::from_numer_denom_ms(milliseconds, 1);
                let image = RgbaImage::from_fn(frame.width(), frame.height(), |x, y| {
                    let [r, g, b] = frame.get_pixel(x, y).0;
                    image::Rgba([r, g, b, 255])
                });
                let frame = Frame::from_parts(image, 0, 0, delay);
                encoder.encode_frame(frame).map_err(draw_error)?;
            }
        }
        Ok(gif)
    }

    /// Encodes the animation as the content of an animated PNG file, which repeats without end and
    /// keeps all colours.
    ///
    /// # Errors
    /// As [`frames`](Self::frames).
    pub fn to_apng(&self) -> Result<Vec<u8>, Error> {
        let frames = self.frames()?;
        let (width, height) = frames[0].dimensions();
        let mut file = Cursor::new(Vec::new());
        {
            let mut encoder = png::Encoder::new(&mut file, width, height);
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_depth(png::BitDepth::Eight);
            let count = frames.len() as u32;
            encoder.set_animated(count, 0).map_err(draw_error)?;
            let milliseconds = (1000.0 / self.frames_per_second).round() as u16;
            encoder
                .set_frame_delay(milliseconds, 1000)
                .map_err(draw_error)?;
            let mut writer = encoder.write_header().map_err(draw_error)?;
            for frame in frames {
                writer.write_image_data(&frame).map_err(draw_error)?;
            }
            writer.finish().map_err(draw_error)?;
        }
        Ok(file.into_inner())
    }

    /// Writes a `.gif`, `.png`, `.apng` or `.mp4` file, which appears only when complete.
    ///
    /// # Errors
    /// As [`frames`](Self::frames); [`Error::Write`]; [`Error::Parameter`] for another extension;
    /// [`Error::Video`] when `ffmpeg`, which writes `.mp4`, is missing or fails.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let extension = path.extension().map(|e| e.to_ascii_lowercase());
        match extension.as_deref().and_then(|e| e.to_str()) {
            Some("gif") => write_whole(path, &self.to_gif()?),
            Some("png" | "apng") => write_whole(path, &self.to_apng()?),
            Some("mp4") => write_whole(path, &self.to_mp4()?),
            _ => Err(Error::Parameter {
                name: "path",
                value: path.display().to_string(),
                expected: "an animation is written as .gif, .png, .apng or .mp4",
            }),
        }
    }

    /// Encodes the animation as the content of an MP4 file, by the program `ffmpeg`: H.264 in a
    /// form that browsers and phones play.
    ///
    /// # Errors
    /// As [`frames`](Self::frames); [`Error::Video`] when `ffmpeg` is missing or fails.
    pub fn to_mp4(&self) -> Result<Vec<u8>, Error> {
        let frames = self.frames()?;
        let failed = |error: std::io::Error| Error::Video(format!("ffmpeg: {error}"));
        let folder = tempfile::tempdir().map_err(failed)?;
        let video = folder.path().join("video.mp4");
        let rate = self.frames_per_second.to_string();
        // The sides must be even. No shell sees these arguments.
        let mut child = Command::new("ffmpeg")
            .args(["-loglevel", "error", "-y", "-f", "image2pipe"])
            .args(["-framerate", &rate, "-c:v", "png", "-i", "-"])
            .args(["-c:v", "libx264", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"])
            .args(["-profile:v", "baseline", "-level", "3.0"])
            .args(["-pix_fmt", "yuv420p", "-movflags", "+faststart"])
            .arg(&video)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Error::Video(
                    "an .mp4 file needs the program ffmpeg, which is not installed; write a .gif \
                     or .png file instead"
                        .into(),
                ),
                _ => failed(error),
            })?;
        if let Some(mut input) = child.stdin.take() {
            for frame in &frames {
                // A program that has given up says why on its own.
                if input.write_all(&png_of(frame)?).is_err() {
                    break;
                }
            }
        }
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("it failed without a message");
            return Err(Error::Video(format!("ffmpeg: {last}")));
        }
        std::fs::read(&video).map_err(failed)
    }

    /// The size of a picture in a frame.
    fn scaled_size(&self) -> (u32, u32) {
        let (width, height) = self.pictures.first().map_or((1, 1), Picture::size);
        let (width, height) = (width as u32, height as u32);
        match self.width {
            Some(wanted) => (wanted, (height * wanted).div_ceil(width).max(1)),
            None => {
                let times = NARROWEST.div_ceil(width);
                (width * times, height * times)
            }
        }
    }
}

/// One frame of an animation.
struct Shown<'a> {
    animation: &'a Animation,
    index: usize,
}

impl Draw for Shown<'_> {
    fn size(&self) -> Result<(u32, u32), Error> {
        let (width, height) = self.animation.scaled_size();
        let bar = !self.animation.predictions.is_empty();
        let lines = u32::from(bar) + u32::from(self.animation.watermark.is_some());
        Ok((width, height + lines * BAR))
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), Error> {
        let (width, height) = self.animation.scaled_size();
        let original = &self.animation.pictures[self.index].0;
        let whole = width >= original.width() && width.is_multiple_of(original.width());
        let filter = if whole {
            FilterType::Nearest
        } else {
            FilterType::Triangle
        };
        let scaled = imageops::resize(original, width, height, filter);
        picture(area, scaled, (0, 0))?;
        let (width, mut top) = (width as i32, height as i32);
        if let Some(&prediction) = self.animation.predictions.get(self.index) {
            let label = format!("{prediction:.2}");
            let end = 6 + ((width - 60) as f32 * prediction.clamp(0.0, 1.0)).round() as i32;
            let full = [(6, top + 9), (width - 54, top + 21)];
            let outline = Rectangle::new(full, RGBColor(190, 190, 190));
            area.draw(&outline).map_err(draw_error)?;
            let filled = [(6, top + 9), (end, top + 21)];
            let filled = Rectangle::new(filled, RGBColor(33, 102, 172).filled());
            area.draw(&filled).map_err(draw_error)?;
            area.draw_text(&label, &text(HPos::Right), (width - 6, top + 15))
                .map_err(draw_error)?;
            top += BAR as i32;
        }
        if let Some(watermark) = &self.animation.watermark {
            area.draw_text(watermark, &text(HPos::Left), (6, top + 15))
                .map_err(draw_error)?;
        }
        Ok(())
    }
}
