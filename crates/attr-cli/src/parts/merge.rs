//! `attrx merge`: what parts hold, joined.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use attr_store::Folder;
use npyz::{NpyWriter, WriterBuilder};
use safetensors::SafeTensors;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::evaluate::{Evaluated, Named};
use super::explain::Explained;
use super::{Command, Left, Part, Parts};
use crate::args::MergePartsArguments;
use crate::error::Error;
use crate::evaluate::{About, Compared, Wanted};
use crate::output::{self, Outputs};
use crate::{json, print};

/// Which samples scores are of, as JSON.
#[derive(Serialize)]
struct Scored<'a> {
    /// In the order of values.
    samples: Vec<Named>,
    skipped: Vec<Left>,
    /// The samples of each part that is not done.
    missing: &'a [(u64, u64)],
}

/// What was joined, as JSON.
#[derive(Serialize)]
struct Merged {
    samples: u64,
    rows: u64,
    skipped: u64,
    parts: u64,
    /// The samples of each part that is not done.
    missing: Vec<(u64, u64)>,
    attributions: Vec<Attribution>,
    warnings: BTreeSet<String>,
}

#[derive(Serialize)]
struct Attribution {
    /// The input or layer.
    name: String,
    file: String,
    shape: Vec<u64>,
}

/// Joins the parts that are done.
pub fn run(arguments: &MergePartsArguments) -> Result<(), Error> {
    let parts = Parts::open(&arguments.folder)?;
    let outputs = [
        ("--json", &arguments.json, &[][..]),
        ("--csv", &arguments.csv, &["csv"]),
        ("--image", &arguments.image, &["png", "svg"]),
    ];
    let outputs = outputs.into_iter().filter_map(|(flag, path, extensions)| {
        let path = path.as_deref().filter(|path| path.as_os_str() != "-")?;
        Some((flag, path, extensions))
    });
    let mut read = vec![arguments.folder.as_path()];
    read.extend(arguments.out.as_deref());
    output::check(&outputs.collect::<Vec<_>>(), &read)?;
    let (mut done, mut missing) = (Vec::new(), Vec::new());
    for part in 0..parts.count() {
        if parts.is_done(part)? {
            done.push(part);
        } else {
            let samples = parts.samples(part);
            missing.push((samples.start, samples.end));
        }
    }
    if done.is_empty() {
        return Err(Error::input(format!(
            "{}: no part is done",
            arguments.folder.display()
        )));
    }
    if missing.is_empty() {
        parts.clean()?;
    }
    match parts.run.command {
        Command::Explain => explanations(arguments, &parts, &done, missing),
        Command::Evaluate => evaluations(arguments, &parts, &done, &missing),
    }
}

/// Says which parts were joined.
fn said(parts: &Parts, missing: &[(u64, u64)]) -> String {
    let count = parts.count();
    let Some((start, _)) = missing.first() else {
        return format!("merged all {count} parts");
    };
    let left = missing.len() as u64;
    format!(
        "merged {} of {count} parts; {left} are missing, such as that of sample {start}: run their \
         shards again",
        count - left
    )
}

/// A file that appears once everything is written.
struct Output {
    path: PathBuf,
    file: NamedTempFile,
}

impl Output {
    fn new(folder: &Path, name: &str) -> Result<Self, Error> {
        let path = folder.join(name);
        let file = output::temporary(&path).map_err(failed(&path))?;
        Ok(Self { path, file })
    }

    fn handle(&self) -> Result<BufWriter<File>, Error> {
        let handle = self.file.reopen().map_err(failed(&self.path))?;
        Ok(BufWriter::new(handle))
    }

