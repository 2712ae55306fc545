//! Memory needed to read files: a small multiple of the numbers in them, and nothing for files that are refused.

use glassnet::data::cifar::{Records, read_archive};
use glassnet::formats::{Model, load_model};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, with the number of bytes in use and its maximum.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` holds at once, in addition to those held before.
fn most_held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let result = work();
    (result, MOST.load(Ordering::Relaxed) - before)
}

/// A snapshot of one fc, with numbers as JavaScript writes them.
fn snapshot(inputs: usize, outputs: usize, as_object: bool) -> String {
    let size = format!("\"out_depth\":{inputs},\"out_sx\":1,\"out_sy\":1");
    let number = |i: usize| (i as f64 * 0.618).fract() - 0.5;
    let volume = |count: usize| {
        let numbers: Vec<String> = match as_object {
            true => (0..count).map(|i| format!("\"{i}\":{}", number(i))).collect(),
            false => (0..count).map(|i| number(i).to_string()).collect(),
        };
        let numbers = numbers.join(",");
        let numbers = if as_object { format!("{{{numbers}}}") } else { format!("[{numbers}]") };
        format!("{{\"sx\":1,\"sy\":1,\"depth\":{count},\"w\":{numbers}}}")
    };
    let filters = vec![volume(inputs); outputs].join(",");
    let out = format!("\"out_depth\":{outputs},\"out_sx\":1,\"out_sy\":1");
    format!(
        "{{\"layers\":[{{\"layer_type\":\"input\",{size}}},{{\"layer_type\":\"fc\",{out},\"num_inputs\":{inputs},\"filters\":\
         [{filters}],\"biases\":{}}},{{\"layer_type\":\"softmax\",{out},\"num_inputs\":{outputs}}}]}}",
        volume(outputs)
    )
}

// One test, because the whole process's memory is counted.
#[test]
fn files_cost_no_more_than_their_numbers() {
    let (inputs, outputs) = (1000, 60);
    for as_object in [false, true] {
        let text = snapshot(inputs, outputs, as_object);
        let (model, most) = most_held(|| Model::from_convnetjs(text.as_bytes(), "net.json").expect("a snapshot"));
        let numbers = inputs * outputs;
        assert_eq!(model.parameters[0].weight.len(), numbers);
        // 8 bytes per number while reading, 4 in memory, and vectors that grow by doubling.
        assert!(most < 30 * numbers, "{most} bytes for {numbers} numbers in {} bytes of text", text.len());
    }

    // Unknown keys cost nothing.
    let noise = format!("{{\"noise\":[{}0],\"layers\":3}}", "{\"a\":[0]},".repeat(100_000));
    let (refused, most) = most_held(|| Model::from_convnetjs(noise.as_bytes(), "net.json"));
    assert!(refused.is_err() && most < 10_000, "{most}");

    // Nor does a file whose header does not fit its size, or a member with an impossible size.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let header = br#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let start = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    std::fs::write(&path, start).expect("a file");
    std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(1 << 28)).expect("a large file");
    let (refused, most) = most_held(|| load_model(&path).map_err(|error| error.to_string()));
    let refused = refused.expect_err("a header that does not fit");
    assert!(refused.contains("promises 16 bytes") && most < 100_000, "{refused}: {most}");

    let path = folder.path().join("cifar-10-binary.tar");
    let mut head = tar::Header::new_gnu();
    head.set_path("cifar-10-batches-bin/data_batch_1.bin").expect("a path");
    head.set_size(3073 * 100_000);
    head.set_cksum();
    std::fs::write(&path, head.as_bytes()).expect("a file");
    std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(1 << 29)).expect("a large file");
    let few = Records { train: 1, test: 1 };
    let (refused, most) = most_held(|| read_archive(&path, few).map_err(|error| error.to_string()));
    let refused = refused.expect_err("too many records");
    assert!(refused.contains("100000 records") && most < 1 << 20, "{refused}: {most}");
}
