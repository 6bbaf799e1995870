//! Normalisations and colour maps beside Captum's and zennit's, as `tools/golden/visualization.py`
//! has written them.

use std::collections::HashMap;
use std::path::Path;

use attr_viz::{Map, Palette, Scale, Sign, Style};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    captum: Captum,
    zennit: Zennit,
    crp: Crp,
}

#[derive(Deserialize)]
struct Crp {
    heats: HashMap<String, Array>,
    opaque: Vec<Filtered>,
}

#[derive(Deserialize)]
struct Filtered {
    heat: String,
    options: serde_json::Map<String, serde_json::Value>,
    filtered: Array,
}

#[derive(Deserialize)]
struct Captum {
    inputs: HashMap<String, Array>,
    maps: Vec<Normalized>,
    errors: Vec<Refused>,
    series: Vec<Normalized>,
}

#[derive(Deserialize)]
struct Normalized {
    input: String,
    sign: Sign,
    outlier_perc: f64,
    values: Array,
    method: Option<String>,
    channels_last: Option<bool>,
}

#[derive(Deserialize)]
struct Refused {
    input: String,
    sign: Sign,
    outlier_perc: f64,
    error: String,
}

#[derive(Deserialize)]
struct Zennit {
    positions: Vec<usize>,
    maps: HashMap<String, ColorMap>,
    levels: Vec<Level>,
    sources: Vec<Source>,
    inputs: HashMap<String, Array>,
    images: Vec<Imgify>,
}

#[derive(Deserialize)]
struct ColorMap {
    source: String,
    palette: Array,
}

#[derive(Deserialize)]
struct Level {
    map: String,
    level: f64,
    entries: Array,
}

