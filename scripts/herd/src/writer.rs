//! A client that posts sample eval runs, like the evaluators of the subnet.

use std::rc::Rc;

use awc::{Client, http::header};
use cathedral_publisher::{demo::sample::Sample, domain::ran_at::RanAt};
use tokio::time::{Instant, sleep_until};

use crate::{exchange::Exchange, plan::Writers};

/// A writer.
pub(super) struct Writer {
    /// Connections, limits and counters.
    pub exchange: Exchange,
    /// The plan of all writers.
    pub plan: Rc<Writers>,
}

impl Writer {
    /// Posts at these times, or later if the previous response was late.
    pub(super) async fn run(self, due: Vec<Instant>) {
        // A random seed: ids must not repeat those of other data.
        let mut sample = Sample::new(fastrand::u64(..));
        for due in due {
            let rows = match self.rows(&mut sample) {
                Ok(rows) => bytes::Bytes::from(rows),
                Err(error) => {
                    log::error!("herd: cannot make sample rows: {error:#}");
                    return;
                }
            };
            sleep_until(due).await;
            let request = |client: &Client| {
                let bearer = format!("Bearer {}", self.plan.token);
                client
                    .post(self.plan.url.clone())
                    .insert_header((header::AUTHORIZATION, bearer))
                    .insert_header((header::CONTENT_TYPE, "application/x-ndjson"))
                    .send_body(rows.clone())
            };
            if self.exchange.poll(due, false, request).await.is_some() {
                let rows = u64::from(self.plan.rows);
                self.exchange.tally.borrow_mut().rows(rows);
            }
        }
    }

    fn rows(&self, sample: &mut Sample) -> anyhow::Result<String> {
        let now = RanAt::parse(&jiff::Timestamp::now().to_string())?;
        let rows = (0..self.plan.rows).map(|_| Ok(sample.eval_run(&now)?));
        Ok(rows.collect::<anyhow::Result<Vec<_>>>()?.join("\n"))
    }
}
