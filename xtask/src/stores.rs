//! Tests indexes in object stores: in memory, and on a server of this machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::recipes::{Bench, PATIENCE, SCENES, output};

/// The features of attrx. A store's client changes those of crates below Burn, which is built again.
const FEATURES: [&str; 2] = ["--features", "attr-cli/s3"];

/// The port of the server.
const PORT: &str = "16819";

/// How programs find the server, which takes any key.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("AWS_ENDPOINT", "http://127.0.0.1:16819"),
    ("AWS_ALLOW_HTTP", "true"),
    ("AWS_DEFAULT_REGION", "us-east-1"),
    ("AWS_ACCESS_KEY_ID", "nobody"),
    ("AWS_SECRET_ACCESS_KEY", "nothing"),
];

const BUCKET: &str = "attr";

/// Measures shards of data in a store, one of them by two processes at once.
pub fn run() -> Result<(), String> {
    let test = ["test", "--release", "--workspace", "--lib"];
    crate::cargo(&[&test[..], &FEATURES, &["in_a_store"]].concat())?;
    let python = crate::golden::environment("stores")?;
    let bench = Bench::new("stores", &FEATURES)?;
    let server = Server::start(python)?;
    let scenes = bench.path(SCENES);
    server.copy(&["upload", &scenes, BUCKET, SCENES])?;

    let url = |name: &str| format!("s3://{BUCKET}/{name}");
    // Checkpoints in a store take most of the time.
    let mut questions = vec!["--quiet".to_string(), "--checkpoint=200".to_string()];
    let stored = |text: &String| {
        if *text == scenes {
            url(SCENES)
        } else {
            text.clone()
        }
    };
    questions.extend(bench.questions.iter().map(stored));
    let attrx = |arguments: &[&str]| {
        let mut command = bench.attrx(arguments);
        command.envs(ENVIRONMENT);
        command
    };
    let measure = |index: &str, shard: &str| {
        let mut command = attrx(&["crp", "index", "--out", index, "--shard", shard]);
        command.args(&questions);
        command
    };

    let index = url("index");
    for shard in ["0/2", "1/2"] {
        crate::run(&mut measure(&index, shard))?;
    }
    let rivals = url("rivals");
    let both = [0, 1].map(|_| start(&mut measure(&rivals, "0/1")));
    let mut failed = 0;
    for rival in both {
        let ended = rival?.wait_with_output();
        let ended = ended.map_err(|error| format!("attrx crp index: {error}"))?;
        failed += u64::from(is_refused(&ended)?);
    }
    if failed != 1 {
        return Err(format!("of two writers of a shard, {failed} were refused"));
    }
    println!("of two writers of a shard, the second was refused");

    for (index, name) in [(&index, "index"), (&rivals, "rivals")] {
        let status = output(&mut attrx(&["crp", "status", "--json", index]))?;
        let status: serde_json::Value =
            serde_json::from_str(&status).map_err(|error| format!("attrx crp status: {error}"))?;
        if status["complete"] != true {
            return Err(format!("{index} is not complete: {status}"));
        }
        crate::run(&mut attrx(&["crp", "merge", index]))?;
        let copy = bench.path(name);
        server.copy(&["download", &copy, BUCKET, name])?;
        bench.compare_tables(&copy)?;
    }
    let export = url("export");
    crate::run(&mut attrx(&["crp", "export", &index, "--out", &export]))
}

fn start(command: &mut Command) -> Result<Child, String> {
    let child = command.stderr(Stdio::piped()).spawn();
    child.map_err(|error| format!("cannot run {command:?}: {error}"))
}

/// Whether a process ended because another one wrote its shard.
fn is_refused(ended: &Output) -> Result<bool, String> {
    let errors = String::from_utf8_lossy(&ended.stderr);
    if ended.status.success() {
        return Ok(false);
    }
    if errors.contains("another process writes here") {
        return Ok(true);
    }
    Err(format!("attrx crp index: {errors}"))
}

/// A server of a store, which stops when this is dropped.
struct Server {
    python: PathBuf,
    process: Child,
}

impl Server {
    fn start(python: PathBuf) -> Result<Self, String> {
        let mut command = Command::new(python.with_file_name("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", PORT]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn();
        let process = process.map_err(|error| format!("cannot run {command:?}: {error}"))?;
        let server = Self { python, process };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let created = server.command(&["create", BUCKET]).output();
            if created.is_ok_and(|created| created.status.success()) {
                return Ok(server);
            }
            sleep(Duration::from_millis(200));
        }
        Err("the server of the store does not start".into())
    }

    fn copy(&self, arguments: &[&str]) -> Result<(), String> {
        crate::run(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(Path::new("tools/stores/bucket.py"));
        command.args(arguments).envs(ENVIRONMENT);
        command.current_dir(crate::root());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
