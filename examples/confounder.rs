//! Finds what misleads a network, shows where it is, takes it out, and measures the network again.
//!
//! The scenes' network was trained on triangles that nearly all carry a magenta tag, and relies on it.
//! `cargo run --release --example confounder`

use attr::index::{DirectionSearch, Mode, References, Statistics, StrategySearch};
use attr::onnx::DirectionRemoval;
use attr::prelude::*;
use attr_examples::scenes::{self, Confounder, HELD_OUT, Scene, Scenes, Shape};
use burn::tensor::Device;

/// The class that is suspicious, and the layer whose channels are looked at.
const CLASS: usize = Shape::TAGGED as usize;
const LAYER: &str = "conv3";
/// The layer by which strategies are told apart.
const LATE: &str = "relu3";
/// The layer in which the confounder is taken out.
const EARLY: &str = "relu1";
/// The scenes that directions are found in; the network is measured on those behind them.
const EXAMPLES: usize = 200;
const MEASURED: usize = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let all = Scenes::new(HELD_OUT);
    let file = scenes::asset("scenes.onnx");
    let some = all.first(EXAMPLES, Confounder::AsTrained);
    let model = OnnxModel::open(&file, &device)?.trace(&values(&some, &device), None)?;

    // Find: which channels of the last convolution speak for triangles, and in which scenes most?
    let search = ReferenceSearch::new(epsilon_plus_flat(), LAYER);
    let (mut references, mut statistics) = (References::new(), Statistics::new());
    for (number, batch) in some.chunks(50).enumerate() {
        let samples: Vec<u64> = (0..batch.len()).map(|i| (50 * number + i) as u64).collect();
        let labels: Vec<usize> = batch.iter().map(Scene::label).collect();
        let found = search.measure(&model, &values(batch, &device), &samples, labels)?;
        references.add(&found);
        statistics.add(&found);
    }
    let mean = |concept: usize| {
        let own = statistics.of_target(LAYER, Mode::Relevance, concept, CLASS);
        own.map_or(0.0, |own| own.mean())
    };
    let concepts = 0..references.concepts(LAYER);
    let strongest = concepts.max_by(|&a, &b| mean(a).total_cmp(&mean(b)));
    let concept = strongest.ok_or("no concepts")?;
    println!(
        "channel {concept} of {LAYER} is the most relevant for triangles, {:.3} on average",
        mean(concept)
    );

    // Localise: how much of what it sees there is the tag?
    for reference in references
        .of_target(LAYER, Mode::Relevance, concept, CLASS)
        .iter()
        .take(3)
    {
        let scene = &some[reference.sample as usize];
        let condition = Condition::at(LAYER, concept);
        let share = in_tag(&model, scene, condition, &device)?;
        println!(
            "  scene {}: {:.0} % of it in the tag",
            reference.sample,
            100.0 * share
        );
    }

    // The same without a look at channels: the strategies by which triangles are recognised, half of
    // which have no tag.
    println!("in {} triangles, half of them with a tag:", 2 * EXAMPLES);
    for (size, tagged) in strategies(&model, &all, &device)? {
        println!("  {size} are recognised in the same way, {tagged} of them with a tag");
    }

    // The direction of the tag in an early layer: the same scenes with it and without it.
    let mut direction = DirectionSearch::new(EARLY);
    for (confounder, has_tag) in [(Confounder::Present, true), (Confounder::Absent, false)] {
        for batch in all.first(EXAMPLES, confounder).chunks(50) {
            direction.add(&model, &values(batch, &device), has_tag)?;
        }
    }
    let direction = direction.find()?;
    let tagged = all.scene(0, Confounder::Present);
    let share = in_tag(&model, &tagged, direction.condition(&device), &device)?;
    println!(
        "the tag's direction in {EARLY} sees {:.0} % in the tag, in a circle's scene",
        100.0 * share
    );

    // Remove it, and measure again on scenes that nothing was learned from.
    let removal = DirectionRemoval {
        layer: direction.layer,
        rank: direction.rank,
        channel_dim: direction.channel_dim,
        direction: direction.direction,
        to: direction.without,
    };
    let corrected = removal.apply(&file)?;
    let folder = file.parent().ok_or("a file without a folder")?;
    let corrected = OnnxModel::from_bytes(corrected, folder, &device)?;
    let corrected = corrected.trace(&values(&some, &device), None)?;
    println!("\ntags              correct          other shapes called triangle");
    for (name, confounder) in [
        ("in every scene", Confounder::Present),
        ("in none", Confounder::Absent),
        ("as in training", Confounder::AsTrained),
    ] {
        let numbers = EXAMPLES..EXAMPLES + MEASURED;
        let scenes: Vec<Scene> = numbers.map(|i| all.scene(i, confounder)).collect();
        let before = measured(&model, &scenes, &device)?;
        let after = measured(&corrected, &scenes, &device)?;
        println!(
            "{name:14}  {:5.1} -> {:4.1} %  {:5.1} -> {:4.1} %",
            before.0, after.0, before.1, after.1
        );
    }
    Ok(())
}

