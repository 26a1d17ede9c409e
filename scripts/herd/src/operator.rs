//! A client that changes the board, like the operator of the subnet.

use std::{cell::RefCell, rc::Rc};

use awc::{Client, http::header};
use tokio::time::Instant;

use crate::{exchange::Exchange, news::News, plan::Operator};

/// An operator.
pub(super) struct Changer {
    /// Connections, limits and counters.
    pub exchange: Exchange,
    /// The plan.
    pub plan: Rc<Operator>,
    /// Where it notes when it sends which change.
    pub news: Rc<RefCell<News>>,
}

impl Changer {
    /// Changes the board at these times, or later if the previous response was late.
    pub(super) async fn run(self, due: impl Iterator<Item = Instant>) {
        for due in due {
            self.exchange.timer.until(due).await;
            let mut item = Vec::new();
            let challenge = self.news.borrow_mut().change(Instant::now());
            if let Err(error) = challenge.write_item(&mut item) {
                log::error!("herd: cannot make a challenge: {error}");
                return;
            }
            let item = bytes::Bytes::from(item);
            let request = |client: &Client| {
                let bearer = format!("Bearer {}", self.plan.token);
                client
                    .put(self.plan.url.clone())
                    .insert_header((header::AUTHORIZATION, bearer))
                    .insert_header((header::CONTENT_TYPE, "application/json"))
                    .send_body(item.clone())
            };
            self.exchange.poll(due, false, request).await;
        }
    }
}
