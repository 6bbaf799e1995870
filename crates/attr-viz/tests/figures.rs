//! Every figure beside its reference picture in `tests/figures`.
//!
//! A picture fits if at most one pixel in a thousand differs visibly: fonts and lines are rasterised
//! with floating-point numbers. The actual picture of a figure that does not fit is written beside
//! the test program. `ATTR_BLESS=1` writes the references anew; look at them.

use std::path::Path;

use attr_core::{Feature, Row, Value};
use attr_viz::{
    Animation, Bars, Beeswarm, Curve, Curves, Figure, Frame, Map, Opaque, Panel, Picture, Series,
    SeriesView, Sign, Style, Table, Tokens, View, Waterfall,
};
use burn::tensor::{Device, Tensor};
use image::RgbImage;

type Drawn = Result<RgbImage, attr_viz::Error>;

/// Numbers that look like measurements, always the same.
fn wave(i: usize, phase: f32) -> f32 {
    let t = i as f32;
    (t * 0.37 + phase).sin() * (1.0 + (t * 0.11).cos()) + 0.2 * (t * 1.7 + phase).sin()
}

fn row() -> Row {
    let features = [
        ("age = 39", 0.82, Some(0.05)),
        ("income = 51000", -0.41, Some(0.12)),
        ("number of rooms = 4", 0.13, None),
        (
            "distance to the next station, in walking minutes = 7",
            -0.05,
            Some(0.01),
        ),
        ("年齢 (no glyphs) = 3", 0.02, None),
    ];
    let features = features.map(|(name, value, standard_error)| Feature {
        name: name.into(),
        value,
        standard_error,
        ..Feature::default()
    });
    Row {
        score: 1.67,
        features: features.to_vec(),
        ..Row::default()
    }
}

fn many(count: usize) -> Row {
    let features = (0..count).map(|i| Feature {
        index: vec![i],
        value: wave(i, 0.5),
        ..Feature::default()
    });
    Row {
        features: features.collect(),
        ..Row::default()
    }
}

fn panel() -> Result<Panel, attr_viz::Error> {
    let (w, h) = (24, 18);
    let value = |i: usize| {
        let (x, y) = ((i % w) as f32 - 8.0, (i / w) as f32 - 9.0);
        (-(x * x + y * y) / 20.0).exp() - 0.6 * (-((x - 9.0).powi(2) + y * y) / 12.0).exp()
    };
    let map = Map::new((0..w * h).map(value).collect(), w, h)?;
    let shade: Vec<f32> = (0..w * h).map(|i| wave(i % w + i / w, 0.0)).collect();
    let picture = Picture::gray(&shade, w, h, -2.0..2.0)?;
    let style = Style::default();
    let mut panel = Panel::new([
        "input",
        "saliency",
        "a title that is far too long",
        "masked",
        "alpha",
    ]);
    let views = [
        View::Original,
        View::HeatMap,
        View::BlendedHeatMap,
        View::MaskedImage,
        View::AlphaScaling,
    ];
    for label in ["a cat\nclass 281", "größer"] {
        let drawings = views.map(|view| view.draw(&map, Some(&picture), &style));
        panel.row(label, drawings.into_iter().collect::<Result<_, _>>()?)?;
    }
    Ok(panel)
}

fn beeswarm() -> Result<Beeswarm, attr_viz::Error> {
    let rows: Vec<([f32; 4], [f32; 4])> = (0..150)
        .map(|i| {
            let values = [0, 1, 2, 3].map(|f| wave(i * (f + 3), f as f32));
            let attributions = [values[0], -0.5 * values[1], 0.1 * values[2].abs(), 0.0];
            (attributions, values)
        })
        .collect();
    let rows = rows.iter().map(|(a, v)| (a.as_slice(), v.as_slice()));
    Beeswarm::new(&["age", "income", "rooms", "nothing"], rows)
}

fn series(view: SeriesView) -> Result<Series, attr_viz::Error> {
    let device = Device::default();
    let data = |phase: f32| {
        let values: Vec<f32> = (0..120)
            .map(|i| wave(i % 60, phase + (i / 60) as f32))
            .collect();
        Value::from(Tensor::<1>::from_floats(&values[..], &device).reshape([1, 2, 60]))
    };
    let series = Series::new(&data(0.0), &data(2.0), 0)?;
    Ok(series
        .with_names(&["pressure", "temperature"])?
        .with_view(view))
}

