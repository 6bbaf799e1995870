//! Runs the benchmarks, writes their tables, and compares runs with each other.

mod compare;
mod results;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};

use crate::golden;
use results::Results;

/// The committed results and their tables.
const COMMITTED: [&str; 2] = ["BENCHMARKS.json", "BENCHMARKS.md"];

/// Where the pictures in the tables' file are.
const PICTURES: &str = "assets/benchmarks";

/// Of each side.
const THREADS: &str = "2";

/// What is timed.
#[derive(Args)]
pub struct Options {
    /// The libraries beside attr; without quantus, metrics are left out.
    #[arg(long, value_delimiter = ',', default_values_t = [Peer::Captum, Peer::Zennit, Peer::Quantus])]
    peer: Vec<Peer>,
    /// The backend of attr's side. Beside one for GPUs, the peers use PyTorch's CUDA, and metrics are
    /// left out.
    #[arg(long, default_value = "flex")]
    device: Device,
    /// Times only rows whose model, method or setting contains this; several must all match.
    #[arg(long)]
    filter: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    Captum,
    Zennit,
    Quantus,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Device {
    Flex,
    Ndarray,
    Wgpu,
    Cuda,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&name_of(self))
    }
}

fn name_of(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().into())
}

/// Runs the benchmarks. What was asked for in full replaces the committed results.
pub fn run(options: &Options) -> Result<(), String> {
    let (results, path) = measure(options)?;
    let missing = options
        .peer
        .iter()
        .filter(|peer| !results.has(&name_of(*peer)));
    let missing: Vec<String> = missing.map(Peer::to_string).collect();
    let whole = options.filter.is_empty() && options.device == Device::Flex;
    if whole && options.peer.len() == Peer::value_variants().len() && missing.is_empty() {
        let [json, markdown] = COMMITTED.map(|name| crate::root().join(name));
        results.write(&json)?;
        std::fs::write(&markdown, table::document(&results)).map_err(|error| format!("{error}"))?;
        println!("wrote {}", COMMITTED.join(" and "));
    } else {
        println!("{}", table::tables(&results));
        println!(
            "Not the whole benchmark: the results are in {}",
            path.display()
        );
    }
    Ok(())
}

/// Compares a file of results, or a new run, with the committed results.
pub fn compare(file: Option<&Path>, options: &Options) -> Result<(), String> {
    let committed = Results::read(&crate::root().join(COMMITTED[0]))?;
    let results = match file {
        Some(file) => Results::read(file)?,
        None => measure(options)?.0,
    };
    let comparison = compare::compare(&committed, &results);
    println!("{comparison}");
    match comparison.slower.len() {
        0 => Ok(()),
        count => Err(format!("{count} rows became slower than their spread")),
    }
}

/// Runs the benchmarks and returns the results with the file that has them. Without Python, only
/// attr is timed.
fn measure(options: &Options) -> Result<(Results, PathBuf), String> {
    if options.filter.is_empty() && options.device == Device::Flex {
        for name in ["walk_back", "budgets"] {
            crate::cargo(&["bench", "--workspace", "--bench", name])?;
        }
        let folder = crate::root().join(PICTURES);
        let growth = ["bench", "--workspace", "--bench", "growth", "--"];
        crate::run(Command::new(env!("CARGO")).args(growth).arg(folder))?;
    }
    let busy = results::load().filter(|load| *load > 0.5);
    if let Some(load) = busy {
        eprintln!("warning: the machine is busy (load {load:.1}); times will be too long");
    }
    let rows = golden::target().join("benchmark-rows.jsonl");
    // Rows are appended to it.
    if rows.exists() {
        std::fs::remove_file(&rows).map_err(|error| format!("{}: {error}", rows.display()))?;
    }
    let mut pythons = vec![("ATTR_PEER_PYTHON", "bench")];
    if options.peer.contains(&Peer::Zennit) {
        // zennit-crp needs older libraries than the rest.
        pythons.push(("ATTR_CONCEPTS_PYTHON", "concepts"));
    }
    let pythons: Vec<_> = pythons
        .into_iter()
        .map(|(variable, name)| (variable, python(variable, name)))
        .collect();
    let device = name_of(&options.device);
    let on_host = [Device::Flex, Device::Ndarray].contains(&options.device);
    let peers: Vec<String> = options.peer.iter().map(Peer::to_string).collect();
    for name in ["methods", "metrics"] {
        // Quantus computes on the host.
        let metrics = options.peer.contains(&Peer::Quantus) && on_host;
        if name == "metrics" && !metrics {
            continue;
        }
        let mut beside = Command::new(env!("CARGO"));
        beside.arg("bench");
        match options.device {
            Device::Flex => drop(beside.arg("--workspace")),
            _ => {
                let package = ["--package", "attr-testkit", "--no-default-features"];
                beside.args(package).args(["--features", &device]);
            }
        }
        beside.args(["--bench", name, "--"]).args(&options.filter);
        // Both sides keep freed memory, as `attrx` does.
        beside.env("MALLOC_MMAP_THRESHOLD_", (32 << 20).to_string());
        beside.env("MALLOC_TRIM_THRESHOLD_", (1 << 30).to_string());
        beside.env("MALLOC_ARENA_MAX", "1");
        for variable in [
            "RAYON_NUM_THREADS",
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
        ] {
            beside.env(variable, THREADS);
        }
        beside.env("ATTR_DEVICE", &device);
        beside.env("ATTR_PEERS", peers.join(","));
        beside.env("ATTR_BENCH_ROWS", &rows);
        for (variable, python) in &pythons {
            match python {
                Ok(python) => drop(beside.env(variable, python)),
                Err(error) => eprintln!("without a peer: {error}"),
            }
        }
        crate::run(&mut beside)?;
    }
    let results = Results::collect(&rows, &device, THREADS)?;
    let path = golden::target().join("benchmarks.json");
    results.write(&path)?;
    Ok((results, path))
}

/// Returns the Python that a variable names, or one with the packages of a folder of `tools`.
fn python(variable: &str, name: &str) -> Result<PathBuf, String> {
    match std::env::var_os(variable) {
        Some(python) => Ok(python.into()),
        None => golden::environment(name),
    }
}
