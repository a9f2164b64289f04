//! A slow line: nothing is sent twice over it, and no upload times out.

use std::process::Command;

use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{LayerCompression, Layout, TestImage};
use crate::support::run::Run;

/// Runs `ip` or `tc`. Returns its standard error if it fails.
fn run(command: &str) -> Result<String, String> {
    let words: Vec<_> = command.split(' ').collect();
    let done = Command::new(words[0]).args(&words[1..]).output();
    let done = done.map_err(|error| format!("{command}: {error}"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(format!(
            "{command}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        ))
    }
}

/// A network namespace whose loopback is limited to a rate; dropping it removes it.
struct SlowLine(String);

impl SlowLine {
    /// A line of `rate`, in the syntax of tc(8).
    fn new(rate: &str) -> Result<Self, String> {
        let line = Self(format!("gcr-push-{}-{rate}", std::process::id()));
        run(&format!("ip netns add {}", line.0))?;
        line.run("ip link set lo up mtu 1500")?;
        let shaped = format!("tbf rate {rate} burst 16kb latency 1s");
        line.run(&format!("tc qdisc add dev lo root {shaped}"))?;
        Ok(line)
    }

    /// The command that runs a program in it.
    fn exec(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.0]
    }

    fn run(&self, command: &str) -> Result<String, String> {
        run(&format!("{} {command}", self.exec().join(" ")))
    }

    /// The bytes that have passed.
    fn bytes_carried(&self) -> u64 {
        let file = "cat /sys/class/net/lo/statistics/tx_bytes";
        self.run(file).unwrap().trim().parse().unwrap()
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        let _ = run(&format!("ip netns delete {}", self.0));
    }
}

/// Incompressible bytes.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let step = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

#[test]
fn no_blob_is_sent_twice_over_a_slow_line() {
    const LAYERS: u64 = 6;
    const SIZE: usize = 200_000;

    let line = match SlowLine::new("768kbit") {
        Ok(line) => line,
        Err(why) => {
            eprintln!("SKIPPED, no slow line can be made here: {why}");
            return;
        }
    };
    let registry = DockerRegistry::under(&line.exec());
    let layers = (1..=LAYERS).map(|seed| noise(seed, SIZE)).collect();
    let test_image = TestImage::of("amd64", layers);
    let mut layout = Layout::default();
    let root = layout.image(&test_image, LayerCompression::Tar);
    layout.list(&root, None);
    let before = line.bytes_carried();
    let outcome = Run::new()
        .file("image.tar", layout.archive())
        .set("image", "image.tar")
        .set("tags", format!("{}/app:1", registry.address()))
        .set("stall_timeout", "5s")
        .under(&line.exec())
        .succeeds();
    assert!(
        !outcome.stderr.contains("trying again"),
        "{}",
        outcome.stderr
    );
    // Some packets are lost and sent again by the kernel.
    let image = LAYERS * SIZE as u64;
    let bytes_carried = line.bytes_carried() - before;
    assert!(
        bytes_carried < image * 3 / 2,
        "{bytes_carried} bytes for {image}"
    );
}
