//! A formula, or a part of it, on its way to a client: one chunk at a time.

use std::{
    io,
    net::IpAddr,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, future::LocalBoxFuture};

use super::{CnfHandle, checked::Source, chunks::ChunkError, measured::CHUNK_BYTES};

/// Bytes of a formula. Each chunk was compared with its checksum: after an error nothing wrong was sent, but less than
/// was announced.
pub struct FormulaStream {
    cnf: CnfHandle,
    source: Arc<Source>,
    client: IpAddr,
    left: Range<u64>,
    reading: Option<LocalBoxFuture<'static, Result<Bytes, ChunkError>>>,
}

impl FormulaStream {
    pub(super) fn new(
        cnf: CnfHandle,
        source: Arc<Source>,
        client: IpAddr,
        range: Range<u64>,
    ) -> Self {
        Self {
            cnf,
            source,
            client,
            left: range,
            reading: None,
        }
    }

    /// Returns how many bytes are left.
    pub fn bytes(&self) -> u64 {
        self.left.end.saturating_sub(self.left.start)
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>, index: u64) -> Poll<Result<Bytes, ChunkError>> {
        if self.reading.is_none() {
            if let Some(chunk) = self.cnf.chunks().cached(&self.source, index) {
                return Poll::Ready(Ok(chunk));
            }
            let (chunks, source) = (self.cnf.chunks().clone(), Arc::clone(&self.source));
            let client = self.client;
            let reading = async move { chunks.chunk(&source, index, client).await };
            self.reading = Some(reading.boxed_local());
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(Err(ChunkError::Late));
        };
        let chunk = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(chunk)
    }
}

impl Stream for FormulaStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.left.is_empty() {
            return Poll::Ready(None);
        }
        let chunk_bytes = CHUNK_BYTES as u64;
        let index = this.left.start / chunk_bytes;
        let chunk = match ready!(this.poll_chunk(cx, index)) {
            Ok(chunk) => chunk,
            Err(error) => {
                this.cnf.was_cut(&this.source, error);
                this.left.start = this.left.end;
                return Poll::Ready(Some(Err(io::Error::other(error))));
            }
        };
        let start = index * chunk_bytes;
        // Within the chunk, which is no longer than usize.
        let from = (this.left.start - start) as usize;
        let to = ((this.left.end - start) as usize).min(chunk.len());
        this.left.start = start + to as u64;
        Poll::Ready(Some(Ok(chunk.slice(from..to))))
    }
}
