//! Parses `--shard`.

use crate::error::Error;

/// Parses `I/N`, or `/N` inside a job that knows its own number.
pub fn parse(text: &str) -> Result<(u64, u64), Error> {
    shard(text, |name| std::env::var(name).ok())
}

fn shard(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<(u64, u64), Error> {
    let bad = |why: &str| Error::input(format!("--shard {text}: {why}"));
    let (shard, shards) = text
        .split_once('/')
        .ok_or_else(|| bad("give I/N, such as 3/16, or /N inside a job array"))?;
    let shards: u64 = shards
        .trim()
        .parse()
        .ok()
        .filter(|shards| *shards > 0)
        .ok_or_else(|| bad("the number of shards must be at least 1"))?;
    let number = |name: &str| variable(name).and_then(|value| value.parse::<u64>().ok());
    let shard = if shard.trim().is_empty() {
        let slurm = number("SLURM_ARRAY_TASK_ID");
        let own = slurm
            .or_else(|| number("JOB_COMPLETION_INDEX"))
            .or_else(|| number("AWS_BATCH_JOB_ARRAY_INDEX"));
        own.ok_or_else(|| {
            bad("none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX and \
                 AWS_BATCH_JOB_ARRAY_INDEX is set; give I/N")
        })?
    } else {
        let shard = shard.trim().parse();
        shard.map_err(|_| bad("give I/N, such as 3/16"))?
    };
    if shard >= shards {
        return Err(bad(&format!("shards are counted from 0 to {}", shards - 1)));
    }
    Ok((shard, shards))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards() {
        let given = |name: &str, value: &'static str| {
            let name = name.to_string();
            move |asked: &str| (asked == name).then(|| value.to_string())
        };
        let nothing = |_: &str| None;
        assert_eq!(shard("3/16", nothing).unwrap(), (3, 16));
        assert_eq!(shard("0/1", nothing).unwrap(), (0, 1));
        for name in [
            "SLURM_ARRAY_TASK_ID",
            "JOB_COMPLETION_INDEX",
            "AWS_BATCH_JOB_ARRAY_INDEX",
        ] {
            assert_eq!(shard("/8", given(name, "5")).unwrap(), (5, 8));
            assert!(shard("/5", given(name, "5")).is_err());
        }
        for bad in ["", "3", "/8", "8/8", "-1/8", "1/0", "x/2", "1/x"] {
            assert_eq!(shard(bad, nothing).unwrap_err().status(), 2, "{bad}");
        }
    }
}
