//! What a mirror holds in memory: no more for a large blob than for a small one.

use standin::{Fault, FaultAction, RequestKind, Standin};

use super::many_destinations::{json, large, source_of};
use super::*;

#[test]
fn memory_stays_below_64_mib_for_large_blob_and_slow_peer() {
    const MEBIBYTE: u64 = 1024 * 1024;
    let (layout, root) = large(48);
    let (source, name) = source_of(&layout, &root);
    let homes = [Standin::start(), Standin::start(), Standin::start()];
    // The last one stops reading, and the others would have all of it by the time it is given up.
    let stop = FaultAction::StallRequestAt(8 * MEBIBYTE);
    // Of the config and the layers only one has so many bytes.
    let blobs = layout.blobs.len() as u32 - 1;
    homes[2].fault(Fault::once(RequestKind::UploadPut, stop).times(blobs));
    let tags = homes
        .each_ref()
        .map(|home| format!("{}/app:1", home.plain_address()));
    let (outcome, peak) = mirror(&name, &tags.join("\n"))
        .set("stall_timeout", "2s")
        .set("report_file", "report.json")
        .start()
        .wait_and_watch();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    println!("{peak} KiB at most");
    assert!((1024..64 * 1024).contains(&peak), "{peak} KiB");
    for home in &homes {
        assert_holds(&home.plain_address(), "app", &layout);
    }
    // What it had to read again for itself is told.
    let third = &json(&outcome)["destinations"][2];
    assert_eq!(third["reread_blobs"], 1, "{third}");
    assert!(given_out(&source) >= blob_bytes(&layout) + 48 * MEBIBYTE);
}