fn curves() -> Result<Curves, attr_viz::Error> {
    let curve = |name: &str, rate: f64| {
        let points: Vec<(f64, f64)> = (0..=20)
            .map(|i| (f64::from(i) / 20.0, (-rate * f64::from(i) / 20.0).exp()))
            .collect();
        let band = points.iter().map(|(x, _)| 0.05 * x).collect();
        Curve::new(name, points).with_band(band)
    };
    Ok(
        Curves::new("part of the pixels removed", "score of the class")
            .with_title("Deletion")
            .with_curve(curve("lrp", 4.0)?)
            .with_curve(curve("saliency", 2.0)?)
            .with_curve(Curve::new("random", vec![(0.0, 1.0), (1.0, 0.1)])),
    )
}

fn tokens() -> Result<Tokens, attr_viz::Error> {
    let text = "The film was , all in all , a dull and far too long affair ; the <b>music</b> \
                alone was wonderful Ελληνικά кириллица 映画";
    let words: Vec<&str> = text.split_whitespace().collect();
    let weights = (0..words.len()).map(|i| wave(i, 1.0)).collect();
    Tokens::new(&words, weights)
}

/// One row of seven drawings in two lines.
fn wrapped() -> Drawn {
    let map = Map::new((0..64).map(|i| wave(i, 0.3)).collect(), 8, 8)?;
    let names = [
        "input", "saliency", "lrp", "lime", "gradcam", "deeplift", "xrai",
    ];
    let mut panel = Panel::new(names).with_wrap(5);
    let drawing = View::HeatMap.draw(&map, None, &Style::default())?;
    panel.row("predicted 285\nEgyptian cat", vec![drawing; 7])?;
    panel.to_image()
}

/// A frame of a video: a picture whose rest is dark, with boxes, its prediction and a watermark.
fn video() -> Drawn {
    let (w, h) = (40, 30);
    let shade: Vec<f32> = (0..w * h).map(|i| wave(i % w + i / w, 0.0)).collect();
    let picture = Picture::gray(&shade, w, h, -2.0..2.0)?;
    let spot = |i: usize| {
        let (x, y) = ((i % w) as f32 - 14.0, (i / w) as f32 - 12.0);
        (-(x * x + y * y) / 30.0).exp()
    };
    let map = Map::new((0..w * h).map(spot).collect(), w, h)?;
    let dark = picture.opaque(
        &map,
        &Opaque {
            kernel_size: 5,
            ..Opaque::default()
        },
    )?;
    let frame = |x, y, color| Frame { x, y, color };
    let boxes = [
        frame(6..22, 5..20, [255, 140, 0]),
        frame(24..60, 20..28, [0, 200, 255]),
    ];
    let video = Animation::new(vec![picture, dark.with_frames(&boxes)]);
    let video = video
        .with_predictions(vec![0.2, 0.8])?
        .with_watermark("attr");
    let frames = video.frames()?;
    assert_eq!(frames.len(), 4, "there and back");
    Ok(frames[1].clone())
}

/// The gallery: a name and a figure.
fn figures() -> Vec<(&'static str, Drawn)> {
    let flat = || {
        let map = Map::new(vec![0.0; 12], 4, 3)?;
        let mut panel = Panel::new(["nothing to show"]);
        panel.row("", vec![View::HeatMap.draw(&map, None, &Style::default())?])?;
        panel.to_image()
    };
    let positive = Style::default().with_sign(Sign::Positive);
    vec![
        ("panel", panel().and_then(|panel| panel.to_image())),
        ("panel_flat", flat()),
        ("panel_wrapped", wrapped()),
        ("video", video()),
        (
            "bars",
            Bars::new(&row().sorted())
                .with_title("Why class 1?")
                .to_image(),
        ),
        (
            "bars_many",
            Bars::new(&many(60).sorted()).with_most(12).to_image(),
        ),
        (
            "waterfall",
            Waterfall::new(&row(), 1.2)
                .with_title("House 17")
                .to_image(),
        ),
        ("waterfall_many", Waterfall::new(&many(30), 0.0).to_image()),
        (
            "beeswarm",
            beeswarm().and_then(|chart| chart.with_title("150 houses").to_image()),
        ),
        ("curves", curves().and_then(|chart| chart.to_image())),
        (
            "series_individual",
            series(SeriesView::OverlayIndividual).and_then(|c| c.to_image()),
        ),
        (
            "series_combined",
            series(SeriesView::OverlayCombined).and_then(|c| c.to_image()),
        ),
        (
            "series_colored",
            series(SeriesView::ColoredGraph)
                .and_then(|chart| chart.with_style(positive).to_image()),
        ),
        ("table", table().and_then(|table| table.to_image())),
        (
            "tokens",
            tokens().and_then(|text| text.with_title("A review").to_image()),
        ),
    ]
}

