//! Which part of a sweep is this machine's.

use anyhow::{Context as _, bail};

use super::model::{Target, digest};

/// Part `index` (from 0) of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    index: u64,
    count: u64,
}

/// Variables with an index, its first value (a number, or the variable that has it), the variable with the count.
const JOBS: &[(&str, First, &str)] = &[
    // GitLab, `parallel:`; from 1. Its runners on Kubernetes have no completion index.
    ("CI_NODE_INDEX", First::At(1), "CI_NODE_TOTAL"),
    ("BUILDKITE_PARALLEL_JOB", First::At(0), "BUILDKITE_PARALLEL_JOB_COUNT"),
    ("CIRCLE_NODE_INDEX", First::At(0), "CIRCLE_NODE_TOTAL"),
    ("AWS_BATCH_JOB_ARRAY_INDEX", First::At(0), "AWS_BATCH_JOB_ARRAY_SIZE"),
    ("SLURM_ARRAY_TASK_ID", First::In("SLURM_ARRAY_TASK_MIN"), "SLURM_ARRAY_TASK_COUNT"),
    // Kubernetes tells a pod of an indexed job its index, and not how many there are.
    ("JOB_COMPLETION_INDEX", First::At(0), "CLAVIGER_SHARD_COUNT"),
];

#[derive(Clone, Copy)]
enum First {
    At(u64),
    In(&'static str),
}

impl Shard {
    /// Reads `I/N` with I from 1, or `auto`; `variable` looks into the environment.
    pub(super) fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Shard> {
        if text == "auto" {
            return Shard::of_job(variable);
        }
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Shard { index: index - 1, count }),
            _ => bail!("--shard: write I/N with I from 1 to N, as in `2/5`, or `auto`"),
        }
    }

    fn of_job(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Shard> {
        let number = |name: &str| -> anyhow::Result<u64> {
            let text = variable(name).with_context(|| format!("--shard auto: {name} is not set"))?;
            text.trim().parse().with_context(|| format!("--shard auto: {name} is no number"))
        };
        let Some((index, first, count)) = JOBS.iter().find(|job| variable(job.0).is_some()) else {
            let names: Vec<&str> = JOBS.iter().map(|job| job.0).collect();
            bail!("--shard auto: none of {} is set; write I/N", names.join(", "));
        };
        let first = match first {
            First::At(first) => *first,
            First::In(name) => number(name)?,
        };
        let (at, count_of) = (number(index)?, number(count)?);
        match at.checked_sub(first) {
            Some(at) if at < count_of => Ok(Shard { index: at, count: count_of }),
            _ => bail!("--shard auto: {index} is {at}, which is no part of {count}={count_of}; write I/N"),
        }
    }

    /// Whether a repository is in this part: by its name alone, so that it stays there when others come and go.
    pub(super) fn has(self, target: &Target) -> bool {
        let hash = digest(&[target.name.as_bytes()]);
        // 60 bits: the share of no part is off by more than count / 2^60.
        u64::from_str_radix(&hash[..15], 16).is_ok_and(|n| n % self.count == self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Where;
    use super::*;

    fn auto(set: &[(&str, &str)]) -> anyhow::Result<Shard> {
        Shard::parse("auto", |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn parts_of_jobs() {
        let part = |index, count| Shard { index, count };
        let none = |_: &str| None;
        assert_eq!(Shard::parse("2/5", none).unwrap(), part(1, 5));
        for bad in ["0/5", "6/5", "1", "a/b", "1/0", "-1/2"] {
            assert!(Shard::parse(bad, none).is_err(), "{bad}");
        }
        assert_eq!(auto(&[("CI_NODE_INDEX", "3"), ("CI_NODE_TOTAL", "3")]).unwrap(), part(2, 3));
        assert_eq!(auto(&[("CIRCLE_NODE_INDEX", "0"), ("CIRCLE_NODE_TOTAL", "2")]).unwrap(), part(0, 2));
        let buildkite = [("BUILDKITE_PARALLEL_JOB", "1"), ("BUILDKITE_PARALLEL_JOB_COUNT", "4")];
        assert_eq!(auto(&buildkite).unwrap(), part(1, 4));
        let batch = [("AWS_BATCH_JOB_ARRAY_INDEX", "9"), ("AWS_BATCH_JOB_ARRAY_SIZE", "10")];
        assert_eq!(auto(&batch).unwrap(), part(9, 10));
        let slurm =
            [("SLURM_ARRAY_TASK_ID", "7"), ("SLURM_ARRAY_TASK_MIN", "5"), ("SLURM_ARRAY_TASK_COUNT", "3")];
        assert_eq!(auto(&slurm).unwrap(), part(2, 3));
        let pod = [("JOB_COMPLETION_INDEX", "1"), ("CLAVIGER_SHARD_COUNT", "2")];
        assert_eq!(auto(&pod).unwrap(), part(1, 2));
        assert!(auto(&pod[..1]).is_err() && auto(&[]).is_err());
        assert!(auto(&[("CI_NODE_INDEX", "4"), ("CI_NODE_TOTAL", "3")]).is_err());
    }

    #[test]
    fn every_repository_is_in_one_part() {
        let mut sizes = [0; 3];
        for n in 0..300 {
            let target = Target { name: format!("https://example.org/r{n}"), at: Where::Url(String::new()) };
            let parts: Vec<u64> =
                (0..3).filter(|index| Shard { index: *index, count: 3 }.has(&target)).collect();
            assert_eq!(parts.len(), 1);
            sizes[parts[0] as usize] += 1;
        }
        assert!(sizes.iter().all(|size| *size > 60), "{sizes:?}");
    }
}
