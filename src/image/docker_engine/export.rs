//! The body of an engine's export, passed in chunks from the connection to the thread that writes
//! it to disk.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use reqwest::Response;
use serde::Deserialize;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::timeout;

use super::error::{EngineError, EngineMessage, io_error, timeout_error};
use crate::oci::json;

type Chunk = io::Result<Bytes>;

/// An export whose response has started.
pub(super) struct Export {
    pub(super) engine: String,
    pub(super) reference: String,
    pub(super) response: Response,
    pub(super) stall_timeout: Duration,
}

impl Export {
    /// Sends the export to the channel in chunks, until its end or until the receiver is dropped.
    pub(super) async fn send_to(mut self, chunks: Sender<Chunk>) -> Result<(), EngineError> {
        let result = self.send(&chunks).await;
        if result.is_err() {
            // The receiver must not mistake a part of the export for the whole.
            let broken = io::Error::other("the engine's export broke off");
            let _ = chunks.send(Err(broken)).await;
        }
        result
    }

    async fn send(&mut self, chunks: &Sender<Chunk>) -> Result<(), EngineError> {
        let mut received = 0;
        let mut tail = Tail::default();
        loop {
            let chunk = match timeout(self.stall_timeout, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(self.error_after(received, io_error(error))),
                Err(_) => return Err(self.error_after(received, timeout_error(self.stall_timeout))),
            };
            received += chunk.len() as u64;
            tail.push(&chunk);
            if chunks.send(Ok(chunk)).await.is_err() {
                return Ok(());
            }
        }
        match tail.error_message() {
            Some(message) => Err(EngineError::Stopped {
                engine: self.engine.clone(),
                reference: self.reference.clone(),
                received,
                cause: EngineMessage(message),
            }),
            None => Ok(()),
        }
    }

    fn error_after(&self, received: u64, cause: io::Error) -> EngineError {
        EngineError::Broken {
            engine: self.engine.clone(),
            reference: self.reference.clone(),
            received,
            cause,
        }
    }
}

/// The last bytes of an export. An engine that fails in the middle has already sent status 200, and
/// appends its error as a line of JSON (moby, daemon/server/router/image/image_routes.go,
/// `getImagesGet`).
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    const LENGTH: usize = 8 * 1024;

    fn push(&mut self, chunk: &[u8]) {
        self.0
            .extend_from_slice(&chunk[chunk.len().saturating_sub(Self::LENGTH)..]);
        self.0.drain(..self.0.len().saturating_sub(Self::LENGTH));
    }

    /// Returns the engine's error message. `None` at the end of a tar file, which is zeros.
    fn error_message(&self) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Line {
            error_detail: Detail,
        }
        #[derive(Deserialize)]
        struct Detail {
            message: String,
        }

        let text = self.0.trim_ascii_end();
        if !text.ends_with(b"}") {
            return None;
        }
        const START: &[u8] = b"{\"error";
        let starts = (0..text.len()).filter(|&start| text[start..].starts_with(START));
        starts
            .filter_map(|start| json::from_slice::<Line>(&text[start..]).ok())
            .map(|line| line.error_detail.message)
            .next()
    }
}

/// Reads the chunks of an export from a thread that may block.
pub(super) struct ChunkReader {
    chunks: Receiver<Chunk>,
    chunk: Bytes,
}

impl From<Receiver<Chunk>> for ChunkReader {
    fn from(chunks: Receiver<Chunk>) -> Self {
        Self {
            chunks,
            chunk: Bytes::new(),
        }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_message(chunks: &[&[u8]]) -> Option<String> {
        let mut tail = Tail::default();
        for chunk in chunks {
            tail.push(chunk);
        }
        tail.error_message()
    }

    #[test]
    fn error_after_an_export_is_found_however_it_was_cut() {
        let long = vec![b'x'; 3 * Tail::LENGTH];
        for line in [
            r#"{"errorDetail":{"message":"no space left"},"error":"no space left"}"#,
            r#"{"error":"no space left","errorDetail":{"message":"no space left"}}"#,
            r#"{"errorDetail":{"code":1,"message":"no space left"}}"#,
        ] {
            let line = format!("{line}\r\n");
            for cut in [0, 1, 20, line.len()] {
                let (start, end) = line.as_bytes().split_at(cut);
                for before in [&b""[..], b"{\"error\":\"", &long] {
                    let error_message = error_message(&[before, start, end]);
                    assert_eq!(
                        error_message.as_deref(),
                        Some("no space left"),
                        "{line} {cut}"
                    );
                }
            }
        }
    }

    #[test]
    fn end_of_archive_is_no_error() {
        let config = br#"{"errorDetail":{"message":"part of a file"}}"#;
        assert_eq!(error_message(&[config, &[0; 1024]]), None);
        assert_eq!(error_message(&[b"{\"error\": 1}"]), None);
        assert_eq!(error_message(&[]), None);
    }
}
