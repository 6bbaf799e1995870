//! The peers, and how they are fastest.

use std::mem::{Discriminant, discriminant};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::cases::{Case, Library, Together};
use crate::peer::{Peer, on_host};
use crate::subjects::Subject;

/// Where a run of the peer takes longer, a model's rows of one kind share what the first one's search
/// found.
const SLOW_MS: f64 = 2000.0;

/// What takes less is tried twice in the search.
const QUICK_MS: f64 = 500.0;

/// How the peer is asked to run a case; without a number, by the library's default.
#[derive(Clone, Default, PartialEq)]
pub struct Manner {
    at_once: Option<usize>,
    channels_last: bool,
}

impl std::fmt::Display for Manner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at_once = self.at_once.map(|count| format!("{count} at once"));
        let order = self.channels_last.then(|| "channels last".to_string());
        let words: Vec<String> = at_once.into_iter().chain(order).collect();
        f.write_str(&words.join(", "))
    }
}

/// What the peer can take together, from little to much.
fn batches(together: Together) -> Vec<Option<usize>> {
    let up_to = |candidates: &[usize], all: usize| {
        let fewer = candidates.iter().copied().filter(|&count| count < all);
        fewer.map(Some).collect::<Vec<_>>()
    };
    match together {
        Together::Nothing => vec![None],
        Together::Forward(all) => {
            [vec![None], up_to(&[4, 16, 64, 256], all), vec![Some(all)]].concat()
        }
        Together::Gradients(all) => [up_to(&[1, 4, 16], all), vec![None]].concat(),
        Together::Conditions(all) => {
            [up_to(&[4, 8], all), vec![None], up_to(&[16, 32], all)].concat()
        }
    }
}

/// One row's other side, ready to run.
pub struct Rival<'a> {
    peer: &'a mut Peer,
    request: Json,
    pub best: Manner,
    /// Of the first run in the default manner, which also warmed up.
    pub first_ms: f64,
    pub mib: Option<f64>,
}

impl Rival<'_> {
    /// Returns the milliseconds of one run, after as many milliseconds of runs that do not count as
    /// asked for.
    pub fn run(&mut self, best: bool, warm: u64) -> f64 {
        let manner = if best {
            self.best.clone()
        } else {
            Manner::default()
        };
        let mut request = asked_for(&self.request, &manner);
        request["warm"] = warm.into();
        self.peer.run(&request).expect("it ran before").0
    }
}

fn asked_for(request: &Json, manner: &Manner) -> Json {
    let mut request = request.clone();
    request["at_once"] = json!(manner.at_once);
    request["channels_last"] = manner.channels_last.into();
    request
}

/// The processes beside this one, each started when first needed, for one model.
pub struct Beside {
    folder: PathBuf,
    started: Vec<(Library, Option<Peer>)>,
    /// For each kind of row, how the peer was fastest.
    known: Vec<(Discriminant<Together>, Manner)>,
}

impl Beside {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            started: Vec::new(),
            known: Vec::new(),
        }
    }

    /// Runs a case in the peer's default manner, which leaves its result in the folder where both
    /// sides compute the same, and searches for its best. Without the peer, nothing; the error is why
    /// the peer cannot.
    pub fn rival(&mut self, subject: &Subject, case: &Case) -> Option<Result<Rival<'_>, String>> {
        let index = self.start(case.library);
        let known = &mut self.known;
        let peer = self.started[index].1.as_mut()?;
        let mut request = case.request.clone();
        request["model"] = subject.name.into();
        request["target"] = subject.target.into();
        let mut first = asked_for(&request, &Manner::default());
        first["memory"] = on_host().into();
        first["save"] = case.same.into();
        let (first_ms, answer) = match peer.run(&first) {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let kind = discriminant(&case.together);
        let similar = known.iter().find(|(of, _)| *of == kind);
        let best = match similar {
            Some((_, best)) if first_ms > SLOW_MS => best.clone(),
            _ => search(peer, &request, case.together, subject.channels_last),
        };
        known.retain(|(of, _)| *of != kind);
        known.push((kind, best.clone()));
        Some(Ok(Rival {
            peer,
            request,
            best,
            first_ms,
            mib: answer["mib"].as_f64(),
        }))
    }

    /// Returns the index of a library's process, if it is wanted and there is a Python for it.
    fn start(&mut self, library: Library) -> usize {
        let known = self.started.iter().position(|(of, _)| *of == library);
        known.unwrap_or_else(|| {
            let (script, python) = match library {
                Library::Captum => ("captum_peer.py", "ATTR_PEER_PYTHON"),
                Library::Zennit => ("zennit_peer.py", "ATTR_PEER_PYTHON"),
                // It needs older libraries.
                Library::ZennitCrp => ("zennit_peer.py", "ATTR_CONCEPTS_PYTHON"),
            };
            let peers = std::env::var("ATTR_PEERS").unwrap_or_else(|_| "captum,zennit".into());
            let name = library.name().to_lowercase();
            let wanted = peers.split(',').any(|peer| name.starts_with(peer));
            let peer = wanted.then(|| Peer::start(script, python, &self.folder));
            self.started.push((library, peer.flatten()));
            self.started.len() - 1
        })
    }
}

/// Returns the manner in which one run was fastest.
fn search(peer: &mut Peer, request: &Json, together: Together, channels_last: bool) -> Manner {
    let orders: &[bool] = if channels_last {
        &[false, true]
    } else {
        &[false]
    };
    let mut best = (f64::INFINITY, Manner::default());
    for &channels_last in orders {
        let mut least = f64::INFINITY;
        for at_once in batches(together) {
            let manner = Manner {
                at_once,
                channels_last,
            };
            // What fails in this manner may work in another.
            let Ok((ms, _)) = peer.run(&asked_for(request, &manner)) else {
                continue;
            };
            // The first quick run in another manner still prepares something.
            let again = (ms < QUICK_MS).then(|| peer.run(&asked_for(request, &manner)));
            let ms = again
                .and_then(Result::ok)
                .map_or(ms, |(again, _)| again.min(ms));
            if ms < best.0 {
                best = (ms, manner);
            }
            if ms > 1.25 * least {
                break;
            }
            least = least.min(ms);
        }
    }
    best.1
}
