//! A line of a given delay and rate for `benches/peers`, for every byte of every connection.
//!
//! `line UPSTREAM DELAY_MS MBIT_PER_SECOND` prints its address. Each direction takes half of the
//! delay, and all connections of one direction share its rate. The buffer of a connection holds
//! twice what a line of that rate and delay has under way, as a kernel's would.

#![expect(clippy::print_stdout, reason = "`benches/peers` reads it")]

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until};

/// Small enough for a chunk to pass in half a millisecond at 1 Gbit/s.
const CHUNK: usize = 64 * 1024;

/// One direction of the line.
struct Direction {
    delay: Duration,
    bytes_per_second: f64,
    /// When the last byte that was sent so far leaves the near end.
    busy_until: Mutex<Instant>,
}

impl Direction {
    fn new(delay: Duration, bytes_per_second: f64) -> Arc<Self> {
        let busy_until = Mutex::new(Instant::now());
        Arc::new(Self {
            delay,
            bytes_per_second,
            busy_until,
        })
    }

    /// Waits until the bytes have left the near end. Returns when they reach the far end.
    async fn send(&self, bytes: usize) -> Instant {
        let mut busy_until = self.busy_until.lock().await;
        let duration = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        *busy_until = Instant::now().max(*busy_until) + duration;
        let sent = *busy_until;
        drop(busy_until);
        sleep_until(sent).await;
        sent + self.delay
    }

    /// Carries all bytes of one connection.
    async fn carry(self: Arc<Self>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let under_way = self.bytes_per_second * self.delay.as_secs_f64();
        let room = 2 + 2 * under_way as usize / CHUNK;
        let (chunks, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(room);
        let reading = async move {
            let mut buffer = vec![0; CHUNK];
            loop {
                let count = from.read(&mut buffer).await?;
                let chunk = buffer[..count].to_vec();
                let arrives = self.send(count).await;
                if chunks.send((arrives, chunk)).await.is_err() || count == 0 {
                    return io::Result::Ok(());
                }
            }
        };
        let writing = async move {
            while let Some((arrives, chunk)) = arriving.recv().await {
                sleep_until(arrives).await;
                if chunk.is_empty() {
                    break;
                }
                to.write_all(&chunk).await?;
            }
            to.shutdown().await
        };
        // A connection that breaks at one end ends at the other: the halves are dropped.
        let _ = tokio::try_join!(reading, writing);
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: line UPSTREAM DELAY_MS MBIT_PER_SECOND";
    let upstream = arguments.next().ok_or(usage)?;
    let delay = Duration::from_millis(arguments.next().ok_or(usage)?.parse()?) / 2;
    let megabits: f64 = arguments.next().ok_or(usage)?.parse()?;
    let there = Direction::new(delay, megabits * 125_000.0);
    let back = Direction::new(delay, megabits * 125_000.0);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (near, _) = listener.accept().await?;
        let far = TcpStream::connect(&upstream).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        tokio::spawn(Arc::clone(&there).carry(near_read, far_write));
        tokio::spawn(Arc::clone(&back).carry(far_read, near_write));
    }
}