    fn keep(self) -> Result<(), Error> {
        let kept = self.file.persist(&self.path);
        kept.map_err(|error| failed(&self.path)(error.error))?;
        Ok(())
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |error| Error::other(format!("cannot write {path}: {error}"))
}

/// A part's description, which was there before.
fn found<T: serde::de::DeserializeOwned>(parts: &Parts, part: u64) -> Result<Part<T>, Error> {
    let found = parts.get(part)?;
    found.ok_or_else(|| {
        Error::other(format!(
            "part {part} was replaced or removed meanwhile; merge again"
        ))
    })
}

/// Joins attributions.
fn explanations(
    arguments: &MergePartsArguments,
    parts: &Parts,
    done: &[u64],
    missing: Vec<(u64, u64)>,
) -> Result<(), Error> {
    for (flag, given) in [("--csv", &arguments.csv), ("--image", &arguments.image)] {
        if given.is_some() {
            return Err(Error::input(format!(
                "{flag}: these are explanations; there is no table"
            )));
        }
    }
    let folder = match &arguments.out {
        Some(out) => Folder::at(out)?.local().map(Path::to_path_buf),
        None => parts.local(),
    };
    let folder = folder.ok_or_else(|| Error::input("give --out, a folder of this machine"))?;
    std::fs::create_dir_all(&folder).map_err(failed(&folder))?;
    let (mut rows, mut skipped) = (0, 0);
    let mut warnings = BTreeSet::new();
    let mut known: Vec<(String, Vec<usize>)> = Vec::new();
    for &part in done {
        let found: Part<Explained> = found(parts, part)?;
        rows += found.content.rows.len() as u64;
        skipped += found.skipped.len() as u64;
        warnings.extend(found.content.warnings);
        if known.is_empty() {
            known = found.content.attributions;
        } else if !found.content.rows.is_empty() && found.content.attributions != known {
            return Err(Error::other(format!(
                "part {part} holds attributions of other shapes than those before it"
            )));
        }
    }
    let attributions = known.into_iter().enumerate().map(|(at, (name, shape))| {
        let shape = shape.into_iter().map(|size| size as u64);
        Attribution {
            name,
            file: match at {
                0 => "attributions.npy".into(),
                _ => format!("attributions-{at}.npy"),
            },
            shape: std::iter::once(rows).chain(shape).collect(),
        }
    });
    let merged = Merged {
        samples: parts.run.samples,
        rows,
        skipped,
        parts: parts.count(),
        attributions: attributions.collect(),
        missing,
        warnings,
    };
    write(&folder, parts, done, &merged)?;
    let to_stdout = arguments.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = arguments.json.as_deref().filter(|_| !to_stdout) {
        let mut outputs = Outputs::default();
        outputs.add(path, json::content(&merged)?);
        outputs.write()?;
    }
    if to_stdout {
        return json::print(&merged);
    }
    if arguments.quiet {
        return Ok(());
    }
    let skipped = match merged.skipped {
        0 => String::new(),
        n => format!(", {n} skipped"),
    };
    let warning = match merged.warnings.first() {
        None => String::new(),
        Some(first) if merged.warnings.len() == 1 => format!("warning: {first}\n"),
        Some(first) => format!(
            "warning: {first} (of {} warnings in merged.json)\n",
            merged.warnings.len()
        ),
    };
    print(&format!(
        "{}\n{} rows{skipped}, in {}\n{warning}",
        said(parts, &merged.missing),
        merged.rows,
        folder.display()
    ))
}

/// Writes arrays and lines, part by part.
fn write(folder: &Path, parts: &Parts, done: &[u64], merged: &Merged) -> Result<(), Error> {
    // Until all files are in place, nothing says that they belong together.
    let description = folder.join("merged.json");
    match std::fs::remove_file(&description) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(failed(&description)(error));
        }
        _ => {}
    }
    let arrays = merged.attributions.iter();
    let arrays = arrays.map(|one| Output::new(folder, &one.file));
    let arrays = arrays.collect::<Result<Vec<_>, Error>>()?;
    let (lines, left) = (
        Output::new(folder, "rows.jsonl")?,
        Output::new(folder, "skipped.jsonl")?,
    );
    let mut writers: Vec<NpyWriter<f32, BufWriter<File>>> = Vec::new();
    for (one, array) in merged.attributions.iter().zip(&arrays) {
        let begun = npyz::WriteOptions::new()
            .default_dtype()
            .shape(&one.shape)
            .writer(array.handle()?)
            .begin_nd();
        writers.push(begun.map_err(failed(&array.path))?);
    }
    let (mut rows, mut skipped) = (lines.handle()?, left.handle()?);
    for &part in done {
        let found: Part<Explained> = found(parts, part)?;
        for row in &found.content.rows {
            line(&mut rows, row, &lines.path)?;
        }
        for one in &found.skipped {
            line::<Left>(&mut skipped, one, &left.path)?;
        }
        for (name, written) in &found.files {
            let content = parts.file(name, written)?;
            let bad = |error: safetensors::SafeTensorError| {
                Error::other(format!("{name} is damaged: {error}"))
            };
            let tensors = SafeTensors::deserialize(&content).map_err(bad)?;
            for (at, writer) in writers.iter_mut().enumerate() {
                let tensor = tensors.tensor(&at.to_string()).map_err(bad)?;
                let (values, _) = tensor.data().as_chunks::<4>();
                let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes));
                writer.extend(values).map_err(failed(&arrays[at].path))?;
            }
        }
    }
    for (writer, array) in writers.into_iter().zip(&arrays) {
        writer.finish().map_err(failed(&array.path))?;
    }
    rows.flush().map_err(failed(&lines.path))?;
    skipped.flush().map_err(failed(&left.path))?;
    for output in arrays.into_iter().chain([lines, left]) {
        output.keep()?;
    }
    // What was joined is said last.
    let mut outputs = Outputs::default();
    outputs.add(&description, json::content(merged)?);
    outputs.write()
}

