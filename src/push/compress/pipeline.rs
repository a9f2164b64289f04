//! The threads of a compression: one reads and hashes, some compress, one puts the results in order.
//!
//! Blocks go round: the reader takes one that is free, and gets it back when its result is written.
//! So memory is bounded, nothing is allocated on the way, and the earliest block always has its
//! place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use parking_lot::Mutex;

use super::encoder::Encoder;
use super::{Compressed, Method};
use crate::image::FileRange;
use crate::oci::digest::{Digest, Hasher};

/// How much is compressed at once. Larger blocks lose less at their edges, smaller ones keep more
/// cores busy; at 1 MiB the edges cost under 1 % of a real layer.
pub(super) const BLOCK: usize = 1024 * 1024;

/// Blocks that are being read or written while every worker has one.
const SPARE: usize = 2;

/// What kept a layer from being compressed.
pub(super) enum CompressFailure {
    Read(io::Error),
    Write(io::Error),
    Compress(io::Error),
}

/// A block on its way round, with its two buffers.
#[derive(Default)]
struct Block {
    number: u64,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` is the compressed block.
    size: usize,
}

/// Compresses `layer` into `file`. `goes_on` is told how many bytes were read, block by block, and
/// says whether the rest is still wanted.
pub(super) fn run(
    layer: &FileRange,
    method: Method,
    file: File,
    workers: usize,
    goes_on: &(dyn Fn(u64) -> bool + Sync),
) -> Result<Compressed, CompressFailure> {
    let blocks = layer.size().div_ceil(BLOCK as u64).max(1);
    let workers = workers.min(usize::try_from(blocks).unwrap_or(usize::MAX));
    let (give_back, free) = channel();
    for _ in 0..workers + SPARE {
        // Its receiver is here.
        let _ = give_back.send(Block::default());
    }
    let (to_workers, jobs) = channel();
    let jobs = Mutex::new(jobs);
    let (to_writer, results) = channel();
    thread::scope(|scope| {
        // Gone with this closure, however it ends, or the reader would wait for it.
        let give_back = give_back;
        let thread = || thread::Builder::new().name("compress".to_owned());
        let reading = thread()
            .spawn_scoped(scope, move || read(layer, &free, &to_workers, goes_on))
            .map_err(CompressFailure::Compress)?;
        for _ in 0..workers {
            let (jobs, to_writer) = (&jobs, to_writer.clone());
            thread()
                .spawn_scoped(scope, move || work(method, jobs, &to_writer))
                .map_err(CompressFailure::Compress)?;
        }
        drop(to_writer);
        let written = write(file, &results, give_back);
        // The workers go when the reader does, and the reader when nobody gives blocks back.
        drop(results);
        let read = reading
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let diff_id = read.map_err(CompressFailure::Read)?;
        let (file, digest, size) = written?;
        Ok(Compressed {
            digest,
            size,
            diff_id,
            file: Arc::new(file),
        })
    })
}

/// Cuts the layer into blocks, hashing each while it is in the cache.
fn read(
    layer: &FileRange,
    free: &Receiver<Block>,
    to_workers: &Sender<Block>,
    goes_on: &(dyn Fn(u64) -> bool + Sync),
) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut position = 0;
    let mut number = 0;
    // An empty layer is still one block, or it would be no gzip at all.
    while number == 0 || position < layer.size() {
        let Ok(mut block) = free.recv() else { break };
        block.number = number;
        let length = (layer.size() - position).min(BLOCK as u64) as usize;
        block.input.resize(length, 0);
        layer.read_exact_at(&mut block.input, position)?;
        hasher.update(&block.input);
        if !goes_on(length as u64) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        position += length as u64;
        number += 1;
        if to_workers.send(block).is_err() {
            break;
        }
    }
    Ok(hasher.finish())
}

/// Compresses one block after another, as long as there are any.
fn work(method: Method, jobs: &Mutex<Receiver<Block>>, to_writer: &Sender<io::Result<Block>>) {
    let mut encoder = match Encoder::new(method) {
        Ok(encoder) => encoder,
        Err(error) => return drop(to_writer.send(Err(error))),
    };
    loop {
        let job = jobs.lock().recv();
        let Ok(mut block) = job else { return };
        let result = match encoder.encode(&block.input, &mut block.output) {
            Ok(size) => {
                block.size = size;
                Ok(block)
            }
            Err(error) => Err(error),
        };
        if to_writer.send(result).is_err() {
            return;
        }
    }
}

/// Writes the compressed blocks in the order of their numbers, and gives each back.
fn write(
    mut file: File,
    results: &Receiver<io::Result<Block>>,
    give_back: Sender<Block>,
) -> Result<(File, Digest, u64), CompressFailure> {
    let mut hasher = Hasher::default();
    let mut size = 0;
    let mut next = 0;
    let mut early = BTreeMap::new();
    for result in results {
        let block = result.map_err(CompressFailure::Compress)?;
        early.insert(block.number, block);
        while let Some(block) = early.remove(&next) {
            let member = &block.output[..block.size];
            file.write_all(member).map_err(CompressFailure::Write)?;
            hasher.update(member);
            size += member.len() as u64;
            next += 1;
            // The reader may have read everything and be gone.
            let _ = give_back.send(block);
        }
    }
    Ok((file, hasher.finish(), size))
}
