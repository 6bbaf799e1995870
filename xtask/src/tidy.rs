//! Checks the invariants of ARCHITECTURE.md that show in text and metadata.

use std::collections::BTreeSet;
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Crates that may depend on any other crate of the workspace.
const TOPS: [&str; 4] = ["attr-cli", "attr-testkit", "attr-examples", "xtask"];

/// Third-party crates, and the only crates that may name them (I2).
const OWNED: [(&str, &str); 17] = [
    ("image", "attr-viz"),
    ("plotters", "attr-viz"),
    ("colorgrad", "attr-viz"),
    ("dejavu", "attr-viz"),
    ("object_store", "attr-store"),
    ("reqwest", "attr-store"),
    ("tokio", "attr-store"),
    ("onnx-ir", "attr-onnx"),
    ("simple_clustering", "attr-surrogate"),
    ("attr-kernels", "attr-core"),
    ("multiversion", "attr-kernels"),
    ("multiversion", "attr-tree"),
    ("rayon", "attr-kernels"),
    ("rayon", "attr-tree"),
    ("rten-gemm", "attr-kernels"),
    ("burn-ir", "attr-core"),
    ("burn-capture", "attr-core"),
];

/// Text that a library's code must not contain, the path where it may, and the reason.
const FORBIDDEN: [(&str, &str, &str); 15] = [
    ("todo!(", "", "a stub"),
    ("unimplemented!(", "", "a stub"),
    ("dbg!(", "", "a leftover"),
    ("#[ignore", "", "a test that does not run"),
    (".unwrap()", "", "I4: a panic on bad input"),
    (".expect(", "", "I4: a panic on bad input"),
    ("panic!(", "", "I4: a panic on bad input"),
    ("unreachable!(", "", "I4: a panic on bad input"),
    (
        "burn::backend::ir",
        "attr-core/src/graph/",
        "I2: Burn's recordings outside the graph",
    ),
    (
        "capture_scope(",
        "attr-core/src/graph/",
        "I2: Burn's capture outside the graph",
    ),
    (
        "Device::capture(",
        "attr-core/src/graph/",
        "I2: Burn's capture outside the graph",
    ),
    ("Device::default(", "", "I3: a device chosen in a library"),
    ("Device::flex(", "", "I3: a device chosen in a library"),
    ("std::net::", "", "I6: network input or output"),
    ("std::thread::spawn", "", "I6: a thread of its own"),
];

/// Reports every violation.
pub fn run() -> Result<(), String> {
    let metadata = MetadataCommand::new()
        .current_dir(crate::root())
        .no_deps()
        .exec()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let mut problems = dependencies(&metadata);
    problems.extend(crate::features::differences()?);
    problems.extend(crate::features::lean()?);
    for package in &metadata.packages {
        let folder = package.manifest_path.parent();
        let library = package.targets.iter().any(|t| t.is_lib());
        let library = library && !TOPS.contains(&package.name.as_str());
        visit(
            folder.ok_or("a package without a folder")?.as_std_path(),
            &["rs"],
            &mut |path, text| {
                let in_sources = path.components().any(|part| part.as_os_str() == "src");
                problems.extend(source(path, text, library && in_sources));
            },
        )?;
    }
    visit(
        &crate::root(),
        &["md", "rs", "toml", "py"],
        &mut |path, text| {
            problems.extend(unmerged(path, text));
        },
    )?;
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!("tidy found:\n  {}", problems.join("\n  ")))
}

/// The crate that offers all others behind one dependency.
const UMBRELLA: &str = "attr";

/// Crates that know nothing of Burn.
const WITHOUT_BACKEND: [&str; 4] = ["attr-data", "attr-kernels", "attr-store", "attr-tree"];

const BACKENDS: [&str; 4] = ["flex", "ndarray", "wgpu", "cuda"];

