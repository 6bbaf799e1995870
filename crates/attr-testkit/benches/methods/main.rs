//! Times every method that a peer has against that peer, in one run on the same models and inputs.
//!
//! `cargo xtask bench` makes tables of the results; words after the program's name choose rows whose
//! model, method or setting contains all of them. The scripts `captum_peer.py` and `zennit_peer.py`
//! of `tools/bench` run the other side in the Python that `ATTR_PEER_PYTHON` names, and zennit-crp's
//! in that of `ATTR_CONCEPTS_PYTHON`. Without them, only attr is timed.
//!
//! Both sides run in turn, so that a change in the machine's speed affects both: attr with its
//! default budget, the peer at its best and by its default. Its best is searched before, over what it
//! takes together and the order of memory. The first run of each side does not count. What both sides
//! compute is compared where it should be the same.

mod beside;
mod cases;
#[path = "../host/mod.rs"]
mod host;
mod measure;
#[path = "../peer/mod.rs"]
mod peer;
mod subjects;

use std::path::Path;
use std::time::Duration;

use attr_testkit::device;
use serde_json::json;

use beside::{Beside, Manner};
use cases::Case;
use measure::{Floor, repeated, timed, with_memory};
use peer::{Times, asked, ratio, record};
use subjects::{Built, Subject};

/// The fewest and the most runs of each side.
const RUNS: [usize; 2] = [3, 15];
/// After so many milliseconds of each side, runs end.
const ENOUGH_MS: f64 = 4000.0;
/// A run that takes less is disturbed by what the other side left behind. Threads that still look for
/// work give up during a pause, and each side runs for a while before every time that counts.
const QUICK_MS: f64 = 50.0;
const PAUSE: Duration = Duration::from_millis(20);
const WARM_MS: u64 = 30;
/// The norm of the difference, in parts of the result's norm, that passes as the same. Single numbers
/// may differ by more: rounding decides on which side of a kink they are.
const TOLERANCE: f64 = 1e-3;

/// Times a row, prints it and records it.
fn row(
    subject: &Subject,
    built: &Built,
    floor: &Floor,
    case: &Case,
    beside: &mut Beside,
    folder: &Path,
) {
    let (found, first_ms, mib) = with_memory(|| case.run(subject, built));
    let (mut rival, refusal) = match beside.rival(subject, case) {
        Some(Ok(rival)) => (Some(rival), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let difference = rival.as_ref().filter(|_| case.same);
    let difference = difference.map(|_| difference_of(&found.values, folder));
    let [mut own, mut best, mut default] = [const { Times(Vec::new()) }; 3];
    let quick = first_ms < QUICK_MS;
    let warm = if quick { WARM_MS } else { 0 };
    let total = |times: &Times| times.0.iter().sum::<f64>();
    if let Some(rival) = rival.as_ref().filter(|rival| rival.first_ms > ENOUGH_MS) {
        default.0.push(rival.first_ms);
    }
    for run in 0..RUNS[1] {
        let enough =
            total(&own).min(total(&best)) > ENOUGH_MS || rival.is_none() && total(&own) > ENOUGH_MS;
        if run >= RUNS[0] && enough {
            break;
        }
        if quick {
            std::thread::sleep(PAUSE);
            repeated(WARM_MS, || case.run(subject, built));
        }
        own.0.push(timed(|| case.run(subject, built)).1);
        let Some(rival) = &mut rival else {
            continue;
        };
        if quick {
            std::thread::sleep(PAUSE);
        }
        best.0.push(rival.run(true, warm));
        if rival.best != Manner::default() && total(&default) < ENOUGH_MS {
            default.0.push(rival.run(false, warm));
        }
    }
    let manner = rival.as_ref().map(|rival| rival.best.clone());
    if manner == Some(Manner::default()) {
        default = best.clone();
    }

    let (library, floor_ms) = (case.library.name(), found.work.map(|work| floor.of(work)));
    let ratio = ratio(&own, &best);
    print!("{}: attr {:.3} ms", title(subject, case), own.median());
    if let (Some(ratio), Some(manner)) = (ratio, &manner) {
        let [best, default] = [&best, &default].map(Times::median);
        print!(", {library} {best:.3} ms [{manner}], by default {default:.3} ms: {ratio:.2}");
    }
    println!();
    if let Some(error) = &refusal {
        println!("  {library} cannot: {error}");
    }
    if let Some(difference) = difference.filter(|&difference| difference > TOLERANCE) {
        println!("  warning: both sides differ by {difference:.1e} of the result's norm");
    }
    record(&json!({"row": {
        "model": subject.title,
        "method": case.method,
        "setting": case.setting,
        "peer": library,
        "ours_ms": own.to_json(),
        "peer_best_ms": best.to_json(),
        "peer_best": manner.map(|manner| manner.to_string()),
        "peer_default_ms": default.to_json(),
        "ratio": ratio,
        "work": found.work,
        "floor_ms": floor_ms,
        "over_floor": floor_ms.map(|floor| own.median() / floor),
        "ours_mib": mib,
        "peer_mib": rival.and_then(|rival| rival.mib),
        "difference": difference,
        "refusal": refusal,
    }}));
}

fn title(subject: &Subject, case: &Case) -> String {
    let words = [subject.title, case.method, &case.setting];
    let words = words.into_iter().filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(", ")
}

/// The norm of the difference from the result that the peer left, in parts of that result's norm.
fn difference_of(values: &[f32], folder: &Path) -> f64 {
    let file = std::fs::File::open(folder.join("result.npy")).expect("it was saved");
    let file = npyz::NpyFile::new(std::io::BufReader::new(file)).expect("an array");
    let theirs: Vec<f32> = file.into_vec().expect("numbers");
    if theirs.len() != values.len() {
        return f64::INFINITY;
    }
    let squares = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|value| f64::from(value).powi(2)).sum()
    };
    let differences = squares(&mut values.iter().zip(&theirs).map(|(a, b)| a - b));
    (differences / squares(&mut theirs.iter().copied())).sqrt()
}

fn main() {
    let device = device();
    let folder = std::env::temp_dir().join(format!("attr-bench-{}", std::process::id()));
    for subject in subjects::all() {
        let mut cases = cases::of(&subject);
        cases.retain(|case| asked(&title(&subject, case)));
        if cases.is_empty() {
            continue;
        }
        std::fs::create_dir_all(&folder).expect("a folder for the peer");
        let built = subject.build(&device, &folder);
        let floor = Floor::measure(&subject, &built);
        let mut beside = Beside::new(&folder);
        for case in &cases {
            row(&subject, &built, &floor, case, &mut beside, &folder);
        }
        drop(beside);
        std::fs::remove_dir_all(&folder).expect("the folder is ours");
    }
}