#[derive(Deserialize)]
struct Source {
    source: String,
    palette: Option<Array>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Imgify {
    input: String,
    options: serde_json::Map<String, serde_json::Value>,
    mode: String,
    pixels: Array,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Array {
    fn floats(&self) -> Vec<f32> {
        self.data.iter().map(|v| *v as f32).collect()
    }

    /// The colours that the rows hold.
    fn colors(&self) -> Vec<[u8; 3]> {
        let bytes: Vec<u8> = self.data.iter().map(|v| *v as u8).collect();
        bytes.as_chunks::<3>().0.to_vec()
    }

    /// The map of an image `[height, width, channels]`, whose channels are summed, or of a table.
    fn map(&self) -> Map {
        let (height, width) = (self.shape[0], self.shape[1]);
        let channels = self.shape.get(2).copied().unwrap_or(1);
        let sums = self
            .data
            .chunks(channels)
            .map(|c| c.iter().sum::<f64>() as f32);
        Map::new(sums.collect(), width, height).unwrap()
    }

    /// The channels of a time series, or their sum at each time.
    fn series(&self, channels_last: bool, summed: bool) -> Map {
        let (rows, columns) = (self.shape[0], self.shape[1]);
        let (channels, length) = if channels_last {
            (columns, rows)
        } else {
            (rows, columns)
        };
        let at = |c: usize, t: usize| {
            self.data[if channels_last {
                t * columns + c
            } else {
                c * columns + t
            }]
        };
        let values: Vec<f32> = if summed {
            let sum = |t| (0..channels).map(|c| at(c, t)).sum::<f64>() as f32;
            (0..length).map(sum).collect()
        } else {
            let all = (0..channels).flat_map(|c| (0..length).map(move |t| (c, t)));
            all.map(|(c, t)| at(c, t) as f32).collect()
        };
        Map::new(values, length, if summed { 1 } else { channels }).unwrap()
    }
}

fn golden() -> Golden {
    let path = "../attr-testkit/golden/visualization.json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn check(what: &str, map: &Map, case: &Normalized) {
    let style = Style::default()
        .with_sign(case.sign)
        .with_outlier_perc(case.outlier_perc);
    let got = map.normalized(&style).unwrap();
    let expected = case.values.floats();
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(&expected) {
        assert!((got - expected).abs() <= 1e-6, "{what}: {got} {expected}");
    }
}

#[test]
fn maps_are_normalised_as_captums() {
    let golden = golden().captum;
    assert_eq!((golden.maps.len(), golden.series.len()), (65, 30));
    for case in &golden.maps {
        let what = format!("{}, {:?}, {}", case.input, case.sign, case.outlier_perc);
        check(&what, &golden.inputs[&case.input].map(), case);
    }
    for case in &golden.series {
        let summed = case.method.as_deref() == Some("overlay_combined");
        let input = &golden.inputs[&case.input];
        let map = input.series(case.channels_last == Some(true), summed);
        check(&format!("{} {:?}", case.input, case.method), &map, case);
    }
}

/// Captum refuses maps with nothing to show; here they are zero. Wrong percentages are errors.
#[test]
fn what_captum_refuses_is_zero_or_an_error() {
    let golden = golden().captum;
    assert!(golden.errors.len() >= 10);
    for case in &golden.errors {
        let style = Style::default()
            .with_sign(case.sign)
            .with_outlier_perc(case.outlier_perc);
        let got = golden.inputs[&case.input].map().normalized(&style);
        if case.error.contains("Percentile") {
            assert!(got.is_err(), "{}", case.error);
        } else {
            assert!(
                got.unwrap().iter().all(|v| *v == 0.0),
                "{}: {}",
                case.input,
                case.error
            );
        }
    }
}

#[test]
fn colour_maps_are_zennits() {
    let golden = golden().zennit;
    assert_eq!(golden.maps.len(), 11);
    for (name, map) in &golden.maps {
        let expected = map.palette.colors();
        let named: Palette = name.parse().unwrap();
        assert_eq!(named.colors()[..], expected, "{name}");
        let parsed: Palette = map.source.parse().unwrap();
        assert_eq!(parsed, named, "{name}");
    }
    for source in &golden.sources {
        let got = source.source.parse::<Palette>();
        match (&source.palette, &source.error, got) {
            (Some(expected), None, Ok(got)) => {
                assert_eq!(got.colors()[..], expected.colors(), "{}", source.source)
            }
            (None, Some(_), Err(_)) => {}
            (_, error, got) => panic!("{:?}: {error:?} {got:?}", source.source),
        }
    }
    for level in &golden.levels {
        let palette: Palette = level.map.parse().unwrap();
        let got = palette.with_level(level.level);
        let expected = level.entries.colors();
        for (&at, expected) in golden.positions.iter().zip(expected) {
            let far = |(a, b): (&u8, &u8)| a.abs_diff(*b) > 2;
            let got = got.colors()[at];
            assert!(
                !got.iter().zip(&expected).any(far),
                "{} at level {}, {at}: {got:?} {expected:?}",
                level.map,
                level.level
            );
        }
    }
}

/// zennit's `imgify` of single maps: the number of the colour of each pixel.
#[test]
fn scales_are_zennits() {
    let golden = golden().zennit;
    let mut checked = 0;
    let levels: Palette = "000,fff".parse().unwrap();
    for case in &golden.images {
        let plain = case.options.keys().all(|key| key == "symmetric");
        let input = &golden.inputs[&case.input];
        if !plain || case.mode != "P" || input.shape.len() != 2 || case.input == "bytes" {
            continue;
        }
        let symmetric = case.options.get("symmetric") == Some(&true.into());
        let scale = if symmetric {
            Scale::Symmetric
        } else {
            Scale::MinMax
        };
        let style = Style::default()
            .with_scale(scale)
            .with_palette(levels.clone());
        let map = input.map();
        let drawn = attr_viz::View::HeatMap.draw(&map, None, &style).unwrap();
        let got: Vec<u8> = drawn.image().pixels().map(|pixel| pixel.0[0]).collect();
        for (got, expected) in got.iter().zip(&case.pixels.data) {
            assert!(
                got.abs_diff(*expected as u8) <= 1,
                "{}: {got} {expected}",
                case.input
            );
        }
        checked += 1;
    }
    assert_eq!(checked, 2);
}

/// The blurred map by which zennit-crp decides what of an image is shown.
#[test]
fn maps_are_smoothed_as_zennit_crps() {
    let golden = golden().crp;
    assert_eq!(golden.opaque.len(), 10);
    for case in &golden.opaque {
        let kernel = case
            .options
            .get("kernel_size")
            .and_then(|size| size.as_u64());
        let map = golden.heats[&case.heat].map();
        let got = map.smoothed(kernel.unwrap_or(19) as usize).unwrap();
        for (got, expected) in got.values().iter().zip(case.filtered.floats()) {
            assert!(
                (got - expected).abs() < 1e-6,
                "{}: {got} {expected}",
                case.heat
            );
        }
    }
}
