//! Which of several URLs a poll requests: a share of the polls by weight.

use awc::http::Uri;

/// The golden ratio less one. Multiples of it, without their whole part, are spread evenly over 0 to 1, however
/// many there are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// URLs with weights.
#[derive(Debug, Clone)]
pub struct Mix {
    urls: Vec<Uri>,
    /// For each URL, the sum of the weights up to it and with it.
    ends: Vec<u64>,
}

impl Mix {
    /// Returns a mix of these weights and URLs; `None` if they are empty or the weights add up to zero.
    pub fn new(weighted: Vec<(u32, Uri)>) -> Option<Self> {
        let mut end = 0;
        let mut mix = Self {
            urls: Vec::new(),
            ends: Vec::new(),
        };
        for (weight, url) in weighted {
            end += u64::from(weight);
            mix.urls.push(url);
            mix.ends.push(end);
        }
        (end > 0).then_some(mix)
    }

    /// Returns all URLs; there is at least one.
    pub fn urls(&self) -> &[Uri] {
        &self.urls
    }

    /// Returns the index of the URL of a client's poll `number`. `phase`, from 0 to 1, differs between clients. The
    /// polls of each client have the shares of the weights, up to a few polls, and so have those of all.
    pub fn index(&self, phase: f64, number: u64) -> usize {
        let total = self.ends.last().copied().unwrap_or(1);
        let point = (phase + number as f64 * GOLDEN).fract() * total as f64;
        let index = self.ends.partition_point(|end| *end as f64 <= point);
        index.min(self.urls.len().saturating_sub(1))
    }
}
