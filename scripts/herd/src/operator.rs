//! A client that changes the board, like the operator of the subnet.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use http::{
    Method,
    header::{self, HeaderValue},
};
use tokio::time::Instant;

use crate::{exchange::Exchange, news::News, plan::Operator, response::Keep};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

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
            let item = Bytes::from(item);
            let target = &self.plan.target;
            let request = || {
                let mut request = target.request(Method::PUT, item.clone());
                let fields = request.headers_mut();
                fields.insert(header::AUTHORIZATION, self.plan.bearer.clone());
                fields.insert(header::CONTENT_TYPE, JSON);
                request
            };
            self.exchange
                .poll(due, &target.origin, Keep::Nothing, request)
                .await;
        }
    }
}
