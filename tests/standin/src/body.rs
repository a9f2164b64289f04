//! Bodies on their way in and out: counted for the log, and spoilt when a fault says so.

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
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the body broke off")
    }
}

impl std::error::Error for Broken {}

/// What a fault does to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoil {
    /// The connection ends after so many bytes.
    Cut(u64),
    /// Nothing more passes after so many bytes, and the connection stays open.
    Stall(u64),
    /// The byte at this offset arrives changed.
    Corrupt(u64),
}

/// A request's body.
pub(crate) struct Upload {
    incoming: Incoming,
    entry: Arc<Entry>,
    link: Link,
    spoil: Option<Spoil>,
    received: u64,
}

impl Upload {
    pub(crate) fn new(
        incoming: Incoming,
        entry: Arc<Entry>,
        link: Link,
        spoil: Option<Spoil>,
    ) -> Self {
        Self {
            incoming,
            entry,
            link,
            spoil,
            received: 0,
        }
    }

    /// Keeps the body's text in the log.
    pub(crate) fn note(&self, text: &str) {
        self.entry.said(text);
    }

    /// The next piece, or `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        match self.frame().await {
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(broken)) => Err(broken),
            None => Ok(None),
        }
    }

    /// The whole body, or `None` when it is longer than `limit`.
    pub(crate) async fn whole(&mut self, limit: usize) -> Result<Option<Vec<u8>>, Broken> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > limit {
                return Ok(None);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Some(whole))
    }

    /// Reads what the answer did not need. Closing a connection with unread bytes resets
    /// it, and the client may lose the answer; whether it does is a matter of timing, which
    /// tests can do without. `early` leaves it to chance, as real front ends may.
    pub(crate) async fn drain(&mut self, early: bool) {
        while !early && matches!(self.chunk().await, Ok(Some(_))) {}
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.spoil {
            Some(Spoil::Cut(at)) if self.received >= at => {
                self.link.reset();
                return Poll::Ready(Some(Err(Broken)));
            }
            Some(Spoil::Stall(at)) if self.received >= at => return Poll::Pending,
            _ => {}
        }
        let frame = match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Broken))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        let Ok(mut data) = frame.into_data() else {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
        };
        match self.spoil {
            Some(Spoil::Cut(at) | Spoil::Stall(at)) => data = shortened(data, at - self.received),
            Some(Spoil::Corrupt(at)) => data = corrupted(data, self.received, at),
            None => {}
        }
        self.received += data.len() as u64;
        self.entry.received(data.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.spoil.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Where an answer's body comes from.
pub(crate) enum Source {
    /// Nowhere: there is none.
    Empty,
    /// Memory.
    Whole(Bytes),
    /// A part of a stored file.
    File { file: File, left: u64 },
    /// A real registry behind us.
    Upstream(Incoming),
}

impl Source {
    /// How many bytes it will give; 0 when only the upstream knows.
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
                // A read from the page cache is short; handing it to another thread and back
                // would cost more than it.
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
    spoil: Option<Spoil>,
    sent: u64,
    flushed: bool,
}

impl Outgoing {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            entry: None,
            spoil: None,
            sent: 0,
            flushed: false,
        }
    }

    /// Counts into this log entry from now on.
    pub(crate) fn count(&mut self, entry: Arc<Entry>) {
        self.entry = Some(entry);
    }

    /// Spoils what is sent.
    pub(crate) fn spoil(&mut self, spoil: Spoil) {
        self.spoil = Some(spoil);
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
        match &this.spoil {
            Some(Spoil::Cut(at)) if this.sent >= *at => {
                if this.flushed {
                    return Poll::Ready(Some(Err(io::Error::other("cut as told"))));
                }
                // hyper writes what it holds whenever a body has nothing for it; only then
                // have the bytes before the cut left.
                this.flushed = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Spoil::Stall(at)) if this.sent >= *at => return Poll::Pending,
            _ => {}
        }
        let mut data = match this.source.poll_next(context) {
            Poll::Ready(Some(Ok(data))) => data,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        match &this.spoil {
            Some(Spoil::Cut(at) | Spoil::Stall(at)) => data = shortened(data, at - this.sent),
            Some(Spoil::Corrupt(at)) => data = corrupted(data, this.sent, *at),
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