/// The size of each group of triangles, and how many of it have a tag, by the relevance of channels.
fn strategies(
    model: &Traced,
    all: &Scenes,
    device: &Device,
) -> Result<Vec<(usize, usize)>, Box<dyn std::error::Error>> {
    let search = ReferenceSearch::new(epsilon_plus_flat(), LATE);
    let (mut vectors, mut concepts) = (Vec::new(), 0);
    for confounder in [Confounder::Present, Confounder::Absent] {
        // Shapes take turns.
        let triangles = (0..EXAMPLES).map(|i| all.scene(i * Shape::ALL.len() + CLASS, confounder));
        for batch in triangles.collect::<Vec<_>>().chunks(50) {
            let (numbers, labels) = (vec![0; batch.len()], vec![CLASS; batch.len()]);
            let found = search.measure(model, &values(batch, device), &numbers, labels)?;
            // Of both modes, relevance comes first.
            let relevance = &found.layers()[0];
            vectors.extend_from_slice(relevance.scores());
            concepts = relevance.concepts();
        }
    }
    let found = StrategySearch::new()
        .with_n_clusters(2)
        .find(&vectors, concepts)?;
    let tagged = |members: &Vec<usize>| members.iter().filter(|&&row| row < EXAMPLES).count();
    let groups = found.members().iter();
    Ok(groups
        .map(|members| (members.len(), tagged(members)))
        .collect())
}

fn values(scenes: &[Scene], device: &Device) -> Values {
    Values::new(vec![scenes::images(scenes, device).into()], vec![true])
}

/// The part of a map's relevance that lies in the scene's tag.
fn in_tag(
    model: &Traced,
    scene: &Scene,
    condition: Condition,
    device: &Device,
) -> Result<f32, Box<dyn std::error::Error>> {
    let input = values(std::slice::from_ref(scene), device);
    let crp = Crp::new(epsilon_plus_flat()).with_condition(condition);
    let found = crp.attribute(model, &input, Target::Class(CLASS))?;
    let map = found.maps().first().and_then(|map| map.values()[0].clone());
    let map = map.ok_or("a map without relevance")?.to_vec()?;
    // The channels of a pixel lie an image apart.
    let pixels = map.iter().zip(scene.tag.iter().cycle());
    let inside: f32 = pixels
        .filter(|(_, tag)| **tag)
        .map(|(value, _)| value.abs())
        .sum();
    Ok(inside / map.iter().map(|value| value.abs()).sum::<f32>())
}

/// The percentages of scenes that are recognised, and of other shapes that are called triangles.
fn measured(model: &Traced, scenes: &[Scene], device: &Device) -> Result<(f64, f64), attr::Error> {
    let (mut correct, mut others, mut misled) = (0, 0, 0);
    for batch in scenes.chunks(50) {
        let scores = model.forward(&values(batch, device))?.to_vec()?;
        for (scene, scores) in batch.iter().zip(scores.chunks_exact(Shape::ALL.len())) {
            let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            correct += usize::from(best == Some(scene.label()));
            if scene.label() != CLASS {
                others += 1;
                misled += usize::from(best == Some(CLASS));
            }
        }
    }
    let percent = |part: usize, all: usize| 100.0 * part as f64 / all.max(1) as f64;
    Ok((percent(correct, scenes.len()), percent(misled, others)))
}
