//! Parses `--condition`, and writes neurons as it takes them.

use attr_lrp_crp::{Concepts, Condition};

use crate::error::Error;

/// Parses `LAYER=CHANNELS;...`; layers' names may contain equals signs.
pub fn parse(text: &str) -> Result<Condition, Error> {
    let bad = |why: &str| {
        Error::input(format!(
            "--condition {text}: {why}; give LAYER=CHANNELS, such as conv3=50,51, and further \
             layers after semicolons"
        ))
    };
    let mut condition = Condition::none();
    for part in text.split(';') {
        if part.trim().is_empty() {
            return Err(bad("a part between semicolons is empty"));
        }
        let (layer, concepts) = part.rsplit_once('=').ok_or_else(|| bad("it has no ="))?;
        let layer = layer.trim();
        if layer.is_empty() {
            return Err(bad("a layer's name is missing"));
        }
        let mut channels = Vec::new();
        let mut neurons = Vec::new();
        for item in concepts.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            let index = item
                .split(':')
                .map(|part| part.trim().parse::<usize>().ok());
            let index: Vec<usize> = index
                .collect::<Option<_>>()
                .ok_or_else(|| bad(&format!("{item:?} is neither a channel nor a neuron")))?;
            match index[..] {
                [channel] => channels.push(channel),
                _ => neurons.push(index),
            }
        }
        let concepts = match (channels.is_empty(), neurons.is_empty()) {
            (false, false) => {
                return Err(bad("it mixes channels and neurons of one layer"));
            }
            (true, false) => Concepts::Neurons(neurons),
            _ => Concepts::Channels(channels),
        };
        condition = condition.and(layer, concepts);
    }
    Ok(condition)
}

/// Writes a neuron's index as `--condition` takes it.
pub fn neuron(index: &[usize]) -> String {
    let parts: Vec<String> = index.iter().map(ToString::to_string).collect();
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn conditions() {
        for good in [
            "conv=1",
            "conv=1,2",
            "a=1;b=2",
            "conv=",
            "conv=1:2:3",
            "x=y=4",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "conv",
            "=1",
            "conv=x",
            "conv=-1",
            "conv=1,2:3:4",
            "a=1;;b=2",
        ] {
            let error = parse(bad).map(|_| ()).unwrap_err();
            assert_eq!(error.status(), 2, "{bad}");
        }
    }
}
