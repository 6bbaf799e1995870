//! The results of one run of the benchmark, as they are stored.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// All rows, and where and with what they were timed.
#[derive(Serialize, Deserialize)]
pub struct Results {
    pub date: String,
    pub cpu: String,
    pub cores: usize,
    pub system: String,
    /// The backend of attr's side.
    pub device: String,
    /// Of each side.
    pub threads: String,
    pub versions: BTreeMap<String, String>,
    pub rows: Vec<Row>,
}

/// One method on one model.
#[derive(Clone, Serialize, Deserialize)]
pub struct Row {
    pub model: String,
    pub method: String,
    pub setting: String,
    pub peer: String,
    pub ours_ms: Times,
    pub peer_best_ms: Option<Times>,
    /// How the peer was asked; empty for its default.
    pub peer_best: Option<String>,
    pub peer_default_ms: Option<Times>,
    /// How many times as long as attr the peer takes at its best.
    pub ratio: Option<f64>,
    pub work: Option<Work>,
    /// What the forward passes and gradients of the work take at least.
    pub floor_ms: Option<f64>,
    pub over_floor: Option<f64>,
    /// By how much a run makes the resident memory grow.
    pub ours_mib: Option<f64>,
    pub peer_mib: Option<f64>,
    /// The norm of the difference between both sides, in parts of the result's norm.
    pub difference: Option<f64>,
    /// Why the peer cannot.
    pub refusal: Option<String>,
}

/// The runs of one side.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Times {
    pub median: f64,
    /// The quartiles.
    pub low: f64,
    pub high: f64,
    pub runs: usize,
}

impl Times {
    /// The distance between the quartiles, in parts of the median.
    pub fn spread(&self) -> f64 {
        (self.high - self.low) / self.median
    }
}

/// What attr evaluates, in rows.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Work {
    pub forward_rows: usize,
    pub backward_rows: usize,
    pub passes: usize,
}

impl Results {
    /// Reads what the benchmark programs have recorded, line by line, and looks at the machine.
    pub fn collect(lines: &Path, device: &str, threads: &str) -> Result<Self, String> {
        let mut versions = BTreeMap::from([("attr".into(), commit()), ("burn".into(), burn()?)]);
        versions.insert("rustc".into(), output("rustc", &["--version"]));
        let mut rows = Vec::new();
        let text = std::fs::read_to_string(lines)
            .map_err(|_| "no row has a model, method or setting like that".to_string())?;
        for line in text.lines() {
            let mut line: Json = serde_json::from_str(line).map_err(|error| error.to_string())?;
            if let Some(found) = line["versions"].as_object() {
                versions.extend(libraries(found));
                continue;
            }
            let row = serde_json::from_value(line["row"].take());
            rows.push(row.map_err(|error| format!("a row of the benchmark: {error}"))?);
        }
        Ok(Self {
            date: output("date", &["-u", "+%Y-%m-%d"]),
            cpu: cpu(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            system: output("uname", &["-sr"]),
            device: device.into(),
            threads: threads.into(),
            versions,
            rows,
        })
    }

    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        std::fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Whether a peer was there.
    pub fn has(&self, peer: &str) -> bool {
        self.versions.contains_key(peer)
    }

    /// Whether another run had the same versions of the peers that both had.
    pub fn has_peers_of(&self, other: &Self) -> bool {
        let own = ["attr", "burn", "rustc"];
        let peers = self
            .versions
            .iter()
            .filter(|(name, _)| !own.contains(&&name[..]));
        let mut common =
            peers.filter_map(|(name, version)| Some((version, other.versions.get(name)?)));
        common.all(|(a, b)| a == b)
    }
}

/// The versions in a peer's first line. An older PyTorch belongs to zennit-crp.
fn libraries(found: &serde_json::Map<String, Json>) -> Vec<(String, String)> {
    let old = found.contains_key("zennit-crp");
    let versions = found
        .iter()
        .filter_map(|(name, version)| Some((name, version.as_str()?)));
    let versions = versions.map(|(name, version)| {
        let name = if old && name != "zennit-crp" {
            format!("{name} (for zennit-crp)")
        } else {
            name.clone()
        };
        (name, version.to_string())
    });
    versions.collect()
}

/// The load of the last minute; only Linux tells.
pub fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// What a program prints, or nothing.
fn output(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(crate::root()).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_string(),
    )
}

fn commit() -> String {
    output("git", &["describe", "--always", "--dirty"])
}

fn burn() -> Result<String, String> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(crate::root())
        .exec()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let burn = metadata.packages.iter().find(|p| p.name.as_str() == "burn");
    Ok(burn.map_or_else(String::new, |burn| burn.version.to_string()))
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    match line.and_then(|line| line.split_once(": ")) {
        Some((_, name)) => name.trim().into(),
        None => output("sysctl", &["-n", "machdep.cpu.brand_string"]),
    }
}