fn table() -> Result<Table, attr_viz::Error> {
    let mut table = Table::new(["deletion ↓", "a metric with a name that is far too long ↑"]);
    table.push(
        "saliency",
        [("0.312 ± 0.021", Some(2.0)), ("0.120", Some(1.0))],
    )?;
    table.push("lrp", [("0.298 ± 0.040", Some(1.0)), ("0.061", Some(2.0))])?;
    table.push("random", [("0.524 ± 0.011", Some(3.0)), ("-", None)])?;
    Ok(table.with_title("64 digits"))
}

#[test]
fn every_figure_is_its_reference() {
    let references = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/figures");
    let actual = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let bless = std::env::var_os("ATTR_BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, drawn) in figures() {
        let drawn = drawn.unwrap_or_else(|error| panic!("{name}: {error}"));
        let path = references.join(format!("{name}.png"));
        if bless {
            drawn.save(&path).unwrap();
        }
        let reference = image::open(&path).map(|image| image.to_rgb8());
        let differing = reference.ok().and_then(|reference| {
            let same = reference.dimensions() == drawn.dimensions();
            let pairs = reference.pixels().zip(drawn.pixels());
            let far = |(a, b): &(&image::Rgb<u8>, &image::Rgb<u8>)| {
                a.0.iter().zip(b.0).any(|(a, b)| a.abs_diff(b) > 48)
            };
            same.then(|| pairs.filter(far).count())
        });
        let allowed = drawn.pixels().len() / 1000;
        if differing.is_none_or(|count| count > allowed) {
            let path = actual.join(format!("{name}.png"));
            drawn.save(&path).unwrap();
            wrong.push(format!(
                "{name}: {differing:?} pixels differ, see {}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn figures_are_also_svg_with_text_and_pictures() {
    let svg = panel().unwrap().to_svg().unwrap();
    assert!(
        svg.contains("saliency") && svg.ends_with("</svg>\n"),
        "{}",
        &svg[svg.len() - 40..]
    );
    assert_eq!(svg.matches("<image ").count(), 10);
    let bars = Bars::new(&row()).with_title("<script>").to_svg().unwrap();
    assert!(bars.contains("income = 51000") && !bars.contains("<script>"));
    assert!(bars.contains("年齢"), "text stays text");
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let nan = Row {
        features: vec![Feature {
            value: f32::NAN,
            ..Feature::default()
        }],
        ..Row::default()
    };
    let figures: Vec<Drawn> = vec![
        Bars::new(&nan).to_image(),
        Waterfall::new(&nan, 0.0).to_image(),
        Bars::new(&Row::default()).to_image(),
        Table::new(["a"]).to_image(),
        Curves::new("x", "y").to_image(),
        Curves::new("x", "y")
            .with_curve(Curve::new("a", vec![(0.0, f64::NAN)]))
            .to_image(),
    ];
    for (i, drawn) in figures.into_iter().enumerate() {
        assert!(drawn.is_err(), "figure {i}");
    }
    let row = (&[1.0, 2.0][..], &[1.0][..]);
    assert!(Beeswarm::new(&["a", "b"], [row]).is_err());
    assert!(Tokens::new(&["a", "b"], vec![1.0]).is_err());
    assert!(Tokens::new(&[""; 0], vec![]).is_err());
    assert!(Table::new(["a", "b"]).push("one", [("1", None)]).is_err());
    assert!(Bars::new(&row_of_one()).save("chart.bmp").is_err());
}

fn row_of_one() -> Row {
    many(1)
}
