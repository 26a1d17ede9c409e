//! Notices the death of what a server cannot do without.
//!
//! An actor dies for good when one of its handlers panics, and nobody is told: the server would go on
//! and never rebuild, or never write. So each of them holds a [`Lifeline`], and who serves holds the
//! other ends.

use tokio::sync::mpsc;

/// Held by what must live; tells of its owner's death by being dropped.
#[derive(Debug)]
pub struct Lifeline {
    name: &'static str,
    lost: mpsc::UnboundedSender<&'static str>,
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        // Nobody listens once the server itself has ended.
        let _ = self.lost.send(self.name);
    }
}

/// The other ends.
#[derive(Debug)]
pub struct Lifelines {
    lost: mpsc::UnboundedReceiver<&'static str>,
    ours: mpsc::UnboundedSender<&'static str>,
}

impl Default for Lifelines {
    fn default() -> Self {
        let (ours, lost) = mpsc::unbounded_channel();
        Self { lost, ours }
    }
}

impl Lifelines {
    /// A lifeline for what goes by this name.
    pub fn give(&self, name: &'static str) -> Lifeline {
        Lifeline {
            name,
            lost: self.ours.clone(),
        }
    }

    /// Ends when one of them has died, with its name; never, while all live.
    pub async fn one_lost(&mut self) -> &'static str {
        match self.lost.recv().await {
            Some(name) => name,
            // Cannot be: one sender is our own.
            None => std::future::pending().await,
        }
    }
}