fn line<T: Serialize>(into: &mut impl Write, value: &T, path: &Path) -> Result<(), Error> {
    let text = serde_json::to_string(value).map_err(|error| Error::other(error.to_string()))?;
    writeln!(into, "{text}").map_err(failed(path))
}

/// Joins scores.
fn evaluations(
    arguments: &MergePartsArguments,
    parts: &Parts,
    done: &[u64],
    missing: &[(u64, u64)],
) -> Result<(), Error> {
    if arguments.out.is_some() {
        return Err(Error::input(
            "--out: scores are written by --json, --csv and --image",
        ));
    }
    let wanted = Wanted {
        json: arguments.json.as_deref(),
        csv: arguments.csv.as_deref(),
        image: arguments.image.as_deref(),
        quiet: arguments.quiet,
    };
    let mut all: Option<(About, Compared)> = None;
    let (mut samples, mut skipped) = (Vec::new(), Vec::new());
    for &part in done {
        let found: Part<Evaluated> = found(parts, part)?;
        samples.extend(found.content.samples);
        skipped.extend(found.skipped);
        match (&mut all, found.content.compared) {
            (Some((_, all)), Some(more)) => all.append(more)?,
            (None, Some(first)) => all = Some((found.content.about, first)),
            (_, None) => {}
        }
    }
    let Some((about, compared)) = all else {
        return Err(Error::input(
            "all samples were skipped; there are no scores",
        ));
    };
    let to_stdout = wanted.json == Some(Path::new("-"));
    if !to_stdout && !arguments.quiet {
        let skipped = match skipped.first() {
            None => String::new(),
            Some(Left { name, reason, .. }) => {
                format!(", {} skipped, such as {name}: {reason}", skipped.len())
            }
        };
        print(&format!(
            "{}; {} rows{skipped}\n\n",
            said(parts, missing),
            samples.len()
        ))?;
    }
    let parts = Scored {
        samples,
        skipped,
        missing,
    };
    wanted.write(&about, &parts, &compared)
}
