//! Request and response bodies: counted for the log, and damaged by faults.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::connection::Link;
use crate::log::Entry;

/// Bytes read from a stored file at a time.
const CHUNK: usize = 256 * 1024;

/// The client's body could not be read to its end.
#[derive(Debug)]
pub(crate) struct BodyBroken;

impl std::fmt::Display for BodyBroken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the body broke off")
    }
}

impl std::error::Error for BodyBroken {}

/// A fault of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// The connection ends after this many bytes.
    Cut(u64),
    /// The body stalls after this many bytes, and the connection stays open.
    Stall(u64),
    /// The byte at this offset is changed.
    Corrupt(u64),
}

/// A request's body.
pub(crate) struct Upload {
    incoming: Incoming,
    entry: Arc<Entry>,
    link: Link,
    body_fault: Option<BodyFault>,
    received: u64,
}

impl Upload {
    pub(crate) fn new(
        incoming: Incoming,
        entry: Arc<Entry>,
        link: Link,
        body_fault: Option<BodyFault>,
    ) -> Self {
        Self {
            incoming,
            entry,
            link,
            body_fault,
            received: 0,
        }
    }

    /// Keeps the body's text in the log.
    pub(crate) fn note(&self, text: &str) {
        self.entry.set_body(text);
    }

    /// The next chunk. `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BodyBroken> {
        match self.frame().await {
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(broken)) => Err(broken),
            None => Ok(None),
        }
    }

    /// The whole body. `None` if it is longer than `limit`.
    pub(crate) async fn whole(&mut self, limit: usize) -> Result<Option<Vec<u8>>, BodyBroken> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > limit {
                return Ok(None);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Some(whole))
    }

    /// Reads the rest that the answer did not need. Closing a connection with unread bytes resets
    /// it, and the client may lose the answer, depending on timing, which tests can do without.
    /// `early` skips this, as real front ends may.
    pub(crate) async fn drain(&mut self, early: bool) {
        while !early && matches!(self.chunk().await, Ok(Some(_))) {}
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyBroken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        match self.body_fault {
            Some(BodyFault::Cut(at)) if self.received >= at => {
                self.link.reset();
                return Poll::Ready(Some(Err(BodyBroken)));
            }
            Some(BodyFault::Stall(at)) if self.received >= at => return Poll::Pending,
            _ => {}
        }
        let frame = match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(BodyBroken))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        let Ok(mut data) = frame.into_data() else {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
        };
        match self.body_fault {
            Some(BodyFault::Cut(at) | BodyFault::Stall(at)) => {
                data = shortened(data, at - self.received)
            }
            Some(BodyFault::Corrupt(at)) => data = corrupted(data, self.received, at),
            None => {}
        }
        self.received += data.len() as u64;
        self.entry.received(data.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.body_fault.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Where an answer's body comes from.
pub(crate) enum Source {
    /// No body.
    Empty,
    /// Memory.
    Whole(Bytes),
    /// A part of a stored file.
    File { file: File, left: u64 },
    /// A real registry behind the stand-in.
    Upstream(Incoming),
}

impl Source {
    /// The length in bytes; 0 if only the upstream knows it.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Source::Empty | Source::Upstream(_) => 0,
            Source::Whole(bytes) => bytes.len() as u64,
            Source::File { left, .. } => *left,
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match self {
            Source::Empty => Poll::Ready(None),
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => {
                let piece = bytes.split_to(bytes.len().min(CHUNK));
                Poll::Ready(Some(Ok(piece)))
            }
            Source::File { left: 0, .. } => Poll::Ready(None),
            Source::File { file, left } => {
                // A read from the page cache is short; a blocking thread would cost more.
                let mut piece = vec![0; usize::try_from(*left).unwrap_or(CHUNK).min(CHUNK)];
                Poll::Ready(Some(file.read_exact(&mut piece).map(|()| {
                    *left -= piece.len() as u64;
                    Bytes::from(piece)
                })))
            }
            Source::Upstream(incoming) => match Pin::new(incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    Poll::Ready(Some(Ok(frame.into_data().unwrap_or_default())))
                }
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(io::Error::other(error)))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

/// An answer's body.
pub(crate) struct Outgoing {
    source: Source,
    entry: Option<Arc<Entry>>,
    body_fault: Option<BodyFault>,
    sent: u64,
    flushed: bool,
}

impl Outgoing {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            entry: None,
            body_fault: None,
            sent: 0,
            flushed: false,
        }
    }

    /// Counts into this log entry from now on.
    pub(crate) fn count(&mut self, entry: Arc<Entry>) {
        self.entry = Some(entry);
    }

    /// Applies a fault to what is sent.
    pub(crate) fn body_fault(&mut self, body_fault: BodyFault) {
        self.body_fault = Some(body_fault);
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        match &this.body_fault {
            Some(BodyFault::Cut(at)) if this.sent >= *at => {
                if this.flushed {
                    return Poll::Ready(Some(Err(io::Error::other("cut as told"))));
                }
                // hyper flushes when a body has nothing ready; only then have the bytes before the
                // cut been sent.
                this.flushed = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(BodyFault::Stall(at)) if this.sent >= *at => return Poll::Pending,
            _ => {}
        }
        let mut data = match this.source.poll_next(context) {
            Poll::Ready(Some(Ok(data))) => data,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        match &this.body_fault {
            Some(BodyFault::Cut(at) | BodyFault::Stall(at)) => {
                data = shortened(data, at - this.sent)
            }
            Some(BodyFault::Corrupt(at)) => data = corrupted(data, this.sent, *at),
            None => {}
        }
        this.sent += data.len() as u64;
        if let Some(entry) = &this.entry {
            entry.sent(data.len() as u64);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Whole(bytes) => bytes.is_empty(),
            Source::File { left, .. } => *left == 0,
            Source::Upstream(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(incoming) => incoming.size_hint(),
            known => SizeHint::with_exact(known.length()),
        }
    }
}

fn shortened(data: Bytes, left: u64) -> Bytes {
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    data.slice(..data.len().min(left))
}

fn corrupted(data: Bytes, start: u64, at: u64) -> Bytes {
    let inside = at
        .checked_sub(start)
        .and_then(|at| usize::try_from(at).ok());
    match inside {
        Some(index) if index < data.len() => {
            let mut changed = data.to_vec();
            changed[index] ^= 0xff;
            changed.into()
        }
        _ => data,
    }
}
