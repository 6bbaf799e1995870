//! Uses a report in headless Chromium as a reader would; `cargo xtask test-all` runs this where
//! Chromium is installed.
//!
//! `report_driver.js` is appended to the page as a second script. It drives every control and
//! leaves its findings in the page.

use std::path::{Path, PathBuf};
use std::process::Command;

use attr_core::walk::{Entry, Ledger};
use attr_viz::{Map, Picture, Report, Sample, Shown, Style, View};
use serde::Deserialize;

/// Text that must stay text, wherever it stands.
const EVIL: &str = "</script><script>alert(1)</script><img src=x onerror=alert(1)> \"'& مرحبا 映画";

#[derive(Deserialize)]
struct Outcome {
    failures: Vec<String>,
    checks: usize,
    ready_ms: f64,
}

fn wave(i: usize, phase: f32) -> f32 {
    (i as f32 * 0.37 + phase).sin() * (1.0 + (i as f32 * 0.011 + phase).cos())
}

fn numbers(count: usize, phase: usize) -> Vec<f32> {
    (0..count).map(|i| wave(i, phase as f32)).collect()
}

/// Six methods, of which one looks at a layer and one fails.
fn explained(sample: Sample, i: usize, attribution: impl Fn(&str, usize) -> Shown) -> Sample {
    let targets = ["7", EVIL];
    let mut sample = sample.with_predictions([("7", 0.7), (EVIL, 0.2), ("1", 0.1)]);
    for (t, target) in targets.into_iter().enumerate() {
        let phase = i * 10 + 100 * t;
        for (m, method) in ["saliency", "lrp", "lime", EVIL].iter().enumerate() {
            let shown = attribution(method, phase + m);
            let shown = shown
                .with_delta(0.001)
                .with_seconds(0.12)
                .with_evaluations(51);
            let shown = shown.with_metric("deletion", f64::from(wave(i, m as f32)), false);
            sample = sample.with(shown.with_metric(EVIL, 0.5, true).for_target(target));
        }
        let layer = attribution("gradcam", phase + 5).for_target(target);
        sample = sample.with(layer.with_layer("layer4.1"));
        sample = sample.with(Shown::error(
            "xrai",
            target,
            format!("it needs segments {EVIL}"),
        ));
    }
    sample
}

fn sample(i: usize) -> Result<Sample, attr_viz::Error> {
    let name = format!("sample {i} {EVIL}");
    Ok(match i % 5 {
        0 => {
            let tokens = ["a", "dull", "film", EVIL, "", "wonderful"];
            explained(Sample::text(name, tokens), i, |method, phase| {
                Shown::values(method, "7", numbers(6, phase))
            })
        }
        1 => {
            let features = (0..30).map(|f| (format!("feature {f} {EVIL}"), format!("{f} {EVIL}")));
            explained(Sample::table(name, features), i, |method, phase| {
                Shown::values(method, "7", numbers(30, phase))
            })
        }
        2 => {
            let channels = (0..2).map(|c| (format!("channel {c} {EVIL}"), numbers(60, c)));
            explained(Sample::series(name, channels), i, |method, phase| {
                Shown::series(method, "7", 2, numbers(120, phase))
            })
        }
        _ => {
            let picture = Picture::gray(&numbers(96 * 80, i), 96, 80, -2.0..2.0)?;
            let maps = [(96, 80), (12, 10)].map(|(width, height)| {
                move |phase| Map::new(numbers(width * height, phase), width, height)
            });
            explained(Sample::image(name, &picture)?, i, move |method, phase| {
                let map = maps[usize::from(method == "gradcam")](phase);
                let shown = Shown::map(method, "7", &map.expect("it is a map"));
                if method == "lrp" {
                    shown.with_references(EVIL)
                } else {
                    shown
                }
            })
        }
    })
}

