//! Explains a few held-out digits with four methods and draws them side by side.
//!
//! `cargo run --release --example explain`

use std::time::{Duration, Instant};

use attr::gradient::{InputXGradient, IntegratedGradients, NoiseTunnel, Saliency};
use attr::viz::{Figure, Map, Panel, Picture, Sign, Style, View};
use attr::{Attribution, Method, Target, Traced};
use attr_examples::{Digits, DigitsNet};
use burn::tensor::{Device, Tensor, activation};

/// The digits to explain.
const SHOWN: [u8; 4] = [0, 3, 4, 7];

type Explained = Result<Attribution<Tensor<4>>, attr::Error>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let (_, held_out) = Digits::load()?.split();
    let numbers: Vec<usize> = SHOWN
        .iter()
        .filter_map(|digit| held_out.labels().iter().position(|label| label == digit))
        .collect();
    let (images, _) = held_out.batch(&numbers, &device);

    let net = DigitsNet::trained(&device)?;
    let model = Traced::new(&net, |net: &DigitsNet, x| net.forward(x), &images)?;

    let integrated = IntegratedGradients::new();
    let noisy = NoiseTunnel::new(integrated.clone())
        .with_samples(25)
        .with_stdevs([0.15]);
    let target = || Target::Predicted;
    let results = [
        (
            "saliency",
            timed(&|| Saliency::new().attribute(&model, &images, target()))?,
        ),
        (
            "input x gradient",
            timed(&|| InputXGradient::new().attribute(&model, &images, target()))?,
        ),
        (
            "integrated gradients",
            timed(&|| integrated.attribute(&model, &images, target()))?,
        ),
        (
            "smoothed (noise tunnel)",
            timed(&|| noisy.attribute(&model, &images, target()))?,
        ),
    ];

    println!(
        "{:<26} {:>10} {:>18} {:>16}",
        "method", "time", "largest |delta|", "rows evaluated"
    );
    for (name, (attribution, time)) in &results {
        let delta = attribution
            .delta()
            .map(|d| d.iter().fold(0f32, |m, d| m.max(d.abs())));
        let delta = delta.map_or("-".into(), |d| format!("{d:.1e}"));
        let rows = attribution.work().forward_rows;
        println!(
            "{name:<26} {:>7.2} ms {delta:>18} {rows:>16}",
            time.as_secs_f64() * 1e3
        );
    }

    let probabilities = activation::softmax(net.forward(images.clone()), 1);
    let (confidence, predicted) = probabilities.max_dim_with_indices(1);
    let confidence: Vec<f32> = confidence.into_data().iter::<f32>().collect();
    let predicted: Vec<i64> = predicted.into_data().iter::<i64>().collect();

    let titles = results.iter().map(|r| r.0);
    let titles = ["held-out digit"]
        .into_iter()
        .chain(titles)
        .chain(["smoothed, over the digit"]);
    let mut panel = Panel::new(titles);
    let originals = images.clone().into();
    for row in 0..numbers.len() {
        let (label, class) = (held_out.labels()[numbers[row]], predicted[row]);
        println!(
            "digit {label}: predicted {class} with probability {:.3}",
            confidence[row]
        );
        // White paper, dark ink.
        let picture = Picture::from_value(&originals, row, 0.0..1.0)?.inverted();
        let style = Style::default()
            .with_sign(Sign::All)
            .with_alpha_overlay(0.6);
        let maps: Vec<Map> = results
            .iter()
            .map(|(_, (attribution, _))| Map::from_value(&attribution.attribution().into(), row))
            .collect::<Result<_, _>>()?;
        let mut drawings = vec![View::Original.draw(&maps[0], Some(&picture), &style)?];
        for map in &maps {
            drawings.push(View::HeatMap.draw(map, None, &style)?);
        }
        drawings.push(View::BlendedHeatMap.draw(&maps[3], Some(&picture), &style)?);
        let label = format!("predicted {class}\np = {:.3}", confidence[row]);
        panel.row(label, drawings)?;
    }
    let path = std::env::current_dir()?.join("explain.png");
    panel.save(&path)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Runs a method once to warm up, then once on the clock.
fn timed(
    method: &dyn Fn() -> Explained,
) -> Result<(Attribution<Tensor<4>>, Duration), attr::Error> {
    method()?;
    let start = Instant::now();
    let attribution = method()?;
    Ok((attribution, start.elapsed()))
}
