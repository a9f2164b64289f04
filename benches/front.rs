//! A TLS front for `benches/peers`: it puts the stand-in's TLS, request log and delay before a real
//! registry.
//!
//! `front UPSTREAM FOLDER DELAY_MS` prints the TLS address and writes the CA into the folder. For
//! each line on standard input it prints the number of requests since the last line and the bytes
//! of their bodies.

#![expect(clippy::print_stdout, reason = "`benches/peers` reads it")]

use std::error::Error;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::time::Duration;

use standin::{Behaviour, Standin};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: front UPSTREAM FOLDER DELAY_MS";
    let upstream = arguments.next().ok_or(usage)?;
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let delay = Duration::from_millis(arguments.next().ok_or(usage)?.parse()?);
    let behaviour = Behaviour {
        latency: delay,
        ..Behaviour::default()
    };
    let front = Standin::builder()
        .behaviour(behaviour)
        .upstream(&upstream)
        .start();
    std::fs::write(folder.join("ca.crt"), front.ca_pem())?;
    println!("{} {}", front.tls_address(), front.plain_address());
    for line in std::io::stdin().lock().lines() {
        line?;
        let requests = front.requests();
        let received: u64 = requests.iter().map(|request| request.received_bytes).sum();
        println!("{} {received}", requests.len());
        front.clear_requests();
    }
    Ok(())
}
