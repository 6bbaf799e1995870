//! Runs the recipes of `recipes/` on this machine, and compares their indexes with that of one process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The tables of an index.
const TABLES: [&str; 4] = ["references", "statistics", "samples", "skipped"];

/// The folder of the scenes.
pub const SCENES: &str = "scenes";

/// How long a cluster may take to start, and an array to finish.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with scenes, the program, and the index that one process makes of them.
pub struct Bench {
    folder: PathBuf,
    programs: PathBuf,
    pub questions: Vec<String>,
}

impl Bench {
    /// Builds the programs with features of attrx, in a folder of this name.
    pub fn new(name: &str, features: &[&str]) -> Result<Self, String> {
        let programs = ["build", "--release", "--workspace", "--bin", "attrx"];
        crate::cargo(&[&programs[..], &["--example", "scene_folder"], features].concat())?;
        let target = crate::golden::target();
        let folder = target.join(name);
        if folder.exists() {
            let removed = std::fs::remove_dir_all(&folder);
            removed.map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let created = std::fs::create_dir_all(&folder);
        created.map_err(|error| format!("{}: {error}", folder.display()))?;
        let programs = target.join("release");
        let scenes = folder.join(SCENES).display().to_string();
        crate::run(Command::new(programs.join("examples/scene_folder")).args(["2000", &scenes]))?;
        let model = crate::root().join("assets/scenes/scenes.onnx");
        let questions = [
            "--model",
            &model.display().to_string(),
            "--data",
            &scenes,
            "--layers",
            "conv*",
        ];
        let bench = Self {
            folder,
            programs,
            questions: questions.map(String::from).to_vec(),
        };
        let whole = bench.path("whole");
        let mut index = bench.attrx(&["crp", "index", "--quiet", "--out", &whole]);
        crate::run(index.args(&bench.questions))?;
        crate::run(&mut bench.attrx(&["crp", "merge", "--quiet", &whole]))?;
        Ok(bench)
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub fn attrx(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("attrx"));
        command.args(arguments);
        command
    }

    /// `PATH` with the programs first.
    fn search_path(&self) -> String {
        let others = std::env::var("PATH").unwrap_or_default();
        format!("{}:{others}", self.programs.display())
    }

    /// The states of an index's shards.
    fn status(&self, index: &str) -> Result<serde_json::Value, String> {
        let text = output(&mut self.attrx(&["crp", "status", "--json", index]))?;
        serde_json::from_str(&text).map_err(|error| format!("attrx crp status: {error}"))
    }

    /// Merges an index and compares its tables with those of one process.
    fn compare(&self, index: &str) -> Result<(), String> {
        let status = self.status(index)?;
        if status["complete"] != true {
            return Err(format!("{index} is not complete: {status}"));
        }
        crate::run(&mut self.attrx(&["crp", "merge", index]))?;
        self.compare_tables(index)
    }

    /// Compares the tables in a folder with those of one process.
    pub fn compare_tables(&self, index: &str) -> Result<(), String> {
        for table in TABLES {
            let read = |index: &str| {
                let path = Path::new(index).join(format!("{table}.parquet"));
                std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
            };
            if read(index)? != read(&self.path("whole"))? {
                return Err(format!("{table}.parquet differs from that of one process"));
            }
        }
        println!("{index}: the tables are those of one process, byte for byte");
        Ok(())
    }
}

/// Runs the Slurm array on a cluster of one node, and kills and requeues a task of it.
pub fn slurm() -> Result<(), String> {
    let bench = Bench::new("slurm", &[])?;
    let cluster = Cluster::start(&bench)?;
    let index = bench.path("index");
    let script = crate::root().join("recipes/slurm/index.sbatch");
    let mut submit = cluster.command("sbatch");
    submit.env("PATH", bench.search_path()).arg("--parsable");
    submit
        .arg("--chdir")
        .arg(&bench.folder)
        .arg(script)
        .arg(&index);
    let submitted = submit
        .args(&bench.questions)
        .args(["--batch-size", "8", "--checkpoint", "16"]);
    let job = output(submitted)?.trim().to_string();
    // The first task to be seen running is killed, and begins anew.
    let begun = Instant::now();
    let task = loop {
        let running = ["-h", "-r", "-t", "R", "-o", "%i"];
        let running = output(cluster.command("squeue").args(running))?;
        if let Some(task) = running.lines().next() {
            break task.to_string();
        }
        if begun.elapsed() > PATIENCE {
            return Err("no task was seen running".into());
        }
        sleep(Duration::from_millis(20));
    };
    crate::run(cluster.command("scontrol").args(["requeue", &task]))?;
    println!("killed and requeued task {task} of job {job}");
    // A requeued task waits for a while by default.
    loop {
        let left = output(cluster.command("squeue").args(["-h", "-r", "-o", "%i"]))?;
        let Some(first) = left.lines().next() else {
            break;
        };
        if left.lines().count() == 1 {
            let _ = cluster
                .command("scontrol")
                .args(["release", first])
                .output();
        }
        if begun.elapsed() > 3 * PATIENCE {
            return Err(format!("tasks are left: {}", left.replace('\n', " ")));
        }
        sleep(Duration::from_millis(200));
    }
    bench.compare(&index)?;
    // A shard that fails is seen, and repaired by running it again.
    let shard = format!("{index}/shards/00003-of-00016/shard.json");
    let removed = std::fs::remove_file(&shard);
    removed.map_err(|error| format!("{shard}: {error}"))?;
    let status = bench.status(&index)?;
    if status["shards"][3]["state"] != "missing" {
        return Err(format!("the lost shard is not seen: {status}"));
    }
    let mut again = cluster.command("sbatch");
    again
        .env("PATH", bench.search_path())
        .arg("--chdir")
        .arg(&bench.folder);
    let script = crate::root().join("recipes/slurm/index.sbatch");
    again.args(["--wait", "--array=3"]).arg(script).arg(&index);
    crate::run(again.args(&bench.questions).args(["--batch-size", "8"]))?;
    bench.compare(&index)
}

/// A Slurm controller and the daemon of one node, which stop when this is dropped.
struct Cluster {
    configuration: PathBuf,
    daemons: Vec<Child>,
}

impl Cluster {
    fn start(bench: &Bench) -> Result<Self, String> {
        let host = output(&mut Command::new("hostname"))?;
        let host = host.trim();
        let user = output(Command::new("id").arg("-un"))?;
        let (user, folder) = (user.trim(), bench.folder.display());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let text = format!(
            "ClusterName=loopback\n\
             SlurmctldHost={host}(127.0.0.1)\n\
             SlurmctldPort=16817\n\
             SlurmdPort=16818\n\
             AuthType=auth/none\n\
             CredType=cred/none\n\
             CryptoType=crypto/none\n\
             SlurmUser={user}\n\
             SlurmdUser={user}\n\
             StateSaveLocation={folder}/state\n\
             SlurmdSpoolDir={folder}/spool\n\
             SlurmctldPidFile={folder}/slurmctld.pid\n\
             SlurmdPidFile={folder}/slurmd.pid\n\
             SlurmctldLogFile={folder}/slurmctld.log\n\
             SlurmdLogFile={folder}/slurmd.log\n\
             ProctrackType=proctrack/linuxproc\n\
             TaskPlugin=task/none\n\
             MpiDefault=none\n\
             ReturnToService=2\n\
             SchedulerParameters=requeue_delay=0\n\
             SelectType=select/cons_tres\n\
             SelectTypeParameters=CR_Core\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN\n\
             PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        );
        let configuration = bench.folder.join("slurm.conf");
        let made = ["state", "spool"].map(|name| bench.folder.join(name));
        let written = made.iter().try_for_each(std::fs::create_dir_all);
        let written = written.and_then(|()| std::fs::write(&configuration, text));
        written.map_err(|error| format!("{}: {error}", configuration.display()))?;
        let mut cluster = Self {
            configuration,
            daemons: Vec::new(),
        };
        for daemon in ["slurmctld", "slurmd"] {
            let mut command = cluster.command(daemon);
            command
                .arg("-D")
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let child = command.spawn().map_err(|error| {
                format!("cannot run {daemon}: {error}; Debian's package is slurm-wlm")
            })?;
            cluster.daemons.push(child);
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let state = cluster.command("sinfo").args(["-h", "-o", "%T"]).output();
            if state.is_ok_and(|state| state.stdout.starts_with(b"idle")) {
                return Ok(cluster);
            }
            sleep(Duration::from_millis(200));
        }
        Err(format!("Slurm does not start; see the logs in {folder}"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", &self.configuration);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.command("scontrol").arg("shutdown").output();
        for daemon in &mut self.daemons {
            // One that ends by itself takes its own helpers along.
            let asked = Instant::now();
            while asked.elapsed() < Duration::from_secs(10) {
                if !matches!(daemon.try_wait(), Ok(None)) {
                    break;
                }
                sleep(Duration::from_millis(50));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Checks the manifest of the Kubernetes Job against Kubernetes' schema, and runs the Ray script; in
/// virtual environments.
pub fn others() -> Result<(), String> {
    let manifest = crate::root().join("recipes/kubernetes/index.yaml");
    let python = crate::golden::environment_in(Path::new("recipes/kubernetes"))?;
    let check = python.with_file_name("kubernetes-validate");
    crate::run(Command::new(check).arg("--strict").arg(manifest))?;

    let bench = Bench::new("ray", &[])?;
    let python = crate::golden::environment_in(Path::new("recipes/ray"))?;
    let index = bench.path("index");
    let mut ray = Command::new(python);
    ray.arg(crate::root().join("recipes/ray/index.py"));
    ray.args(["--shards", "5", &index]).args(&bench.questions);
    crate::run(ray.env("PATH", bench.search_path()))?;
    bench.compare(&index)
}

/// What a command prints.
pub fn output(command: &mut Command) -> Result<String, String> {
    let found = command.stderr(Stdio::inherit()).output();
    let found = found.map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !found.status.success() {
        return Err(format!("{command:?} failed"));
    }
    String::from_utf8(found.stdout).map_err(|error| format!("{command:?}: {error}"))
}
