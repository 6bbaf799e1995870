//! Development tasks: `cargo xtask --help` lists them.

mod bench;
mod features;
mod golden;
mod recipes;
mod stores;
mod test_all;
mod tidy;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

/// Development tasks of attr.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs everything that CI checks, cheapest first, with a summary.
    TestAll,
    /// Checks the invariants of ARCHITECTURE.md that show in text and metadata, and that the
    /// commands share one build of third-party crates.
    Tidy,
    /// Trains the networks of the digits and of the scenes, and writes them to assets.
    Train,
    /// Explains a photograph by eight methods and writes its picture and its report to assets/photo;
    /// needs Python.
    Photo,
    /// Times methods and metrics against Captum, zennit and Quantus, and walks back against Burn's
    /// plain autodiff; writes BENCHMARKS.json and BENCHMARKS.md if nothing is left out. Without Python,
    /// only attr is timed.
    Bench(bench::Options),
    /// Lists what became slower since BENCHMARKS.json was written; fails if anything did.
    BenchCompare {
        /// Results of another run, which `bench` leaves as benchmarks.json in the target directory. By
        /// default, the benchmark runs.
        results: Option<PathBuf>,
        #[command(flatten)]
        options: bench::Options,
    },
    /// Rewrites the golden values with the pinned reference libraries and compares attrx with them;
    /// needs Python.
    Golden,
    /// Runs the recipe for Slurm on a cluster of this machine alone, kills and requeues a task, and
    /// compares the index with that of one process; needs Slurm.
    Slurm,
    /// Checks the recipe for Kubernetes and runs that for Ray; needs Python.
    Recipes,
    /// Makes an index in an object store on this machine, from data that lie there, with two processes
    /// that write the same shard, and compares it with one in a folder; needs Python.
    Stores,
    /// Fuzzes the ONNX reader, starting from the committed files; needs cargo-fuzz.
    Fuzz {
        /// The duration in seconds.
        #[arg(default_value_t = 600)]
        seconds: u32,
    },
    /// Runs `attrx` on mutated models, arrays and images; needs Linux and Python 3.
    Attack {
        /// The duration in seconds.
        #[arg(default_value_t = 600)]
        seconds: u32,
    },
}

/// The programs that write networks and samples of their data.
const TRAINING: [&str; 5] = [
    "train",
    "export",
    "autoencoder",
    "train_scenes",
    "sample_scenes",
];

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::TestAll => test_all::run(),
        Task::Tidy => tidy::run(),
        Task::Train => TRAINING
            .iter()
            .try_for_each(|example| cargo(&["run", "--release", "--example", example])),
        Task::Photo => photo(),
        Task::Bench(options) => bench::run(&options),
        Task::BenchCompare { results, options } => bench::compare(results.as_deref(), &options),
        Task::Golden => golden::run(),
        Task::Slurm => recipes::slurm(),
        Task::Recipes => recipes::others(),
        Task::Stores => stores::run(),
        Task::Fuzz { seconds } => fuzz(seconds),
        Task::Attack { seconds } => attack(seconds),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The question about the photograph, and the settings of the methods.
const PHOTO: [&str; 10] = [
    "--set=kernel-shap.n_samples=2000",
    // The last block at 14x14; the very last layer has 7x7.
    "--layer=/_blocks.10/Add",
    "--feature-mask=slic:80",
    "--baseline=blur:10",
    "--seed=0",
    // Google's normalisation of this network: (v - 127) / 128 for colours from 0 to 255.
    "--mean=0.498039",
    "--std=0.501961",
    "--labels=assets/photo/imagenet.txt",
    "--input=assets/photo/chelsea.png",
    "--target=predicted",
];

/// The photograph's picture, by eight methods.
const PICTURE: [&str; 5] = [
    "explain",
    "--method=saliency,noise-tunnel,integrated-gradients,deeplift,lrp,gradcam,xrai,kernel-shap",
    "--set=noise-tunnel.nt_samples=50",
    "--set=noise-tunnel.stdevs=0.5",
    "--image=assets/photo/explain.png",
];

/// Its report: fewer methods, because each map takes a quarter of a megabyte.
const REPORT: [&str; 4] = [
    "report",
    "--method=deeplift,lrp,gradcam,kernel-shap",
    "--title=Chelsea, an Egyptian cat",
    "--out=assets/photo/report.html",
];

/// Exports a network from its Python package and explains a photograph.
fn photo() -> Result<(), String> {
    let python = golden::environment("photo")?;
    let model = golden::target().join("efficientnet-lite0.onnx");
    let script = root().join("tools/photo/export.py");
    run(Command::new(python).arg(script).arg(&model))?;
    for command in [&PICTURE[..], &REPORT[..]] {
        let mut attrx = Command::new(env!("CARGO"));
        attrx.args(["run", "--release", "--bin", "attrx", "--"]);
        run(attrx.args(command).args(PHOTO).arg("--model").arg(&model))?;
    }
    Ok(())
}

/// Fuzzes the reader of model files. Plain builds, without a sanitizer, need no nightly compiler.
fn fuzz(seconds: u32) -> Result<(), String> {
    let time = format!("-max_total_time={seconds}");
    let corpus = ["fuzz/corpus/onnx", "crates/attr-testkit/onnx/models"];
    let folder = root().join(corpus[0]);
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", corpus[0]))?;
    let limits = ["-max_len=65536", "-rss_limit_mb=4096", "-timeout=60"];
    let hostile = ["crates/attr-testkit/onnx/hostile"];
    let mut command = Command::new(env!("CARGO"));
    command.args(["fuzz", "run", "--sanitizer", "none", "onnx"]);
    command
        .args(corpus)
        .args(hostile)
        .arg("--")
        .args(limits)
        .arg(time);
    run(&mut command)
}

/// Attacks the program. Inputs of runs that broke a promise are kept in the target directory.
fn attack(seconds: u32) -> Result<(), String> {
    cargo(&["build", "--release", "--workspace", "--bins"])?;
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec();
    let metadata = metadata.map_err(|error| format!("cargo metadata: {error}"))?;
    let target = metadata.target_directory.as_std_path();
    let mut command = Command::new("python3");
    command.arg("tools/fuzz/attrx.py");
    command.arg(target.join("release/attrx"));
    command.arg(seconds.to_string());
    run(command.arg(target.join("attack")))
}

/// Returns the root of the checkout that cargo runs in.
///
/// The compiled-in path may be another checkout's, since checkouts may share a target directory.
fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = here.map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.join("..")
}

/// Runs cargo in the repository's root.
fn cargo(arguments: &[&str]) -> Result<(), String> {
    run(Command::new(env!("CARGO")).args(arguments))
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.current_dir(root()).status();
    let status = status.map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} failed"))
    }
}
