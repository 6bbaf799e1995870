//! A reference library in a separate process, timed beside attr in one run.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use attr_core::Value;
use burn::module::{ModuleVisitor, Param};
use burn::tensor::Tensor;
use npyz::WriterBuilder;
use serde_json::Value as Json;

/// The library in a separate process.
pub struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a script of `tools/bench` in the Python that an environment variable names, if it does.
    pub fn start(script: &str, python: &str, folder: &Path, extra: &[&str]) -> Option<Self> {
        let python = std::env::var_os(python)?;
        let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this");
        let script = Path::new(&package).join("../../tools/bench").join(script);
        // `drop` waits for it.
        #[allow(clippy::zombie_processes)]
        let mut child = Command::new(python)
            .arg(script)
            .arg(folder)
            .args(extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let requests = child.stdin.take().expect("it is piped");
        let mut answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut ready = String::new();
        answers.read_line(&mut ready).expect("the peer answers");
        println!("peer: {}", ready.trim());
        Some(Self {
            child,
            requests,
            answers,
        })
    }

    /// Returns the milliseconds that one run of a case took, and its first results.
    pub fn run(&mut self, case: &Json) -> (f64, Vec<f64>) {
        writeln!(self.requests, "{case}").expect("the peer listens");
        self.requests.flush().expect("the peer listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer answers");
        let answer: Json = serde_json::from_str(&line).expect("the peer answers in JSON");
        let first = answer["first"].as_array().expect("numbers").iter();
        let first = first.filter_map(Json::as_f64).collect();
        (answer["seconds"].as_f64().expect("a time") * 1e3, first)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = writeln!(self.requests, "quit");
        let _ = self.child.wait();
    }
}

/// Writes parameters and inputs for the peer.
pub struct Export<'a> {
    folder: &'a Path,
    prefix: &'a str,
    path: Vec<String>,
}

impl<'a> Export<'a> {
    /// Creates a visitor that writes into `folder`, under names that start with `prefix`.
    pub fn new(folder: &'a Path, prefix: &'a str) -> Self {
        Self {
            folder,
            prefix,
            path: Vec::new(),
        }
    }
}

impl ModuleVisitor for Export<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("{}{}", self.prefix, torch_name(&self.path.join(".")));
        let mut value = Value::from(param.val());
        // PyTorch stores a linear layer's weights transposed.
        if D == 2 {
            // Only linear layers have matrices.
            value = Value::from(value.tensor::<2>().expect("a matrix").transpose());
        }
        save(&self.folder.join(format!("{name}.npy")), &value);
    }
}

/// Returns the name of a parameter in torchvision's ResNet-18.
fn torch_name(path: &str) -> String {
    path.replace("gamma", "weight")
        .replace("beta", "bias")
        .replace("downsample.conv", "downsample.0")
        .replace("downsample.bn", "downsample.1")
}

/// Writes an array.
pub fn save(path: &Path, value: &Value) {
    let data = value.to_vec().expect("it can be read");
    let shape: Vec<u64> = value.shape().into_iter().map(|size| size as u64).collect();
    let file = std::fs::File::create(path).expect("the folder is there");
    let mut writer = npyz::WriteOptions::<f32>::new()
        .default_dtype()
        .shape(&shape)
        .writer(std::io::BufWriter::new(file))
        .begin_nd()
        .expect("it can be written");
    writer.extend(data).expect("it can be written");
    writer.finish().expect("it can be written");
}

/// Runs both sides in turn and prints medians and the median of the ratios.
///
/// If a case has `warm`, each side runs once more before every time that counts: threads of the other
/// side that still look for work, and caches that it has filled, would slow down a short run.
pub fn compare(
    name: &str,
    runs: usize,
    ours: &dyn Fn() -> Vec<f32>,
    peer: &mut Option<Peer>,
    case: &Json,
) {
    let (mut own, mut ratios, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=runs {
        if case["warm"] == true {
            ours();
        }
        let start = Instant::now();
        let values = ours();
        let time = start.elapsed().as_secs_f64() * 1e3;
        let other = peer.as_mut().map(|peer| peer.run(case));
        if run == 0 {
            if let Some((_, first)) = &other {
                let pairs = first.iter().zip(&values);
                let largest = pairs
                    .map(|(a, b)| (a - f64::from(*b)).abs())
                    .fold(0.0, f64::max);
                println!("{name}: largest difference of the first values {largest:.1e}");
            }
            if runs > 0 {
                continue;
            }
        }
        own.push(time);
        if let Some((other, _)) = other {
            theirs.push(other);
            ratios.push(other / time);
        }
    }
    let beside = if ratios.is_empty() {
        String::new()
    } else {
        format!(
            "   peer {:>10.2} ms   {:>7.1} times as fast",
            median(theirs),
            median(ratios)
        )
    };
    println!("{name:<46} attr {:>9.2} ms{beside}", median(own));
}

/// The median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
