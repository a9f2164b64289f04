//! An export as it comes from the engine, handed over from the connection to whoever writes it down.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use reqwest::Response;
use serde::Deserialize;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::timeout;

use super::error::{EngineError, Sentence, io_error, nothing_came};
use crate::oci::json;

type Piece = io::Result<Bytes>;

/// An export that has begun.
pub(super) struct Export {
    pub(super) engine: String,
    pub(super) reference: String,
    pub(super) answer: Response,
    pub(super) stall_timeout: Duration,
}

impl Export {
    /// Sends the export on, piece by piece, to its end or until nobody takes the pieces any more.
    pub(super) async fn send_to(mut self, pieces: Sender<Piece>) -> Result<(), EngineError> {
        let result = self.send(&pieces).await;
        if result.is_err() {
            // What has come so far must not be taken for the whole.
            let broken = io::Error::other("the engine's export broke off");
            let _ = pieces.send(Err(broken)).await;
        }
        result
    }

    async fn send(&mut self, pieces: &Sender<Piece>) -> Result<(), EngineError> {
        let mut received = 0;
        let mut tail = Tail::default();
        loop {
            let piece = match timeout(self.stall_timeout, self.answer.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(self.broken_off(received, io_error(error))),
                Err(_) => return Err(self.broken_off(received, nothing_came(self.stall_timeout))),
            };
            received += piece.len() as u64;
            tail.keep(&piece);
            if pieces.send(Ok(piece)).await.is_err() {
                return Ok(());
            }
        }
        match tail.told() {
            Some(message) => Err(EngineError::Stopped {
                engine: self.engine.clone(),
                reference: self.reference.clone(),
                received,
                cause: Sentence(message),
            }),
            None => Ok(()),
        }
    }

    fn broken_off(&self, received: u64, cause: io::Error) -> EngineError {
        EngineError::Broken {
            engine: self.engine.clone(),
            reference: self.reference.clone(),
            received,
            cause,
        }
    }
}

/// The last bytes of an export. An engine that fails in the middle has promised success already, and
/// puts its error behind what it has sent, as a line of JSON
/// (moby, daemon/server/router/image/image_routes.go, `getImagesGet`).
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    const LENGTH: usize = 8 * 1024;

    fn keep(&mut self, piece: &[u8]) {
        self.0
            .extend_from_slice(&piece[piece.len().saturating_sub(Self::LENGTH)..]);
        self.0.drain(..self.0.len().saturating_sub(Self::LENGTH));
    }

    /// The engine's error; none at the end of an archive, which is zeros.
    fn told(&self) -> Option<String> {
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

/// The pieces of an export as a reader, for a thread that may block.
pub(super) struct Pieces {
    pieces: Receiver<Piece>,
    piece: Bytes,
}

impl From<Receiver<Piece>> for Pieces {
    fn from(pieces: Receiver<Piece>) -> Self {
        Self {
            pieces,
            piece: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&[u8]]) -> Option<String> {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.keep(piece);
        }
        tail.told()
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
                    let told = told(&[before, start, end]);
                    assert_eq!(told.as_deref(), Some("no space left"), "{line} {cut}");
                }
            }
        }
    }

    #[test]
    fn end_of_archive_is_no_error() {
        let config = br#"{"errorDetail":{"message":"part of a file"}}"#;
        assert_eq!(told(&[config, &[0; 1024]]), None);
        assert_eq!(told(&[b"{\"error\": 1}"]), None);
        assert_eq!(told(&[]), None);
    }
}
