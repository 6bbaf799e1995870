//! Judges explanations of the scenes' network, for which it is known where objects are and that it
//! relies on a tag.

use std::path::PathBuf;

use attr_core::{Method, Target, Traced, Values};
use attr_gradient::{AtInput, DeepLift, GradCam, GuidedBackprop, InputXGradient, Saliency};
use attr_lrp_crp::{Lrp, epsilon_plus_flat};
use attr_metrics::*;
use attr_onnx::OnnxModel;
use attr_testkit::device;
use attr_testkit::golden::path;
use burn::tensor::{Tensor, TensorData};
use npyz::NpyFile;

/// The first of the 64 scenes, ten of each of six classes.
const ROWS: usize = 60;

/// The class whose training scenes have a tag.
const TRIANGLE: usize = 2;

fn asset(name: &str) -> PathBuf {
    path("").join("../../../assets/scenes").join(name)
}

/// Reads the first rows of an array.
fn array(name: &str) -> (Vec<f32>, Vec<usize>) {
    let file = NpyFile::new(std::io::BufReader::new(
        std::fs::File::open(asset(name)).unwrap(),
    ));
    let file = file.unwrap();
    let mut shape: Vec<usize> = file.shape().iter().map(|&size| size as usize).collect();
    let numbers: Vec<f32> = match file.dtype().descr().as_str() {
        "'<f4'" => file.into_vec::<f32>().unwrap(),
        "'|u1'" => file
            .into_vec::<u8>()
            .unwrap()
            .into_iter()
            .map(f32::from)
            .collect(),
        "'<i8'" => file
            .into_vec::<i64>()
            .unwrap()
            .into_iter()
            .map(|n| n as f32)
            .collect(),
        other => panic!("no reader for {other}"),
    };
    let row = numbers.len() / shape[0];
    shape[0] = ROWS;
    (numbers[..ROWS * row].to_vec(), shape)
}

fn tensor(name: &str) -> Tensor<4> {
    let (numbers, shape) = array(name);
    Tensor::from_data(TensorData::new(numbers, shape), &device())
}

struct Scenes {
    model: Traced,
    images: Tensor<4>,
    labels: Vec<usize>,
}

impl Scenes {
    fn load() -> Self {
        let images = tensor("images.npy");
        let values = Values::new(vec![images.clone().into()], vec![true]);
        let file = OnnxModel::open(asset("scenes.onnx"), &device()).unwrap();
        let labels = array("labels.npy")
            .0
            .into_iter()
            .map(|label| label as usize);
        Self {
            model: file.trace(&values, None).unwrap(),
            images,
            labels: labels.collect(),
        }
    }

    fn evaluation(&self) -> Evaluation<'_, Tensor<4>, Traced> {
        Evaluation::new(
            &self.model,
            &self.images,
            Target::Classes(self.labels.clone()),
        )
    }
}

fn cam() -> AtInput<GradCam> {
    AtInput::new(GradCam::new(["relu3"]))
}

