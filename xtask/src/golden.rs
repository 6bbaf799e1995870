//! Golden values: made by the peers in a virtual environment of their own, committed as data.

use std::path::Path;
use std::process::Command;

/// Installs the pinned peers under the target directory and runs every script of `tools/golden`.
pub fn run() -> Result<(), String> {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let environment = Path::new(&target).join("golden-venv");
    let python = environment.join("bin/python");
    crate::run(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment),
    )?;
    let install = [
        "-m",
        "pip",
        "install",
        "-q",
        "-r",
        "tools/golden/requirements.txt",
    ];
    crate::run(Command::new(&python).args(install))?;
    let scripts = std::fs::read_dir(crate::root().join("tools/golden"));
    let scripts = scripts.map_err(|error| format!("cannot read tools/golden: {error}"))?;
    for entry in scripts.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "py") {
            crate::run(Command::new(&python).arg(path))?;
        }
    }
    Ok(())
}
