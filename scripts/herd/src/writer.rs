//! A client that posts sample eval runs, like the evaluators of the subnet.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use cathedral_publisher::{demo::sample::Sample, domain::ran_at::RanAt};
use http::{
    Method,
    header::{self, HeaderValue},
};
use tokio::time::Instant;

use crate::{exchange::Exchange, news::News, page::Item, plan::Writers, response::Keep};

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// A writer.
pub(super) struct Writer {
    /// Connections, limits and counters.
    pub exchange: Exchange,
    /// The plan of all writers.
    pub plan: Rc<Writers>,
    /// Where it notes when it sends which rows.
    pub news: Rc<RefCell<News>>,
}

impl Writer {
    /// Posts at these times, or later if the previous response was late.
    pub(super) async fn run(self, due: impl Iterator<Item = Instant>) {
        // A random seed: ids must not repeat those of other data.
        let mut sample = Sample::new(fastrand::u64(..));
        for due in due {
            let (ids, rows) = match self.rows(&mut sample) {
                Ok((ids, rows)) => (ids, Bytes::from(rows)),
                Err(error) => {
                    log::error!("herd: cannot make sample rows: {error:#}");
                    return;
                }
            };
            self.exchange.timer.until(due).await;
            let now = Instant::now();
            self.news.borrow_mut().rows(ids, now);
            let target = &self.plan.target;
            let request = || {
                let mut request = target.request(Method::POST, rows.clone());
                let fields = request.headers_mut();
                fields.insert(header::AUTHORIZATION, self.plan.bearer.clone());
                fields.insert(header::CONTENT_TYPE, NDJSON);
                request
            };
            let answer = self
                .exchange
                .poll(due, &target.origin, Keep::Nothing, request);
            if answer.await.is_some() {
                let rows = u64::from(self.plan.rows);
                self.exchange.tally.borrow_mut().rows(rows);
            }
        }
    }

    /// Returns the ids of new rows, and the rows.
    fn rows(&self, sample: &mut Sample) -> anyhow::Result<(Vec<String>, String)> {
        let now = RanAt::parse(&jiff::Timestamp::now().to_string())?;
        let rows = (0..self.plan.rows).map(|_| {
            let row = sample.eval_run(&now)?;
            let id = serde_json::from_str::<Item<'_>>(&row)?.id.into_owned();
            Ok((id, row))
        });
        let (ids, rows): (_, Vec<_>) = rows
            .collect::<anyhow::Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        Ok((ids, rows.join("\n")))
    }
}
