//! Every way in which an IDX file can be wrong, and the resulting messages.

use std::fs;
use std::path::PathBuf;

use glassnet::data::Source;
use glassnet::data::idx::{read_examples, read_images, read_labels};
use tempfile::{TempDir, tempdir};

use crate::server::gzip;

const REMEDY: &str = "replace it with a good copy";

/// The formats that images are read from.
const IMAGES: &str = "but images are read from IDX files of unsigned bytes in 3 dimensions, count x height x width (magic number \
                      0x00000803), gzipped or plain";

/// A file with this content; the folder must outlive its use.
fn file(content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, content).unwrap();
    (folder, path)
}

fn images(count: u32, height: u32, width: u32, bytes: usize) -> Vec<u8> {
    let mut content = [0x803, count, height, width].map(u32::to_be_bytes).concat();
    content.extend((0..bytes).map(|index| index as u8));
    content
}

fn labels(values: &[u8]) -> Vec<u8> {
    [&0x801u32.to_be_bytes(), &(values.len() as u32).to_be_bytes(), values].concat()
}

fn assert_refused(content: &[u8], problem: &str) {
    assert_refused_with(content, problem, REMEDY);
}

/// Checks that reading these bytes as images, plain and gzipped, fails with these words.
fn assert_refused_with(content: &[u8], problem: &str, remedy: &str) {
    for content in [content.to_vec(), gzip(content)] {
        let (_folder, path) = file(&content);
        let message = read_images(&path).unwrap_err().to_string();
        assert_eq!(message, format!("{} {problem}; {remedy}", path.display()));
    }
}

#[test]
fn good_files_are_read_plain_and_gzipped() {
    for packed in [false, true] {
        let pack = |content: Vec<u8>| if packed { gzip(&content) } else { content };
        let (_one, images) = file(&pack(images(2, 3, 4, 24)));
        let (_two, labels) = file(&pack(labels(&[9, 0])));
        let examples = read_examples(&images, &labels, 10).unwrap();
        assert_eq!((examples.shape, examples.classes), ([3, 4, 1], 10));
        assert_eq!(examples.pixels, (0..24).collect::<Vec<u8>>());
        assert_eq!(examples.labels, [9, 0]);
    }
}

#[test]
fn bytes_are_read_as_the_file_that_holds_them() {
    for pack in [<[u8]>::to_vec, gzip] {
        let (images, labels) = (pack(&images(2, 3, 4, 24)), pack(&labels(&[9, 0])));
        let ((_one, images_file), (_two, labels_file)) = (file(&images), file(&labels));
        let of_files = read_examples(&images_file, &labels_file, 10).unwrap();
        let (images, labels) = (Source::Bytes(&images, "images"), Source::Bytes(&labels, "labels"));
        assert_eq!(read_examples(images, labels, 10).unwrap(), of_files);
    }
    let message = read_images(Source::Bytes(&[0, 0, 8], "the dropped file")).unwrap_err().to_string();
    assert_eq!(message, format!("the dropped file is truncated: only 3 bytes are there; {REMEDY}"));
    let cut = gzip(&images(2, 3, 4, 24));
    let message = read_images(Source::Bytes(&cut[..20], "the dropped file")).unwrap_err().to_string();
    assert!(message.starts_with("the dropped file is truncated: its gzip stream is cut off"), "{message}");
}

#[test]
fn an_empty_file() {
    assert_refused(b"", "is empty");
}

#[test]
fn a_file_cut_in_its_magic_number() {
    assert_refused(&[0, 0, 8], "is truncated: only 3 bytes are there");
}

#[test]
fn a_file_cut_in_its_header() {
    assert_refused(&images(1, 1, 1, 0)[..15], "is truncated: its header has 16 bytes, only 15 are there");
}

#[test]
fn a_file_cut_in_its_pixels() {
    let problem = "is truncated: its header declares 2 images of 3x4 bytes, but only 23 bytes follow";
    assert_refused(&images(2, 3, 4, 23), problem);
}

#[test]
fn a_file_with_trailing_bytes() {
    for (surplus, told) in [(1, "1 byte follows"), (2, "2 bytes follow"), (5000, "4096 bytes or more follow")] {
        let problem = format!("is too long: {told} after the 2 images of 3x4 bytes that its header declares");
        assert_refused_with(&images(2, 3, 4, 24 + surplus), &problem, "cut it there, or correct the header");
    }
}

