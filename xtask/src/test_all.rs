//! Runs everything that CI checks, cheapest first.

use std::process::Command;
use std::time::{Duration, Instant};

/// The programs that show one job each; the first is the README's.
const EXAMPLES: [&str; 12] = [
    "explain",
    "concepts",
    "confounder",
    "evaluate",
    "tabular",
    "image",
    "text",
    "remote",
    "method",
    "rule",
    "serve",
    "shift",
];

/// Runs all steps and prints a summary; the first failure ends the run.
pub fn run() -> Result<(), String> {
    let mut steps = Steps::default();
    steps.cargo("format", &["fmt", "--all", "--check"])?;
    steps.step("tidy", crate::tidy::run)?;
    let clippy = ["clippy", "--release", "--workspace", "--all-targets"];
    steps.cargo(
        "clippy",
        &[&clippy[..], &["--", "--deny", "warnings"]].concat(),
    )?;
    let test = ["test", "--release", "--workspace"];
    let targets = ["--lib", "--bins", "--tests", "--examples"];
    steps.cargo("tests on flex", &[&test[..], &targets].concat())?;
    // Without Burn, which the features of a store's client would build again.
    let stores = ["--package=attr-store", "--package=attr-data"];
    let features = ["--features=attr-store/s3,attr-data/s3", "--lib", "--tests"];
    steps.cargo(
        "tests of stores",
        &[&test[..2], &stores, &features].concat(),
    )?;
    steps.cargo("doc tests", &[&test[..], &["--doc"]].concat())?;
    steps.step("documentation", || {
        let mut command = Command::new(env!("CARGO"));
        command.args(["doc", "--release", "--workspace", "--no-deps"]);
        crate::run(command.env("RUSTDOCFLAGS", "--deny warnings"))
    })?;
    for example in EXAMPLES {
        let name = format!("example {example}");
        steps.cargo(&name, &["run", "--release", "--example", example])?;
    }

    if chromium() {
        let test = ["test", "--release", "--workspace", "--test", "browser"];
        steps.cargo("a report in a browser", &test)?;
    } else {
        steps.skip("a report in a browser", "Chromium is not installed");
    }

    // One build serves both backends, so most of Burn is compiled once.
    let adapter = vulkan_driver();
    let features = if adapter { "ndarray,wgpu" } else { "ndarray" };
    steps.step("conformance on ndarray", || {
        conformance("ndarray", features)
    })?;
    if adapter {
        steps.step("conformance on wgpu", || conformance("wgpu", features))?
    } else {
        steps.skip("conformance on wgpu", "no Vulkan driver is installed")
    }
    steps.summary();
    Ok(())
}

/// Runs the testkit's suite on one backend.
fn conformance(device: &str, features: &str) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--release", "--package", "attr-testkit"]);
    command.args(["--no-default-features", "--features", features]);
    crate::run(command.env("ATTR_DEVICE", device))
}

/// Whether a browser that can run without a window is installed.
fn chromium() -> bool {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| names.iter().any(|name| folder.join(name).exists()))
}

/// Whether wgpu has a driver: a Vulkan driver on Linux, the system's own elsewhere.
fn vulkan_driver() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    named.iter().any(|name| std::env::var_os(name).is_some())
        || folders.iter().any(|folder| {
            std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
        })
}

#[derive(Default)]
struct Steps(Vec<(String, String)>);

impl Steps {
    fn cargo(&mut self, name: &str, arguments: &[&str]) -> Result<(), String> {
        self.step(name, || crate::cargo(arguments))
    }

    fn step(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        println!("\n== {name}");
        let start = Instant::now();
        let result = work();
        let word = if result.is_ok() { "passed" } else { "FAILED" };
        let time = seconds(start.elapsed());
        self.0.push((name.into(), format!("{word:<8} {time:>8}")));
        if result.is_err() {
            self.summary();
        }
        result
    }

    fn skip(&mut self, name: &str, why: &str) {
        self.0.push((name.into(), format!("skipped: {why}")));
    }

    fn summary(&self) {
        println!("\n== summary");
        for (name, outcome) in &self.0 {
            println!("{name:<24} {outcome}");
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