fn report() -> Result<Report, attr_viz::Error> {
    let entry = Entry {
        layer: format!("conv1 {EVIL}"),
        operation: "Conv2d".into(),
        rule: EVIL.into(),
        received: 1.0,
        received_absolute: 1.0,
        passed: 0.9,
        passed_absolute: 0.9,
        bias: 0.1,
        stabilizer: 0.0,
        stopped: 0.0,
        rounding: 0.0,
    };
    let ledger = Ledger {
        started: 1.0,
        arrived: 0.9,
        arrived_absolute: 0.9,
        arrived_rounding: 0.0,
        entries: vec![entry],
    };
    let map = Map::new(numbers(48, 1), 8, 6)?;
    let reference = View::HeatMap.draw(&map, None, &Style::default())?;
    let mut report = Report::new(format!("Report {EVIL}"))
        .with_references(EVIL, [&reference; 3])?
        .with_date("2026-01-31")
        .with_fact(EVIL, EVIL)
        .with_fact("seed", "7")
        .with_layer("conv1", "Conv2d", vec![16, 8, 8], Some(0.6))
        .with_layer(EVIL, EVIL, vec![10], None)
        .with_ledger(format!("sample 3 {EVIL}"), "7", ledger);
    for i in 0..50 {
        report.add(sample(i)?);
    }
    Ok(report)
}

fn chromium() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = names
        .iter()
        .flat_map(|name| folders.iter().map(move |f| f.join(name)));
    found
        .into_iter()
        .find(|file| file.exists())
        .expect("Chromium is installed")
}

/// Opens a page and returns it after its scripts have run.
fn open(page: &Path) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(chromium())
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
        ])
        .args([
            "--virtual-time-budget=60000",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ])
        .args(["--window-size=1280,900", "--allow-file-access-from-files"])
        .arg("--disable-dev-shm-usage")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A page that shows the report in a frame of 400 pixels and copies its findings out of it.
const NARROW: &str = "<!doctype html><body>\
    <iframe width=400 height=900 src=report.html></iframe><script>\
    const wait = setInterval(() => {\
      const found = document.querySelector('iframe').contentDocument.getElementById('outcome');\
      if (found) { clearInterval(wait); document.body.append(found.cloneNode(true)); }\
    }, 50);</script></body>";

fn outcome(page: &Path) -> Outcome {
    let dom = open(page);
    let start = dom
        .find("id=\"outcome\"")
        .unwrap_or_else(|| panic!("no outcome: {}", &dom[..500]));
    let text = &dom[start..];
    let text = &text[text.find('>').unwrap() + 1..text.find("</pre>").unwrap()];
    let unescaped = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&amp;", "&"),
    ];
    let text = unescaped
        .iter()
        .fold(text.to_string(), |text, (from, to)| text.replace(from, to));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Appends the driver to a page and uses it at two widths.
fn used(html: &str, least_checks: usize) {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let driver = include_str!("report_driver.js");
    let driven = html.replace("</body>", &format!("<script>{driver}</script></body>"));
    std::fs::write(&page, driven).unwrap();
    // Chromium has no window as narrow as a telephone, but frames.
    let narrow = folder.path().join("narrow.html");
    std::fs::write(&narrow, NARROW).unwrap();
    for (width, page) in [(1280, &page), (400, &narrow)] {
        let mut ready = f64::INFINITY;
        // A machine may be busy once, but not three times.
        for _ in 0..3 {
            let outcome = outcome(page);
            assert!(
                outcome.failures.is_empty(),
                "{width}: {:#?}",
                outcome.failures
            );
            let checks = outcome.checks;
            assert!(checks >= least_checks, "{width}: only {checks} checks");
            ready = ready.min(outcome.ready_ms);
            if ready < 1000.0 {
                break;
            }
        }
        assert!(ready < 1000.0, "{width}: ready after {ready} ms");
    }
}

#[test]
fn a_report_of_every_kind_of_sample_is_used() {
    used(&report().unwrap().to_html().unwrap(), 200);
}

/// The samples that the README links to.
#[test]
fn the_committed_reports_are_used() {
    for name in ["digits", "photo"] {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
        let report = assets.join(name).join("report.html");
        used(&std::fs::read_to_string(report).unwrap(), 50);
    }
}

#[test]
fn an_empty_report_says_so() {
    used(&Report::new("Nothing").to_html().unwrap(), 1);
}