#[test]
fn labels_where_images_belong() {
    let problem = format!("is an IDX file of unsigned bytes in 1 dimension, 20 (magic number 0x00000801), {IMAGES}");
    assert_refused_with(&labels(&[1; 20]), &problem, "it holds labels, so perhaps two files have each other's names");
}

#[test]
fn something_else_altogether() {
    let page = "an HTML page, as servers send when they do not have the file";
    assert_refused_with(b"<!DOCTYPE html><html>", &format!("is {page}, {IMAGES}"), "download the file itself");
}

#[test]
fn sizes_of_zero() {
    assert_refused(&images(0, 28, 28, 0), "declares 0 images of 28x28 bytes: there is nothing in it");
    assert_refused(&images(5, 0, 28, 0), "declares 5 images of 0x28 bytes: there is nothing in it");
}

#[test]
fn sizes_beyond_all_measure() {
    let problem = "declares 4294967295 images of 4294967295x4294967295 bytes, more than the 1024 MiB that are accepted";
    assert_refused(&images(u32::MAX, u32::MAX, u32::MAX, 10), problem);
}

#[test]
fn large_sizes_with_nothing_behind_them() {
    let problem = "is truncated: its header declares 1000000 images of 32x32 bytes, but only 10 bytes follow";
    assert_refused(&images(1_000_000, 32, 32, 10), problem);
}

#[test]
fn a_small_declaration_before_a_flood_of_zeros() {
    // 256 MiB in 256 KiB: only a few surplus bytes may be unpacked.
    let mut content = images(1, 1, 1, 1);
    content.resize(256 << 20, 0);
    let (_folder, path) = file(&gzip(&content));
    let message = read_images(&path).unwrap_err().to_string();
    assert!(message.contains("is too long: 4096 bytes or more follow after the 1 image of 1x1 bytes"), "{message}");
}

#[test]
fn a_gzip_stream_cut_off() {
    let packed = gzip(&images(100, 28, 28, 78_400));
    let (_folder, path) = file(&packed[..packed.len() - 4]);
    let message = read_images(&path).unwrap_err().to_string();
    assert_eq!(message, format!("{} is truncated: its gzip stream is cut off; {REMEDY}", path.display()));
}

#[test]
fn a_gzip_stream_with_a_wrong_checksum() {
    let mut packed = gzip(&images(100, 28, 28, 78_400));
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    let (_folder, path) = file(&packed);
    let message = read_images(&path).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{} is damaged: corrupt", path.display())), "{message}");
    assert!(message.ends_with(REMEDY), "{message}");
}

#[test]
fn a_gzip_stream_with_rubbish_inside_or_behind() {
    let good = gzip(&images(2, 3, 4, 24));
    let inside = [&good[..10], &[0xff; 40]].concat();
    let behind = [&good[..], b"rubbish behind it"].concat();
    for content in [inside, behind] {
        let (_folder, path) = file(&content);
        let message = read_images(&path).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{} is damaged: ", path.display())), "{message}");
    }
}

#[test]
fn a_label_out_of_range() {
    let (_folder, path) = file(&labels(&[0, 9, 10]));
    let message = read_labels(&path, 10).unwrap_err().to_string();
    let problem =
        "has 3 different labels from 0 to 10; label 10 of example 2 is out of range, as labels from 0 to 9 are read";
    assert_eq!(message, format!("{} {problem}; take a data set with at most 10 classes", path.display()));
    let (_folder, path) = file(&labels(&[1, 9, 10]));
    let message = read_labels(&path, 10).unwrap_err().to_string();
    assert!(message.contains("from 1 to 10") && message.ends_with("; subtract 1 from each label"), "{message}");
}

#[test]
fn images_and_labels_of_different_number() {
    let (_one, images) = file(&images(2, 1, 1, 2));
    let (_two, labels) = file(&labels(&[1, 2, 3]));
    let message = read_examples(&images, &labels, 10).unwrap_err().to_string();
    let (images, labels) = (images.display(), labels.display());
    let remedy = "take both files from the same data set";
    assert_eq!(message, format!("{images} holds 2 images but {labels} holds 3 labels; {remedy}"));
}

#[test]
fn a_file_that_is_not_there() {
    let message = read_images(std::path::Path::new("/no/such/file")).unwrap_err().to_string();
    assert!(message.starts_with("cannot read /no/such/file: "), "{message}");
}
