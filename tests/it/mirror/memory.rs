//! The memory of a mirror does not grow with the size of a blob.

use standin::{Fault, FaultAction, RequestKind, Standin};

use super::many_destinations::{json, large, source_of};
use super::*;

#[test]
fn memory_stays_below_64_mib_for_large_blob_and_slow_peer() {
    const MEBIBYTE: u64 = 1024 * 1024;
    let (layout, root) = large(48);
    let (source, name) = source_of(&layout, &root);
    let destinations = [Standin::start(), Standin::start(), Standin::start()];
    // The last one stops reading; the others have all of it before it is dropped.
    let stop = FaultAction::StallRequestAt(8 * MEBIBYTE);
    // Only one of the config and the layers has this size.
    let blobs = layout.blobs.len() as u32 - 1;
    destinations[2].fault(Fault::once(RequestKind::UploadPut, stop).times(blobs));
    let tags = destinations
        .each_ref()
        .map(|destination| format!("{}/app:1", destination.plain_address()));
    let (outcome, peak) = mirror(&name, &tags.join("\n"))
        .set("stall_timeout", "2s")
        .set("report_file", "report.json")
        .start()
        .wait_with_peak_memory();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    println!("{peak} KiB at most");
    assert!((1024..64 * 1024).contains(&peak), "{peak} KiB");
    for destination in &destinations {
        assert_holds(&destination.plain_address(), "app", &layout);
    }
    // What it had to read again is reported.
    let third = &json(&outcome)["destinations"][2];
    assert_eq!(third["reread_blobs"], 1, "{third}");
    assert!(bytes_sent(&source) >= blob_bytes(&layout) + 48 * MEBIBYTE);
}
