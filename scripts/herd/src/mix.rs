//! Which of several targets a poll requests: each gets a share of the polls by its weight.

/// The golden ratio less one. Multiples of it, without their whole part, are spread evenly over 0 to 1, however
/// many there are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Targets with weights.
#[derive(Debug, Clone)]
pub struct Mix<T> {
    targets: Vec<T>,
    /// For each target, the sum of the weights up to it and with it.
    ends: Vec<u64>,
}

impl<T> Mix<T> {
    /// Returns a mix of these weights and targets; `None` if they are empty or the weights add up to zero.
    pub fn new(weighted: Vec<(u32, T)>) -> Option<Self> {
        let mut end = 0;
        let mut mix = Self {
            targets: Vec::new(),
            ends: Vec::new(),
        };
        for (weight, target) in weighted {
            end += u64::from(weight);
            mix.targets.push(target);
            mix.ends.push(end);
        }
        (end > 0).then_some(mix)
    }

    /// Returns all targets; there is at least one.
    pub fn targets(&self) -> &[T] {
        &self.targets
    }

    /// Returns the index of the target of a client's poll `number`. `phase`, from 0 to 1, differs between clients. The
    /// polls of each client have the shares of the weights, up to a few polls, and so have those of all.
    pub fn index(&self, phase: f64, number: u64) -> usize {
        let total = self.ends.last().copied().unwrap_or(1);
        let point = (phase + number as f64 * GOLDEN).fract() * total as f64;
        let index = self.ends.partition_point(|end| *end as f64 <= point);
        index.min(self.targets.len().saturating_sub(1))
    }
}
