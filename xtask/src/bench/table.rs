//! The results as tables to read.

use std::fmt::Write;

use super::results::{Results, Row, Times};

/// A difference between both sides that is worth a note.
const NOTED: f64 = 1e-3;

const INTRODUCTION: &str = "\
Both sides run in turn on the same parameters and inputs, with random weights: attr with its default
settings, the peer at its best (in brackets: how many rows, samples or perturbations it takes at once,
and PyTorch's order of memory) and by its default. Times are medians, with half the distance between
the quartiles. *Times as fast* is the median over runs of the peer's time at its best divided by
attr's. *Evaluations* are rows that attr runs forward, and rows of which it computes gradients. *Over
floor* is attr's time divided by what that many forward passes and gradients of the whole model take
at the best batch; it is below 1 where a method runs only a part of the model. *Memory* is by how much
one run makes the resident memory grow, attr's and the peer's by default.";

/// What the tables do not say.
const NOTES: &str = include_str!("notes.md");

/// Writes all results as a Markdown file.
pub fn document(results: &Results) -> String {
    let all = results.versions.iter().filter(|(name, _)| *name != "rustc");
    let mut versions: Vec<String> = all
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    versions.extend(results.versions.get("rustc").cloned());
    let Results {
        date,
        cpu,
        cores,
        system,
        device,
        threads,
        ..
    } = results;
    format!(
        "# Benchmarks\n\n`cargo xtask bench` wrote this file and `BENCHMARKS.json` on {date}; `cargo xtask \
         bench-compare` compares another run with them.\n\n{INTRODUCTION}\n\n\
         - Machine: {cpu}, {cores} cores, {system}; {threads} threads for each side\n\
         - Device of attr: `{device}`\n\
         - Versions: {}\n{}\n{NOTES}",
        versions.join(", "),
        tables(results)
    )
}

/// Writes a table for each model.
pub fn tables(results: &Results) -> String {
    let mut text = String::new();
    let mut models: Vec<&str> = Vec::new();
    for row in &results.rows {
        if !models.contains(&&row.model[..]) {
            models.push(&row.model);
        }
    }
    for model in models {
        let rows: Vec<&Row> = results
            .rows
            .iter()
            .filter(|row| row.model == model)
            .collect();
        let mut title = model.to_string();
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let _ = writeln!(text, "\n## {title}\n\n{}", table(&rows));
    }
    text
}

/// One model's table, with notes below.
fn table(rows: &[&Row]) -> String {
    // Metrics have neither evaluations nor a search for the peer's best.
    let whole = rows.iter().any(|row| row.work.is_some());
    let mut text = if whole {
        "| Method | attr | peer | at its best | by default | times as fast | evaluations | over floor | memory, MiB |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    } else {
        "| Method | attr | peer | | times as fast |\n|---|---|---|---|---|\n"
    }
    .to_string();
    for row in rows {
        let mut best = row.peer_best_ms.as_ref().map_or("-".into(), time);
        if let Some(manner) = row.peer_best.as_ref().filter(|manner| !manner.is_empty()) {
            let _ = write!(best, " ({manner})");
        }
        let ratio = row.ratio.map_or("-".into(), digits);
        let (name, ours, peer) = (name(row), time(&row.ours_ms), &row.peer);
        if !whole {
            let _ = writeln!(text, "| {name} | {ours} | {peer} | {best} | {ratio} |");
            continue;
        }
        let default = row.peer_default_ms.as_ref().map_or("-".into(), time);
        let work = row
            .work
            .map_or("-".into(), |work| match work.backward_rows {
                0 => format!("{} forward", work.forward_rows),
                gradients => format!("{} forward, {gradients} gradients", work.forward_rows),
            });
        let floor = row.over_floor.map_or("-".into(), digits);
        let memory = [row.ours_mib, row.peer_mib]
            .map(|mib| mib.map_or("-".into(), |mib| format!("{mib:.0}")));
        let _ = writeln!(
            text,
            "| {name} | {ours} | {peer} | {best} | {default} | {ratio} | {work} | {floor} | {} |",
            memory.join(" / ")
        );
    }
    for row in rows {
        if let Some(error) = &row.refusal {
            let _ = write!(
                text,
                "\n{} cannot compute {}: `{error}`.\n",
                row.peer,
                name(row)
            );
        }
        if let Some(difference) = row.difference.filter(|&difference| difference > NOTED) {
            let _ = write!(
                text,
                "\n{}: both sides differ by {difference:.1e} of the result's norm.\n",
                name(row)
            );
        }
    }
    text.trim_end().to_string()
}

/// The method with its setting.
pub fn name(row: &Row) -> String {
    match &row.setting[..] {
        "" => row.method.clone(),
        setting => format!("{}, {setting}", row.method),
    }
}

/// A median and half the distance between the quartiles.
fn time(times: &Times) -> String {
    let (value, unit) = match times.median {
        ms if ms < 1.0 => (ms * 1e3, "µs"),
        ms if ms < 1e3 => (ms, "ms"),
        ms => (ms / 1e3, "s"),
    };
    let spread = 50.0 * times.spread();
    format!("{} {unit} ± {spread:.0}%", digits(value))
}

/// A number with three digits, or all before its decimal point.
fn digits(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let of = |median, low, high| {
            time(&Times {
                median,
                low,
                high,
                runs: 3,
            })
        };
        assert_eq!(of(0.0456, 0.0456, 0.0456), "45.6 µs ± 0%");
        assert_eq!(of(12.34, 12.0, 13.0), "12.3 ms ± 4%");
        assert_eq!(of(21900.0, 20000.0, 24380.0), "21.9 s ± 10%");
        assert_eq!(digits(13812.4), "13812");
    }
}
