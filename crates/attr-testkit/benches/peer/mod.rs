//! A reference library in a separate process, timed beside attr in one run.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use attr_core::Value;
use burn::module::{ModuleVisitor, Param};
use burn::tensor::Tensor;
use npyz::WriterBuilder;
use serde_json::{Value as Json, json};

/// The library in a separate process.
pub struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a script of `tools/bench` in the Python that an environment variable names, if it does.
    pub fn start(script: &str, python: &str, folder: &Path) -> Option<Self> {
        let python = std::env::var_os(python)?;
        let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this");
        let script = Path::new(&package).join("../../tools/bench").join(script);
        let threads = std::env::var("RAYON_NUM_THREADS").ok();
        let threads = threads.iter().flat_map(|count| ["--threads", count]);
        // `drop` waits for it.
        #[allow(clippy::zombie_processes)]
        let mut child = Command::new(python)
            .arg(script)
            .arg(folder)
            .args(threads)
            .args(["--device", if on_host() { "cpu" } else { "cuda" }])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let requests = child.stdin.take().expect("it is piped");
        let mut answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut ready = String::new();
        answers.read_line(&mut ready).expect("the peer answers");
        println!("peer: {}", ready.trim());
        let versions: Json = serde_json::from_str(&ready).expect("the peer answers in JSON");
        record(&json!({"versions": versions}));
        Some(Self {
            child,
            requests,
            answers,
        })
    }

    /// Returns the milliseconds that one run of a case took, and the whole answer; the error is why
    /// the peer cannot.
    pub fn run(&mut self, case: &Json) -> Result<(f64, Json), String> {
        writeln!(self.requests, "{case}").expect("the peer listens");
        self.requests.flush().expect("the peer listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer answers");
        let answer: Json = serde_json::from_str(&line).expect("the peer answers in JSON");
        match answer["error"].as_str() {
            Some(error) => Err(error.into()),
            None => Ok((answer["seconds"].as_f64().expect("a time") * 1e3, answer)),
        }
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

/// Returns PyTorch's name of a parameter.
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

/// What the runs of one side took, in milliseconds.
#[derive(Clone, Default)]
pub struct Times(pub Vec<f64>);

impl Times {
    /// The value below which a share of the runs lie, interpolated; NaN without runs.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = share * sorted.len().saturating_sub(1) as f64;
        let at = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
        let (low, high) = (at(place.floor()), at(place.ceil()));
        low + (high - low) * place.fract()
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The median with the quartiles; nothing without runs.
    pub fn to_json(&self) -> Json {
        if self.0.is_empty() {
            return Json::Null;
        }
        let [low, high] = [0.25, 0.75].map(|share| self.quantile(share));
        json!({"median": self.median(), "low": low, "high": high, "runs": self.0.len()})
    }
}

/// Whether the device under test computes on the processor.
pub fn on_host() -> bool {
    let device = std::env::var("ATTR_DEVICE").unwrap_or_default();
    !["wgpu", "cuda"].contains(&&device[..])
}

/// The median over runs of how many times as long the peer took.
pub fn ratio(ours: &Times, theirs: &Times) -> Option<f64> {
    let ratios = theirs.0.iter().zip(&ours.0).map(|(b, a)| b / a);
    let ratios = Times(ratios.collect());
    (!ratios.0.is_empty()).then(|| ratios.median())
}

/// Appends a line to the file that `cargo xtask bench` collects.
pub fn record(line: &Json) {
    let Some(path) = std::env::var_os("ATTR_BENCH_ROWS") else {
        return;
    };
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path);
    let mut file = file.expect("the results can be written");
    writeln!(file, "{line}").expect("the results can be written");
}

/// Whether the words after the program's name, if any, occur in a row's model, method or setting.
pub fn asked(row: &str) -> bool {
    let row = row.to_lowercase();
    // Cargo adds `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    words.all(|word| row.contains(&word.to_lowercase()))
}
