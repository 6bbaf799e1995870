//! Tables of references in the folders of zennit-crp's `FeatureVisualization`.

use std::collections::BTreeMap;
use std::path::Path;

use attr_store::Folder;
use npyz::{DType, NpyFile, Order, TypeStr, WriterBuilder};

use crate::strengths::Key;
use crate::{Error, MaxTarget, Mode, Reference, References};

/// The three arrays of a list, and the types of their elements.
const SAMPLES: (&str, &str) = ("data", "<i8");
const SCORES: (&str, &str) = ("rel", "<f4");
const NEURONS: (&str, &str) = ("rf", "<i8");

/// The name of a folder, such as `RelMax_sum_normed`.
fn folder_name(mode: Mode, kind: &str, max_target: MaxTarget, abs_norm: bool) -> String {
    let mode = match mode {
        Mode::Relevance => "Rel",
        Mode::Activation => "Act",
    };
    let target = match max_target {
        MaxTarget::Sum => "sum",
        MaxTarget::Max => "max",
    };
    let norm = if abs_norm { "normed" } else { "unnormed" };
    format!("{mode}{kind}_{target}_{norm}")
}

impl References {
    /// Writes the folders that zennit-crp's `FeatureVisualization` reads, at a path or URL:
    /// `RelMax_sum_normed`, `ActMax_sum_normed`, and `RelStats_sum_normed` and `ActStats_sum_normed` for
    /// the samples of each class, named after what scores are. A `/` in a layer's name becomes a dot.
    ///
    /// # Errors
    /// [`Error::Export`] for layers that get the same name, and for concepts with fewer samples than
    /// others of their layer, for which that format has no place; [`Error::File`].
    pub fn write_zennit_crp(
        &self,
        path: impl AsRef<Path>,
        max_target: MaxTarget,
        abs_norm: bool,
    ) -> Result<(), Error> {
        let mut names: BTreeMap<String, &str> = BTreeMap::new();
        for layer in self.layers() {
            if let Some(other) = names.insert(file_name(layer), layer) {
                return Err(Error::Export(format!(
                    "layers {other:?} and {layer:?} would be the same files of zennit-crp"
                )));
            }
        }
        let root = Folder::at(path)?;
        for (name, layer) in names {
            for mode in Mode::ALL {
                let folder = |kind| root.child(&folder_name(mode, kind, max_target, abs_norm));
                let classes = self.classes(layer, mode);
                for class in classes.iter().copied() {
                    let key = Key {
                        layer: layer.into(),
                        mode,
                        class,
                    };
                    let lists = self.concept_lists(&key);
                    let (folder, prefix) = match class {
                        Some(class) => (folder("Stats").child(&name), class.to_string()),
                        None => (folder("Max"), name.clone()),
                    };
                    folder.ensure()?;
                    write_lists(&folder, &prefix, layer, lists)?;
                }
                let classes: Vec<i64> = classes
                    .into_iter()
                    .flatten()
                    .map(|class| class as i64)
                    .collect();
                if !classes.is_empty() {
                    let folder = folder("Stats").child(&name);
                    folder.ensure()?;
                    let content =
                        array(TARGETS.1, &[classes.len() as u64], classes.iter().copied());
                    folder.put(
                        "targets.npy",
                        &content.map_err(|e| folder.damaged("targets.npy", &e))?,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Reads the folders that zennit-crp's `FeatureVisualization` has written, of one kind of scores.
    /// The explained class of a reference is known if samples of its class were ranked, too.
    ///
    /// # Errors
    /// [`Error::NoIndex`] if there is no such folder; [`Error::Damaged`] for files that do not fit each
    /// other; [`Error::File`].
    pub fn read_zennit_crp(
        path: impl AsRef<Path>,
        max_target: MaxTarget,
        abs_norm: bool,
    ) -> Result<Self, Error> {
        let root = Folder::at(path)?;
        let mut found = Self::new();
        let mut lists = Vec::new();
        for mode in Mode::ALL {
            let folder = |kind| root.child(&folder_name(mode, kind, max_target, abs_norm));
            for layer in prefixes(&folder("Max"))? {
                lists.extend(read_lists(&folder("Max"), &layer, &layer, mode, None)?);
            }
            for layer in folder("Stats").names()? {
                let own = folder("Stats").child(&layer);
                for class in prefixes(&own)? {
                    let number: usize = class.parse().map_err(|_| {
                        own.damaged(
                            &class,
                            "the file's name does not begin with the number of a class",
                        )
                    })?;
                    lists.extend(read_lists(&own, &class, &layer, mode, Some(number))?);
                }
            }
        }
        if lists.is_empty() {
            return Err(Error::NoIndex {
                path: root.path().into(),
                reason: "there are no lists of zennit-crp here for this max_target and abs_norm",
            });
        }
        let longest = lists.iter().map(|(_, _, list)| list.len()).max();
        found = found.with_sample_size(longest.unwrap_or_default());
        // In which class a sample was ranked.
        let mut classes: BTreeMap<u64, usize> = BTreeMap::new();
        for (key, _, list) in &lists {
            if let Some(class) = key.class {
                classes.extend(list.iter().map(|one| (one.sample, class)));
            }
        }
        for (key, concept, list) in lists {
            found.reserve(&key, concept + 1);
            for mut reference in list {
                reference.target = key
                    .class
                    .or_else(|| classes.get(&reference.sample).copied());
                found.insert(&key, concept, reference);
            }
        }
        Ok(found)
    }
}

const TARGETS: (&str, &str) = ("targets", "<i8");

fn file_name(layer: &str) -> String {
    layer.trim_start_matches('/').replace(['/', '\\'], ".")
}

/// The starts of the names of `*_data.npy`.
fn prefixes(folder: &Folder) -> Result<Vec<String>, Error> {
    let names = folder.names()?;
    let prefix = |name: String| name.strip_suffix("_data.npy").map(String::from);
    Ok(names.into_iter().filter_map(prefix).collect())
}

fn write_lists(
    folder: &Folder,
    prefix: &str,
    layer: &str,
    lists: &[Vec<Reference>],
) -> Result<(), Error> {
    let ranks = lists.first().map_or(0, Vec::len);
    if let Some(other) = lists.iter().position(|list| list.len() != ranks) {
        return Err(Error::Export(format!(
            "concept {other} of layer {layer:?} has {} samples and concept 0 has {ranks}; zennit-crp \
             has no place for this",
            lists[other].len()
        )));
    }
    let shape = [ranks as u64, lists.len() as u64];
    // Ranks come first.
    let each = (0..ranks).flat_map(|rank| lists.iter().map(move |list| &list[rank]));
    for ((what, kind), content) in [
        (
            SAMPLES,
            array(SAMPLES.1, &shape, each.clone().map(|one| one.sample as i64)),
        ),
        (
            SCORES,
            array(SCORES.1, &shape, each.clone().map(|one| one.score)),
        ),
        (
            NEURONS,
            array(NEURONS.1, &shape, each.clone().map(|one| one.neuron as i64)),
        ),
    ] {
        let name = format!("{prefix}_{what}.npy");
        let content =
            content.map_err(|error| folder.damaged(&name, &format!("{error} ({kind})")))?;
        folder.put(&name, &content)?;
    }
    Ok(())
}

/// The content of a `.npy` file.
fn array<T: npyz::Serialize>(
    kind: &str,
    shape: &[u64],
    values: impl Iterator<Item = T>,
) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let write = || -> std::io::Result<()> {
        let kind: TypeStr = kind.parse().map_err(std::io::Error::other)?;
        let options = npyz::WriteOptions::new()
            .dtype(DType::Plain(kind))
            .shape(shape);
        let mut writer = options.writer(&mut content).begin_nd()?;
        writer.extend(values)?;
        writer.finish()
    };
    write().map_err(|error| error.to_string())?;
    Ok(content)
}

/// The lists of all concepts of a layer.
fn read_lists(
    folder: &Folder,
    prefix: &str,
    layer: &str,
    mode: Mode,
    class: Option<usize>,
) -> Result<Vec<(Key, usize, Vec<Reference>)>, Error> {
    let (shape, samples) = read_array::<i64>(folder, prefix, SAMPLES.0)?;
    let (scores_shape, scores) = read_array::<f32>(folder, prefix, SCORES.0)?;
    let (neurons_shape, neurons) = read_array::<i64>(folder, prefix, NEURONS.0)?;
    let name = format!("{prefix}_data.npy");
    let [_, concepts] = shape[..] else {
        let reason = "its shape is not [ranks, concepts]";
        return Err(folder.damaged(&name, reason).into());
    };
    if scores_shape != shape || neurons_shape != shape {
        let reason = "its shape is not that of the scores and neurons beside it";
        return Err(folder.damaged(&name, reason).into());
    }
    if samples.iter().chain(&neurons).any(|&number| number < 0) {
        let reason = "the number of a sample or neuron is negative";
        return Err(folder.damaged(&name, reason).into());
    }
    let concepts = concepts as usize;
    let key = Key {
        layer: layer.into(),
        mode,
        class,
    };
    let list = |concept: usize| {
        let places = (concept..samples.len()).step_by(concepts.max(1));
        let reference = |place: usize| Reference {
            sample: samples[place] as u64,
            target: None,
            score: scores[place],
            neuron: neurons[place] as usize,
        };
        (key.clone(), concept, places.map(reference).collect())
    };
    Ok((0..concepts).map(list).collect())
}

fn read_array<T: npyz::Deserialize>(
    folder: &Folder,
    prefix: &str,
    what: &str,
) -> Result<(Vec<u64>, Vec<T>), Error> {
    let name = format!("{prefix}_{what}.npy");
    let content = folder
        .get(&name)?
        .ok_or_else(|| folder.damaged(&name, "it is missing"))?;
    let read = || -> std::io::Result<_> {
        check_header(&content)?;
        let file = NpyFile::new(&content[..])?;
        if file.order() != Order::C {
            return Err(std::io::Error::other("its order is not that of C"));
        }
        let shape = file.shape().to_vec();
        let count = shape
            .iter()
            .try_fold(1u64, |count, &size| count.checked_mul(size));
        if count.is_none_or(|count| count == 0 || count > content.len() as u64) {
            return Err(std::io::Error::other("its shape does not fit its length"));
        }
        Ok((
            shape,
            file.into_vec::<T>()
                .map_err(|error| std::io::Error::other(error.to_string()))?,
        ))
    };
    read().map_err(|error| folder.damaged(&name, &error.to_string()).into())
}

/// Refuses headers that NumPy does not write for such arrays: the reader takes time and memory for what
/// a header may say.
fn check_header(content: &[u8]) -> std::io::Result<()> {
    let header = content
        .get(..LONGEST_HEADER.min(content.len()))
        .unwrap_or_default();
    let end = header
        .iter()
        .position(|&byte| byte == b'\n')
        .unwrap_or(header.len());
    let length = header
        .get(8..10)
        .map_or(0, |two| usize::from(two[0]) | usize::from(two[1]) << 8);
    let brackets = header[..end]
        .iter()
        .filter(|byte| b"([{".contains(byte))
        .count();
    let digits = header[..end]
        .split(|byte| !byte.is_ascii_digit())
        .map(<[u8]>::len)
        .max();
    // Two numbers below 10^9 have a product.
    let plain = length <= LONGEST_HEADER && brackets <= 2 && digits.is_none_or(|most| most <= 9);
    let version = header.starts_with(b"\x93NUMPY\x01\x00");
    if version && plain {
        return Ok(());
    }
    Err(std::io::Error::other(
        "it is no array as zennit-crp writes them",
    ))
}

/// The longest header that is read, in bytes; NumPy's have 128.
const LONGEST_HEADER: usize = 1024;
