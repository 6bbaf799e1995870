//! `attrx`: explains the predictions of an ONNX model from the terminal.
//!
//! ```text
//! args.rs       the arguments                  methods/       the available methods
//! explain.rs, part.rs  layers.rs  list.rs  lrp.rs  crp.rs   the commands
//! evaluate.rs  tune.rs  report.rs                           more commands
//! metrics.rs    the available metrics          ground.rs      what explanations are judged on
//! model.rs      the model, cut as requested    parameters.rs  --set, by each method's schema
//! input.rs  npy.rs  image.rs  reads arrays and images   target.rs  baseline.rs  mask.rs  their flags
//! index/        concepts of a whole data set   direction.rs  of examples
//! data.rs       the samples of a data set       shard.rs       --shard
//! parts/        explanations and evaluations of a whole data set
//! output.rs     writes all files or none       picture.rs     --image
//! allocator.rs  keeps freed memory              json.rs        writes JSON
//! memory.rs     --memory                        layout.rs      columns of printed tables
//! asked.rs      what lrp and crp share          condition.rs   --condition
//! summary.rs    printed and JSON summaries     device.rs  progress.rs  error.rs
//! ```

mod allocator;
mod answers;
mod args;
mod asked;
mod baseline;
mod condition;
mod crp;
mod data;
mod device;
mod direction;
mod error;
mod evaluate;
mod explain;
mod ground;
mod image;
mod index;
mod input;
mod json;
mod layers;
mod layout;
mod list;
mod lrp;
mod mask;
mod memory;
mod methods;
mod metrics;
mod model;
mod names;
mod npy;
mod output;
mod parameters;
mod part;
mod parts;
mod picture;
mod progress;
mod report;
mod shard;
mod shift;
mod summary;
mod target;
mod tune;

use std::borrow::Cow;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Arguments, Command};
use error::Error;

#[global_allocator]
static ALLOCATOR: allocator::Reporting = allocator::Reporting;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    // Burn reports some failures by panicking. The panic message becomes an error; nothing else is
    // printed.
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let text = text.unwrap_or("no message");
        Err(Error::other(format!(
            "internal error: {text}; please report it"
        )))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If this fails, there is nowhere left to report it.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.status())
        }
    }
}

fn run() -> Result<(), Error> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => return Err(usage(&error)),
        // --help and --version.
        Err(help) => return print(&help.render().to_string()),
    };
    match arguments.command {
        Command::Crp(arguments) => crp::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Layers(arguments) => layers::run(&arguments),
        Command::Lrp(arguments) => lrp::run(&arguments),
        Command::Merge(arguments) => parts::merge(&arguments),
        Command::Methods(arguments) => list::methods(&arguments),
        Command::Metrics(arguments) => list::metrics(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Tune(arguments) => tune::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "attrx", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// Turns clap's error into one line, without its usage advice.
fn usage(error: &clap::Error) -> Error {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Error::input("a command is missing (try --help)");
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().take_while(|line| {
        let line = line.trim_start();
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    let lines: Vec<&str> = lines
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    Error::input(format!("{} (try --help)", lines.join(" ")))
}

/// Whether a character would act on a terminal or reorder text.
fn acts_on_terminals(c: char) -> bool {
    let reorders = matches!(
        c,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    (c.is_control() && c != '\n' && c != '\t') || reorders
}

/// Writes out the characters that would act on a terminal: names in a model file may hold any.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(acts_on_terminals) {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if acts_on_terminals(c) {
            result.extend(c.escape_unicode());
        } else {
            result.push(c);
        }
    }
    Cow::Owned(result)
}

/// Prints to standard output. A closed pipe is not an error.
fn print(text: &str) -> Result<(), Error> {
    let text = printable(text);
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::other(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}