#[test]
fn the_random_map_is_last_and_the_best_method_finds_the_tag() {
    let scenes = Scenes::load();
    let (saliency, product, lift, cam) = (
        Saliency::new(),
        InputXGradient::new(),
        DeepLift::new(),
        cam(),
    );
    let lrp = Lrp::new(epsilon_plus_flat());
    let methods: [(&str, &dyn Method); 5] = [
        ("saliency", &saliency),
        ("input-x-gradient", &product),
        ("deeplift", &lift),
        ("gradcam", &cam),
        ("lrp", &lrp),
    ];
    let infidelity = Infidelity {
        normalize: true,
        ..Infidelity::default()
    };
    let correlation = FaithfulnessCorrelation {
        nr_runs: 40,
        ..FaithfulnessCorrelation::default()
    };
    let road = Road {
        percentages: vec![10.0, 30.0, 50.0],
        ..Road::default()
    };
    let top = TopKIntersection {
        k: Some(100),
        ..TopKIntersection::default()
    };
    let metrics: [&dyn Metric; 18] = [
        &infidelity,
        &correlation,
        &road,
        &top,
        &Deletion::default(),
        &Insertion::default(),
        &Abpc::default(),
        &Comprehensiveness::default(),
        &EraserSufficiency::default(),
        &AverageDrop::default(),
        &RegionPerturbation::default(),
        &Selectivity::default(),
        &PointingGame::default(),
        &RelevanceRankAccuracy::default(),
        &RelevanceMassAccuracy::default(),
        &AttributionLocalisation::default(),
        &Auc::default(),
        &Focus::default(),
    ];
    // Where the network should look: at the object, and at the tag where there is one.
    let truth = tensor("masks.npy") + tensor("tags.npy");
    let evaluation = scenes.evaluation().with_masks(truth);
    let table = evaluation.compare(&methods, &metrics).unwrap();
    let random = table
        .methods
        .iter()
        .position(|name| name == RANDOM)
        .unwrap();
    let ranks = table.ranks();
    for (metric, column) in table.metrics.iter().enumerate() {
        let last = ranks
            .iter()
            .filter_map(|row| row[metric])
            .fold(0.0, f64::max);
        assert_eq!(
            ranks[random][metric],
            Some(last),
            "{}\n{table}",
            column.name
        );
    }
    assert!(table.flags().is_empty(), "{:?}", table.flags());
    let disagreement = table.disagreement();
    assert!(disagreement.concordance.unwrap() > 0.4, "{disagreement}");

    // The best method's strongest evidence for a tagged triangle lies on its tag.
    let mean_ranks = table.mean_ranks();
    let of_methods = 0..methods.len();
    let best = of_methods.min_by(|&a, &b| mean_ranks[a].total_cmp(&mean_ranks[b]));
    let (name, best) = methods[best.unwrap()];
    let tags = scenes.evaluation().with_masks(tensor("tags.npy"));
    let points = tags
        .measure(&PointingGame::default(), Explainer::Method(best))
        .unwrap();
    let tagged: Vec<f64> = points
        .values
        .iter()
        .copied()
        .filter(|hit| !hit.is_nan())
        .collect();
    assert!(tagged.len() >= 9, "{} tagged", tagged.len());
    let hits: f64 = tagged.iter().sum();
    assert!(
        hits >= 0.8 * tagged.len() as f64,
        "{name}: {hits} of {}",
        tagged.len()
    );
    let triangles = scenes.labels.iter().zip(&points.values);
    assert!(
        triangles
            .clone()
            .all(|(label, hit)| hit.is_nan() || *label == TRIANGLE)
    );
}

/// Adebayo et al.: gradients change with the parameters, guided backpropagation much less.
#[test]
fn randomisation_passes_gradients_and_flags_guided_backprop() {
    let scenes = Scenes::load();
    let (saliency, guided) = (Saliency::new(), GuidedBackprop::new());
    let methods: [(&str, &dyn Method); 2] = [("saliency", &saliency), ("guided-backprop", &guided)];
    let similar = Mprt {
        similarity_func: Similarity::Ssim,
        ..Mprt::default()
    };
    let table = scenes.evaluation().compare(&methods, &[&similar]).unwrap();
    let flags = table.flags();
    assert_eq!(flags.len(), 1, "{flags:?}\n{table}");
    assert!(
        flags[0].starts_with("guided-backprop fails mprt"),
        "{flags:?}"
    );
}

/// Given attributions are judged as the method that made them.
#[test]
fn given_attributions_are_the_methods() {
    let scenes = Scenes::load();
    let found = InputXGradient::new()
        .attribute(&scenes.model, &scenes.images, scenes.labels.clone())
        .unwrap();
    let evaluation = scenes.evaluation();
    let product = InputXGradient::new();
    let by_method = evaluation.measure(&Abpc::default(), &product).unwrap();
    let given = evaluation
        .measure(&Abpc::default(), Given::from(&found))
        .unwrap();
    assert_eq!(by_method.values, given.values);
}
