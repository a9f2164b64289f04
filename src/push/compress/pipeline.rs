//! The threads of a compression: one reads and hashes, several compress, one writes the output.
//!
//! The threads reuse a fixed number of blocks: the reader fills a free block, and the writer frees
//! it after writing its output. This bounds the memory and avoids allocations, and the block that
//! is written next is always in progress.

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

/// The bytes of a block. Larger blocks compress better, smaller ones use more cores; at 1 MiB the
/// block boundaries cost less than 1 % of a real layer.
pub(super) const BLOCK: usize = 1024 * 1024;

/// The number of blocks for the reader and the writer while every worker has one.
const SPARE: usize = 2;

/// The step of a compression that failed.
pub(super) enum CompressFailure {
    Read(io::Error),
    Write(io::Error),
    Compress(io::Error),
}

/// A block with its input and output buffers.
#[derive(Default)]
struct Block {
    number: u64,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The length of the compressed block in `output`.
    size: usize,
}

/// Compresses `layer` into `file`. `goes_on` is called with the length of each block that was read,
/// and returns whether to continue.
pub(super) fn run(
    layer: &FileRange,
    method: Method,
    file: File,
    workers: usize,
    goes_on: &(dyn Fn(u64) -> bool + Sync),
) -> Result<Compressed, CompressFailure> {
    let blocks = layer.size().div_ceil(BLOCK as u64).max(1);
    let workers = workers.min(usize::try_from(blocks).unwrap_or(usize::MAX));
    let (to_reader, free) = channel();
    for _ in 0..workers + SPARE {
        // The receiver exists, so sending does not fail.
        let _ = to_reader.send(Block::default());
    }
    let (to_workers, jobs) = channel();
    let jobs = Mutex::new(jobs);
    let (to_writer, results) = channel();
    thread::scope(|scope| {
        // Dropped when this closure ends, so that the reader does not wait for free blocks.
        let to_reader = to_reader;
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
        let written = write(file, &results, to_reader);
        // The reader ends when no blocks are freed any more, and the workers end after it.
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

/// Reads the layer in blocks, and hashes each while it is in the CPU cache. Returns the diff ID.
fn read(
    layer: &FileRange,
    free: &Receiver<Block>,
    to_workers: &Sender<Block>,
    goes_on: &(dyn Fn(u64) -> bool + Sync),
) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut position = 0;
    let mut number = 0;
    // An empty layer is one empty block, because an empty file is not valid gzip.
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

/// Compresses blocks until the reader has ended.
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

/// Writes the compressed blocks in the order of their numbers, and frees each. Returns the file
/// with its digest and size.
fn write(
    mut file: File,
    results: &Receiver<io::Result<Block>>,
    to_reader: Sender<Block>,
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
            // Sending fails if the reader has ended, which is no error.
            let _ = to_reader.send(block);
        }
    }
    Ok((file, hasher.finish(), size))
}
