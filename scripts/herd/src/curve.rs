//! The rate of a run with stages over time, and its inverse: the moment at which poll number *n* is due.
//!
//! A stage of `T` seconds whose rate goes evenly from `a` to `b` has had `a·t + (b − a)·t² / 2T` polls after `t`
//! seconds. The inverse of that is a closed form. A schedule therefore needs no memory, has no drift, and each
//! client, on whatever thread, computes its own share of it.

use std::time::Duration;

use crate::stage::Stage;

/// The polls of all clients together over time. Numbers of polls begin with 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    pieces: Vec<Piece>,
    bursts: Vec<(Duration, u32)>,
    polls: f64,
    length: Duration,
}

/// A stage that lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    began: Duration,
    secs: f64,
    from: f64,
    to: f64,
    /// Polls before it, without those of bursts.
    before: f64,
}

impl Curve {
    /// Puts stages one after the other.
    pub fn new(stages: &[Stage]) -> Self {
        let mut curve = Self {
            pieces: Vec::new(),
            bursts: Vec::new(),
            polls: 0.0,
            length: Duration::ZERO,
        };
        let mut rate = 0.0;
        for stage in stages {
            match *stage {
                Stage::Ramp { length, from, to } => {
                    curve.push(length, from.unwrap_or(rate), to);
                    rate = to;
                }
                Stage::Hold { length, at } => {
                    curve.push(length, at, at);
                    rate = at;
                }
                Stage::Burst { polls } => curve.bursts.push((curve.length, polls)),
            }
        }
        curve
    }

    fn push(&mut self, length: Duration, from: f64, to: f64) {
        let secs = length.as_secs_f64();
        self.pieces.push(Piece {
            began: self.length,
            secs,
            from,
            to,
            before: self.polls,
        });
        self.polls += (from + to) / 2.0 * secs;
        self.length += length;
    }

    /// Returns how long all stages take.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Returns the highest rate, in polls per second.
    pub fn highest_rate(&self) -> f64 {
        let rates = self.pieces.iter().map(|piece| piece.from.max(piece.to));
        rates.fold(0.0, f64::max)
    }

    /// Returns the moments of bursts, in order, and their numbers of polls.
    pub fn bursts(&self) -> &[(Duration, u32)] {
        &self.bursts
    }

    /// Returns when poll `number` is due, without those of bursts; `None` after the last one. Between two polls
    /// lie the numbers between theirs, which is how a jitter is added. Takes logarithmic time.
    pub fn due(&self, number: f64) -> Option<Duration> {
        if number >= self.polls {
            return None;
        }
        let number = number.max(0.0);
        // Of pieces that begin with the same number only the last one has polls.
        let after = self.pieces.partition_point(|piece| piece.before <= number);
        let piece = self.pieces.get(after.checked_sub(1)?)?;
        Some(piece.began + piece.time(number - piece.before))
    }
}

impl Piece {
    /// Returns after which time the piece has had so many polls. Of the two forms of the root, this one does not
    /// cancel, and holds for a constant rate.
    fn time(&self, polls: f64) -> Duration {
        let slope = (self.to - self.from) / self.secs;
        // Rounding may make it negative at the end of a ramp to zero.
        let root = (self.from * self.from + 2.0 * slope * polls)
            .max(0.0)
            .sqrt();
        let divisor = self.from + root;
        let secs = if divisor > 0.0 {
            2.0 * polls / divisor
        } else {
            0.0
        };
        Duration::from_secs_f64(secs.min(self.secs))
    }
}
