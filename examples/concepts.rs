//! Explains digits by the concepts of a hidden layer: which channels matter, and where each of them
//! looks.
//!
//! `cargo run --release --example concepts`

use attr::prelude::*;
use attr_examples::{Digits, DigitsNet};
use burn::tensor::Device;

/// The digits to explain, the layer, and how many of its channels are shown for each.
const SHOWN: [u8; 3] = [3, 4, 7];
const LAYER: &str = "bn3.relu";
const TOP: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let (_, held_out) = Digits::load()?.split();
    let labels = held_out.labels();
    let numbers = SHOWN.map(|digit| labels.iter().position(|label| *label == digit));
    let numbers: Vec<usize> = numbers.into_iter().flatten().collect();
    let (images, _) = held_out.batch(&numbers, &device);
    let net = DigitsNet::trained(&device)?;
    let model = Traced::new(&net, |net: &DigitsNet, x| net.forward(x), &images)?;

    // Grey levels lie between 0 and 1.
    let crp = Crp::new(epsilon_gamma_box(0.0, 1.0));
    let rankings = crp.concepts(&model, &images, Target::Predicted, LAYER)?;
    let ranks = (1..=TOP).map(|rank| format!("channel {rank}"));
    let mut panel = Panel::new(["digit", "LRP"].map(String::from).into_iter().chain(ranks));
    for (row, ranking) in rankings.iter().enumerate() {
        println!("{ranking}");
        let image = images.clone().narrow(0, row, 1);
        let top = ranking.top(TOP);
        // No condition first: that is LRP.
        let conditions = top
            .iter()
            .map(|concept| Condition::at(LAYER, concept.channel));
        let conditions = std::iter::once(Condition::none()).chain(conditions);
        let crp = crp.clone().with_conditions(conditions);
        let found = crp.attribute(&model, &image, Target::Predicted)?;

        let digit = Picture::from_value(&image.into(), 0, 0.0..1.0)?.inverted();
        let style = Style::default().with_sign(Sign::All);
        let mut drawings = Vec::new();
        for map in found.maps() {
            let map = Map::from_value(&map.attribution().into(), 0)?;
            if drawings.is_empty() {
                drawings.push(View::Original.draw(&map, Some(&digit), &style)?);
            }
            drawings.push(View::HeatMap.draw(&map, None, &style)?);
        }
        let channels: Vec<String> = top.iter().map(|c| c.channel.to_string()).collect();
        panel.row(format!("channels\n{}", channels.join(", ")), drawings)?;
    }
    let path = std::env::current_dir()?.join("concepts.png");
    panel.save(&path)?;
    println!("wrote {}", path.display());
    Ok(())
}
