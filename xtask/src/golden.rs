//! Makes golden values and comparisons with the reference libraries, in virtual environments.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs every script of `tools/golden` and `tools/concepts`, rewrites the exported models of `tools/onnx`, and compares
/// `attrx` with ONNX Runtime and PyTorch on full-sized models and single operators.
pub fn run() -> Result<(), String> {
    let python = environment("golden")?;
    let folder = crate::root().join("tools/golden");
    let scripts = std::fs::read_dir(folder);
    let scripts = scripts.map_err(|error| format!("cannot read tools/golden: {error}"))?;
    // In the order of their names: later scripts read what earlier ones write.
    let mut scripts: Vec<PathBuf> = scripts.flatten().map(|entry| entry.path()).collect();
    scripts.sort();
    for path in scripts {
        if path.extension().is_some_and(|extension| extension == "py") {
            crate::run(Command::new(&python).arg(path))?;
        }
    }

    // zennit-crp needs older libraries than the rest.
    let python = environment("concepts")?;
    for script in ["concepts.py", "references.py"] {
        let script = crate::root().join("tools/concepts").join(script);
        crate::run(Command::new(&python).arg(script))?;
    }

    let python = environment("onnx")?;
    let script = |name: &str| {
        let mut command = Command::new(&python);
        command.arg(crate::root().join("tools/onnx").join(name));
        command
    };
    crate::run(&mut script("make_fixtures.py"))?;
    crate::run(&mut script("make_operators.py"))?;
    crate::run(&mut script("make_hostile.py"))?;
    let targets = ["build", "--release", "--workspace", "--bins", "--examples"];
    crate::cargo(&targets)?;
    let built = target().join("release");
    let compare = || script("compare_models.py");
    crate::run(compare().arg("--attrx").arg(built.join("attrx")))?;
    let runner = built.join("examples/run_onnx");
    crate::run(
        compare()
            .args(["--ops", "--max-opset", "20", "--runner"])
            .arg(runner),
    )
}

/// Returns the Python of a virtual environment with the pinned packages of a folder of `tools`.
pub fn environment(name: &str) -> Result<PathBuf, String> {
    environment_in(&Path::new("tools").join(name))
}

/// Returns the Python of a virtual environment with the pinned packages of a folder of the repository.
pub fn environment_in(folder: &Path) -> Result<PathBuf, String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let environment = target().join(format!("{name}-venv"));
    crate::run(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment),
    )?;
    let python = environment.join("bin/python");
    let requirements = folder.join("requirements.txt");
    let install = ["-m", "pip", "install", "-q", "-r"];
    crate::run(Command::new(&python).args(install).arg(requirements))?;
    Ok(python)
}

pub fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    crate::root().join(named.unwrap_or_else(|| "target".into()))
}
