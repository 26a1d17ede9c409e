//! Notices the death of what a server cannot do without.
//!
//! An actor stops for good when one of its handlers panics, and nobody is told: the server would go on and
//! never rebuild, or never write. So each of them holds a [`LivenessGuard`], and the server watches all
//! guards through `Liveness`.

use tokio::sync::mpsc;

/// Reports its owner's death by being dropped.
#[derive(Debug)]
pub struct LivenessGuard {
    name: &'static str,
    dead: mpsc::UnboundedSender<&'static str>,
}

impl Drop for LivenessGuard {
    fn drop(&mut self) {
        // Nobody listens once the server itself has ended.
        let _ = self.dead.send(self.name);
    }
}

/// Learns which guard is dropped.
#[derive(Debug)]
pub(crate) struct Liveness {
    dead: mpsc::UnboundedReceiver<&'static str>,
    sender: mpsc::UnboundedSender<&'static str>,
}

impl Default for Liveness {
    fn default() -> Self {
        let (sender, dead) = mpsc::unbounded_channel();
        Self { dead, sender }
    }
}

impl Liveness {
    /// Returns a guard for the actor or task of this name.
    pub(crate) fn guard(&self, name: &'static str) -> LivenessGuard {
        LivenessGuard {
            name,
            dead: self.sender.clone(),
        }
    }

    /// Resolves to the name of the first actor or task that stops; pending until then.
    pub(crate) async fn first_death(&mut self) -> &'static str {
        match self.dead.recv().await {
            Some(name) => name,
            // Cannot happen: one sender is our own.
            None => std::future::pending().await,
        }
    }
}