/// Checks what manifests show of I1 to I3: a star of crates, owned dependencies, no default
/// backend.
fn dependencies(metadata: &Metadata) -> Vec<String> {
    let mut problems = Vec::new();
    let members: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    for package in &metadata.packages {
        let name = package.name.as_str();
        if TOPS.contains(&name) {
            continue;
        }
        for dependency in &package.dependencies {
            let on = dependency.name.as_str();
            // The kernels know nothing of the core, which is their only user. The index of a data set
            // stands on the method that finds concepts. Data sets and indexes are files.
            let shared = ["attr-core", "attr-kernels"].contains(&on)
                || (name, on) == ("attr-index", "attr-lrp-crp")
                || (["attr-data", "attr-index"].contains(&name) && on == "attr-store");
            if members.contains(on) && !shared && name != UMBRELLA {
                problems.push(format!(
                    "{name} depends on {on}: I1, only attr-core is shared"
                ));
            }
            let owners = OWNED.iter().filter(|owned| owned.0 == on);
            let owners: Vec<&str> = owners.map(|owned| owned.1).collect();
            let owned = !owners.is_empty() && !owners.contains(&name);
            if owned && dependency.kind == DependencyKind::Normal {
                let owners = owners.join(" and ");
                problems.push(format!(
                    "{name} depends on {on}: I2, it belongs to {owners}"
                ));
            }
        }
        let defaults = package.features.get("default");
        for feature in defaults.into_iter().flatten() {
            if name != UMBRELLA || BACKENDS.contains(&feature.as_str()) {
                problems.push(format!(
                    "{name} has the default feature {feature}: I3, the user chooses a backend"
                ));
            }
        }
        // Plain slices and files have no backend.
        let backends = BACKENDS.iter().filter(|_| !WITHOUT_BACKEND.contains(&name));
        for &backend in backends {
            if !package.features.contains_key(backend) {
                problems.push(format!("{name} does not forward the feature {backend}: I3"));
            }
        }
    }
    problems
}

/// Returns the violations in one source file.
fn source(path: &Path, text: &str, library: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let shown = path.display().to_string().replace('\\', "/");
    let shown = shown
        .rsplit_once("/../")
        .map_or(shown.clone(), |(_, rest)| rest.into());
    if !text.starts_with("//!") {
        problems.push(format!(
            "{shown}: no `//!` header says what the file is for"
        ));
    }
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        if !library || line.trim_start().starts_with("//") {
            continue;
        }
        for (forbidden, allowed, why) in FORBIDDEN {
            let excused = !allowed.is_empty() && shown.contains(allowed);
            if line.contains(forbidden) && !excused {
                problems.push(format!("{shown}:{}: {forbidden} ({why})", number + 1));
            }
        }
    }
    problems
}

/// Returns the lines that a merge left behind.
fn unmerged(path: &Path, text: &str) -> Vec<String> {
    let marked = |line: &str| {
        let marks = ["<<<<<<<", ">>>>>>>", "|||||||"];
        marks.iter().any(|mark| line.starts_with(mark))
    };
    let lines = text.lines().enumerate().filter(|(_, line)| marked(line));
    let shown = path.display();
    lines
        .map(|(number, _)| format!("{shown}:{}: left by a merge", number + 1))
        .collect()
}

/// Visits every file below a folder that has one of the extensions.
fn visit(
    folder: &Path,
    extensions: &[&str],
    check: &mut dyn FnMut(&Path, &str),
) -> Result<(), String> {
    let shown = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(shown)? {
        let path = entry.map_err(shown)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|n| n == "target" || n == ".git");
        if path.is_dir() && !hidden {
            visit(&path, extensions, check)?;
        } else if path
            .extension()
            .is_some_and(|own| extensions.iter().any(|extension| own == *extension))
        {
            check(&path, &std::fs::read_to_string(&path).map_err(shown)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> usize {
        source(Path::new(path), text, true).len()
    }

    #[test]
    fn violations_are_found() {
        assert_eq!(problems("a/src/x.rs", "//! Good.\nfn f() {}\n"), 0);
        assert_eq!(problems("a/src/x.rs", "fn f() {}\n"), 1);
        for (forbidden, _, _) in FORBIDDEN {
            let text = format!("//! Bad.\nlet x = {forbidden}\n");
            assert_eq!(problems("a/src/x.rs", &text), 1, "{forbidden}");
        }
    }

    #[test]
    fn comments_tests_and_allowed_places_are_excused() {
        assert_eq!(problems("a/src/x.rs", "//! x.\n// never panic!()\n"), 0);
        assert_eq!(
            problems("a/src/x.rs", "//! x.\n#[cfg(test)]\nx.unwrap();\n"),
            0
        );
        let capture = "//! x.\nuse burn::backend::ir::OperationIr;\n";
        assert_eq!(problems("crates/attr-core/src/graph/lower.rs", capture), 0);
        assert_eq!(problems("crates/attr-core/src/model.rs", capture), 1);
    }

    #[test]
    fn what_a_merge_left_is_found() {
        let left = |text: &str| unmerged(Path::new("a.md"), text).len();
        assert_eq!(left("a\n<<<<<<< ours\nb\n=======\nc\n>>>>>>> theirs\n"), 2);
        assert_eq!(left("Title\n=======\n"), 0);
    }

    #[test]
    fn this_repository_is_tidy() {
        assert_eq!(run(), Ok(()));
    }
}
