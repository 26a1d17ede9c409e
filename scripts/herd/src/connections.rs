//! The connections of one client: each client has its own, as real clients do.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    answer::{Answer, Failed},
    http1::{Http1, Unanswered},
    response::Keep,
    target::{Origin, Outgoing},
    transport::Stream,
};

/// The connections of one client.
#[derive(Default)]
pub(super) struct Connections {
    /// The address that they come from.
    from: Option<IpAddr>,
    idle: RefCell<Vec<Idle>>,
    reopened: Cell<u64>,
}

/// An idle connection.
struct Idle {
    origin: Arc<Origin>,
    connection: Http1,
}

impl Connections {
    /// No connections yet; they will come from the address `from`.
    pub(super) fn new(from: Option<IpAddr>) -> Self {
        Self {
            from,
            ..Self::default()
        }
    }

    /// Sends a request and reads the response. If an idle connection turns out to be closed by the server, opens a new one,
    /// once (RFC 9112 §9.3.1). The caller bounds the time.
    ///
    /// # Errors
    /// Why there is no complete response.
    pub(super) async fn send(
        &self,
        origin: &Arc<Origin>,
        keep: Keep,
        request: impl Fn() -> Outgoing,
    ) -> Result<Answer, Failed> {
        if let Some(connection) = self.take_idle(origin) {
            let request = request();
            // Others may have been carried out (RFC 9110 §9.2.2).
            let may_repeat = request.method().is_idempotent();
            match self.send_on(connection, origin, keep, request).await {
                Ok(answer) => return Ok(answer),
                Err(lost) if lost.unsent || (lost.silent && may_repeat) => {
                    self.reopened.set(self.reopened.get() + 1);
                }
                Err(lost) => return Err(lost.failed),
            }
        }
        let stream = Stream::connect(origin, self.from).await?;
        let connection = Http1::new(stream).await?;
        let answer = self.send_on(connection, origin, keep, request()).await;
        answer.map_err(|lost| lost.failed)
    }

    /// Returns how many connections were opened again since this was last asked.
    pub(super) fn take_reopened(&self) -> u64 {
        self.reopened.take()
    }

    async fn send_on(
        &self,
        mut connection: Http1,
        origin: &Arc<Origin>,
        keep: Keep,
        request: Outgoing,
    ) -> Result<Answer, Unanswered> {
        let answer = connection.send(request, keep).await?;
        if connection.is_idle().await {
            let origin = Arc::clone(origin);
            self.idle.borrow_mut().push(Idle { origin, connection });
        }
        Ok(answer)
    }

    fn take_idle(&self, origin: &Arc<Origin>) -> Option<Http1> {
        let mut idle = self.idle.borrow_mut();
        let at = idle
            .iter()
            .rposition(|idle| Arc::ptr_eq(&idle.origin, origin))?;
        Some(idle.swap_remove(at).connection)
    }
}
