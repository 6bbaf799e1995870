//! Checks that the workspace's commands ask for the same features, so that third-party crates are
//! built once.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The files that document commands.
const WRITTEN: [&str; 3] = ["README.md", "CONTRIBUTING.md", ".cargo/config.toml"];

/// Returns the third-party crates whose features differ between the whole workspace's tests and its
/// programs, or a documented command that selects one package. They would be built twice.
pub fn differences() -> Result<Vec<String>, String> {
    let mut selections = BTreeSet::from(["--workspace".into(), "--package=attr-cli".into()]);
    for file in WRITTEN {
        let text = std::fs::read_to_string(crate::root().join(file));
        let text = text.map_err(|error| format!("{file}: {error}"))?;
        // Another backend builds Burn again in any case.
        let lines = text
            .lines()
            .filter(|l| !l.contains("--no-default-features"));
        let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        let pairs = words
            .windows(2)
            .filter(|w| ["-p", "--package"].contains(&w[0]));
        selections.extend(pairs.map(|pair| format!("--package={}", pair[1])));
    }
    let whole = resolved("--workspace", ",dev")?;
    let mut problems = Vec::new();
    for selection in selections {
        for (package, features) in resolved(&selection, "")? {
            let expected = whole.get(&package).unwrap_or(&features);
            let differing: Vec<&String> = features.symmetric_difference(expected).collect();
            if !differing.is_empty() {
                problems.push(format!(
                    "{package}: {selection} differs from the whole workspace in the features \
                     {differing:?}, so it is built twice; select no package, or name them in its manifest"
                ));
            }
        }
    }
    Ok(problems)
}

/// What a build for black boxes on one CPU backend does without, by the start of the crate's name:
/// gradients, pictures, files, linear algebra, another backend, a C compiler.
const HEAVY: [&str; 9] = [
    "attr-gradient",
    "attr-onnx",
    "attr-viz",
    "burn-flex",
    "burn-wgpu",
    "cc ",
    "image",
    "nalgebra",
    "plotters",
];

/// Returns the crates that a lean build, as the README describes it, should not need.
pub fn lean() -> Result<Vec<String>, String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--package=attr", "--no-default-features"]);
    tree.args(["--features=perturb,ndarray", "--edges=normal,build"]);
    tree.args(["--prefix=none", "--format={p}"]);
    let output = tree.current_dir(crate::root()).output();
    let output = output.map_err(|error| format!("cannot run {tree:?}: {error}"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{tree:?} failed: {error}"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<&str> = text.lines().collect();
    let heavy = crates.into_iter().filter(|name| {
        let native = name.split(' ').next().is_some_and(|n| n.ends_with("-sys"));
        native || HEAVY.iter().any(|heavy| name.starts_with(heavy))
    });
    Ok(heavy
        .map(|name| format!("a build of `attr` with only `perturb` and `ndarray` needs {name}"))
        .collect())
}

/// Returns the features of every third-party crate of a selection.
///
/// Crates that serve both programs and build scripts count as linked into programs: `cargo tree`
/// mixes up their two sets of features.
fn resolved(selection: &str, dev: &str) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut packages = BTreeMap::new();
    for (edges, place) in [
        ("normal,no-proc-macro", ""),
        ("normal,build", " (build time)"),
    ] {
        let mut tree = Command::new(env!("CARGO"));
        tree.args(["tree", selection, "--edges", &format!("{edges}{dev}")]);
        tree.args(["--prefix=none", "--format={p}|{f}"]);
        let output = tree.current_dir(crate::root()).output();
        let output = output.map_err(|error| format!("cannot run {tree:?}: {error}"))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{tree:?} failed: {error}"));
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let line = line.trim_end_matches(" (*)");
            let Some((package, features)) = line.split_once('|') else {
                continue;
            };
            // Crates of the workspace have a path; building them again costs little.
            if package.contains('/') || packages.contains_key(package) {
                continue;
            }
            let features = features.split(',').map(String::from).collect();
            packages.insert(format!("{package}{place}"), features);
        }
    }
    Ok(packages)
}
