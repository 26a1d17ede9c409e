//! A request, whatever sends it.

use awc::{
    Client, SendClientRequest,
    http::{
        Method, Uri,
        header::{HeaderName, HeaderValue},
    },
};
use bytes::Bytes;

/// A request. Framing, `Host` and a `User-Agent` are added by the exchange unless the fields are there.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Method.
    pub method: Method,
    /// Absolute URL.
    pub url: Uri,
    /// Header fields, in order.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body; empty for none.
    pub body: Bytes,
}

impl Request {
    /// Sends the request.
    pub(super) fn send(self, client: &Client) -> SendClientRequest {
        let mut request = client.request(self.method, self.url);
        for field in self.headers {
            request = request.append_header(field);
        }
        if self.body.is_empty() {
            request.send()
        } else {
            request.send_body(self.body)
        }
    }
}
