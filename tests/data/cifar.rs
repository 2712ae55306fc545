//! CIFAR-10 from archives of a few records made here: fetched, read, and refused if they are wrong.

use std::fs;
use std::path::Path;

use glassnet::data::cifar::{Records, read_archive, read_batches, read_folder};
use glassnet::data::{self, Dataset, DatasetName, Origin, Published, Request, Source, Sources, Verdict};
use tar::{EntryType, Header};
use tempfile::{TempDir, tempdir};

use crate::server::{Server, gzip, send_file, send_head, sha256};

const FILE: &str = "cifar-10-binary.tar.gz";
const NAMES: &str = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

/// Few records, so that archives are made quickly.
const FEW: Records = Records { train: 1, test: 2 };

/// A record whose planes hold red + i, green + i, blue + i, modulo 256.
fn record(label: u8, colour: [u8; 3]) -> Vec<u8> {
    let planes = colour.iter().flat_map(|first| (0..1024usize).map(|i| first.wrapping_add(i as u8)));
    std::iter::once(label).chain(planes).collect()
}

/// The published archive's entries, with one record per file and two in the test set.
fn entries() -> Vec<(String, Vec<u8>)> {
    let train = (1..=5u8).map(|i| (format!("data_batch_{i}.bin"), record(i, [i, 100, 200])));
    let test = ("test_batch.bin".to_string(), [record(9, [7, 8, 9]), record(0, [1, 2, 3])].concat());
    let texts = [("batches.meta.txt", NAMES), ("readme.html", "<html>")];
    let texts = texts.map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()));
    let all = train.chain([test]).chain(texts);
    all.map(|(name, bytes)| (format!("cifar-10-batches-bin/{name}"), bytes)).collect()
}

fn header(kind: EntryType, name: &str, size: usize) -> Header {
    let mut header = Header::new_gnu();
    // Not `set_path`, which refuses names that a hostile archive may have.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn tar(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header(EntryType::Directory, "cifar-10-batches-bin/", 0), &[][..]).unwrap();
    for (name, bytes) in entries {
        builder.append(&header(EntryType::Regular, name, bytes.len()), &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn archive() -> Vec<u8> {
    gzip(&tar(&entries()))
}

fn sources(bytes: &[u8], servers: &[&str]) -> Sources {
    let published = Published { bytes: bytes.len() as u64, packed: sha256(bytes).leak(), unpacked: None };
    Sources { mirrors: servers.iter().map(|url| url.to_string()).collect(), files: vec![published] }
}

fn fetch(folder: &Path, sources: &Sources) -> glassnet::Result<()> {
    data::fetch(DatasetName::Cifar10, folder, sources, &mut |_| ())
}

fn obtain(folder: &TempDir) -> glassnet::Result<Dataset> {
    let data_dir = Some(folder.path().to_path_buf());
    data::obtain(&Request { name: Some(DatasetName::Cifar10), data_dir, ..Request::default() }, &mut |_| ())
}

/// The error message for an archive with these bytes.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempdir().unwrap();
    let path = folder.path().join(FILE);
    fs::write(&path, bytes).unwrap();
    let message = read_archive(&path, FEW).unwrap_err().to_string();
    assert!(message.contains(FILE) && message.ends_with("; replace it with a good copy"), "{message}");
    message
}

fn refusal_of(change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> String {
    let mut entries = entries();
    change(&mut entries);
    refusal(&gzip(&tar(&entries)))
}

#[test]
fn what_is_fetched_is_read_with_its_planes_interleaved() {
    let (bytes, folder) = (archive(), tempdir().unwrap());
    let served = bytes.clone();
    let server = Server::start(move |request, stream| send_file(stream, request, &served));
    fetch(&folder.path().join("cifar10"), &sources(&bytes, &[&server.url])).unwrap();
    assert_eq!(server.ranges(FILE), [None]);
    let files: Vec<_> = fs::read_dir(folder.path().join("cifar10")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(files.iter().all(|name| name == FILE || name == ".lock"), "{files:?}");

    let (train, test) = read_archive(&folder.path().join("cifar10").join(FILE), FEW).unwrap();
    assert_eq!((train.shape, test.shape, train.classes), ([32, 32, 3], [32, 32, 3], 10));
    assert_eq!((&train.labels[..], &test.labels[..]), (&[1, 2, 3, 4, 5][..], &[9, 0][..]));
    assert_eq!(train.image(2)[..6], [3, 100, 200, 4, 101, 201]);
    // Row 1, column 2 is pixel 34 of each plane.
    assert_eq!(test.image(1)[3 * 34..][..3], [35, 36, 37]);
    assert_eq!((train.pixels.len(), test.pixels.len()), (5 * 3072, 2 * 3072));
}

#[test]
fn a_cut_download_is_resumed_and_wrong_bytes_are_refused() {
    let (bytes, folder) = (archive(), tempdir().unwrap());
    let served = bytes.clone();
    let cut = Server::start(move |request, stream| match request.range {
        Some(_) => send_file(stream, request, &served),
        None => {
            send_head(stream, "200 OK", served.len(), "");
            let _ = std::io::Write::write_all(stream, &served[..500]);
        }
    });
    fetch(folder.path(), &sources(&bytes, &[&cut.url])).unwrap();
    assert_eq!(cut.ranges(FILE), [None, Some(500)]);
    assert!(fs::read(folder.path().join(FILE)).unwrap() == bytes);

    let folder = tempdir().unwrap();
    let other = gzip(&tar(&entries()[..3]));
    let wrong = Server::start(move |request, stream| send_file(stream, request, &other));
    let message = fetch(folder.path(), &sources(&bytes, &[&wrong.url])).unwrap_err().to_string();
    assert!(message.contains("sent a file with a different checksum"), "{message}");
    assert!(!folder.path().join(FILE).exists());
}

#[test]
fn a_plain_tar_serves_too_and_cannot_be_verified() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("cifar-10-binary.tar"), tar(&entries())).unwrap();
    assert_eq!(read_archive(&folder.path().join("cifar-10-binary.tar"), FEW).unwrap().0.len(), 5);
    let reports = data::verify(DatasetName::Cifar10, folder.path());
    assert_eq!(reports.iter().map(|report| &report.verdict).collect::<Vec<_>>(), [&Verdict::Unverifiable]);
}

/// Writes the archive's contents into `folder`.
fn unpack(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in entries() {
        fs::write(folder.join(name.strip_prefix("cifar-10-batches-bin/").unwrap()), bytes).unwrap();
    }
}

#[test]
fn an_unpacked_archive_is_read() {
    let folder = tempdir().unwrap();
    unpack(folder.path());
    fs::write(folder.path().join("data_batch_4.bin"), gzip(&entries()[3].1)).unwrap();
    fs::write(folder.path().join("batches.meta.txt"), format!("\u{feff}{}", NAMES.replace('\n', "\r\n"))).unwrap();
    let (train, test) = read_folder(folder.path(), FEW).unwrap();
    assert_eq!((&train.labels[..], &test.labels[..]), (&[1, 2, 3, 4, 5][..], &[9, 0][..]));
    assert_eq!(train.image(2)[..6], [3, 100, 200, 4, 101, 201]);
}

#[test]
fn bytes_are_read_as_the_files_that_hold_them() {
    let folder = tempdir().unwrap();
    unpack(folder.path());
    let of_files = read_folder(folder.path(), FEW).unwrap();
    let entries = entries();
    let batches = [0, 1, 2, 3, 4, 5].map(|i| Source::Bytes(&entries[i].1, &entries[i].0));
    assert_eq!(read_batches(batches, FEW).unwrap(), of_files);
    for archive in [archive(), tar(&entries)] {
        assert_eq!(read_archive(Source::Bytes(&archive, "the archive"), FEW).unwrap(), of_files);
        let message = read_archive(Source::Bytes(&archive[..200], "the archive"), FEW).unwrap_err().to_string();
        assert!(message.starts_with("the archive is "), "{message}");
    }
}

#[test]
fn an_unpacked_archive_is_found_wherever_it_lies() {
    for place in ["", "cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"] {
        let folder = tempdir().unwrap();
        let inner = folder.path().join(place);
        unpack(&inner);
        let message = obtain(&folder).unwrap_err().to_string();
        let file = inner.join("data_batch_1.bin");
        assert!(message.starts_with(&format!("{} has 1 records", file.display())), "{message}");
    }
    // The archive next to them has priority, because its checksum is published.
    let folder = tempdir().unwrap();
    unpack(folder.path());
    fs::write(folder.path().join(FILE), gzip(&tar(&entries()[..3]))).unwrap();
    assert!(obtain(&folder).unwrap_err().to_string().contains(FILE));
}

/// Records of zeros, which need no space on the disk.
fn zeros(path: &Path, records: u64) {
    fs::File::create(path).unwrap().set_len(records * 3073).unwrap();
}

#[test]
fn each_file_has_exactly_as_many_records_as_published() {
    let folder = tempdir().unwrap();
    unpack(folder.path());
    for (name, _) in &entries()[..6] {
        zeros(&folder.path().join(name.strip_prefix("cifar-10-batches-bin/").unwrap()), 10_000);
    }
    let path = folder.path().join("data_batch_3.bin");
    for (records, expected) in
        [(9_999, "has 9999 records"), (10_001, "has 10001 records"), (20_000, "has 20000 records")]
    {
        zeros(&path, records);
        let message = obtain(&folder).unwrap_err().to_string();
        let expected = format!("{} {expected}; CIFAR-10's files have 10000 each; replace it", path.display());
        assert!(message.starts_with(&expected), "{message}");
    }
    zeros(&path, 10_000);
    let dataset = obtain(&folder).unwrap();
    assert_eq!(dataset.origin, Origin::Files(folder.path().to_path_buf()));
    assert_eq!((dataset.train.len(), dataset.test.len()), (50_000, 10_000));

    for records in [9_999usize, 10_001] {
        // The data after the header need not even exist.
        let head = header(EntryType::Regular, "cifar-10-batches-bin/data_batch_2.bin", records * 3073);
        let path = folder.path().join("archive.tar");
        fs::write(&path, head.as_bytes()).unwrap();
        let message = read_archive(&path, Records::PUBLISHED).unwrap_err().to_string();
        assert!(
            message.contains(&format!("data_batch_2.bin\" of {records} records; CIFAR-10's files have 10000")),
            "{message}"
        );
    }
}

#[test]
fn what_lacks_in_an_unpacked_archive_is_named() {
    let folder = tempdir().unwrap();
    let inner = folder.path().join("cifar-10-batches-bin");
    unpack(&inner);
    for name in ["data_batch_3.bin", "test_batch.bin"] {
        fs::remove_file(inner.join(name)).unwrap();
    }
    let message = obtain(&folder).unwrap_err().to_string();
    let expected = "cifar10 is incomplete: data_batch_3.bin, test_batch.bin (gzipped or plain) missing from ";
    assert!(message.starts_with(expected) && message.contains("cifar-10-batches-bin"), "{message}");
    let reports = data::verify(DatasetName::Cifar10, folder.path());
    let missing = reports.iter().filter(|report| report.verdict == Verdict::Missing).map(|report| report.file);
    assert_eq!(missing.collect::<Vec<_>>(), ["data_batch_3.bin", "test_batch.bin"]);
}

#[test]
fn unpacked_files_are_checked_as_those_in_the_archive() {
    let refusal_with = |name: &str, bytes: &[u8]| {
        let folder = tempdir().unwrap();
        unpack(folder.path());
        fs::write(folder.path().join(name), bytes).unwrap();
        let message = read_folder(folder.path(), FEW).unwrap_err().to_string();
        assert!(message.contains(name) && message.ends_with("; replace it with a good copy"), "{message}");
        message
    };
    let short = refusal_with("data_batch_2.bin", &[0; 3072]);
    assert!(short.contains("has 3072 bytes, no whole number of records of 3073"), "{short}");
    assert!(refusal_with("data_batch_4.bin", b"").contains("has 0 records"));
    let label = refusal_with("test_batch.bin", &[record(1, [0; 3]), record(10, [0; 3])].concat());
    assert!(label.contains("label 10 of record 1 is not within 0 to 9"), "{label}");
    assert!(refusal_with("batches.meta.txt", b"cat\ndog\n").contains("names other classes"));
}

#[test]
fn unpacked_files_have_no_published_checksum() {
    let folder = tempdir().unwrap();
    unpack(folder.path());
    fs::File::create(folder.path().join("data_batch_1.bin")).unwrap().set_len(30_730_000).unwrap();
    fs::write(folder.path().join("data_batch_2.bin"), "rubbish").unwrap();
    let request = Request { data_dir: Some(folder.path().to_path_buf()), ..Request::default() };
    let listed = data::list(&request).into_iter().find(|listing| listing.name == DatasetName::Cifar10).unwrap();
    let verdicts: Vec<_> = listed.files.iter().map(|report| &report.verdict).collect();
    assert_eq!((verdicts.len(), verdicts[0]), (6, &Verdict::Unverifiable));
    assert!(matches!(verdicts[1], Verdict::Unreadable(_)), "{:?}", verdicts[1]);
    // Too few records to be the published ones.
    assert_eq!(verdicts[2], &Verdict::Differs { sha256: sha256(&entries()[2].1) });
}

#[test]
fn an_archive_that_is_not_there_is_an_error_that_names_it() {
    let message = obtain(&tempdir().unwrap()).unwrap_err().to_string();
    assert!(message.contains("cifar10 cannot be obtained") && message.contains(FILE), "{message}");
}

#[test]
fn what_does_not_belong_into_the_archive_is_refused() {
    for name in ["cifar-10-batches-bin/virus.exe", "../data_batch_1.bin", "/etc/passwd", "data_batch_1.bin"] {
        let message = refusal_of(|entries| entries.push((name.to_string(), b"x".to_vec())));
        assert!(message.contains(name) && message.contains("no part of CIFAR-10"), "{message}");
    }
    let message = refusal_of(|entries| entries.push(entries[0].clone()));
    assert!(message.contains("data_batch_1.bin\", which is no part"), "{message}");
}

#[test]
fn links_are_refused() {
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo] {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header(kind, "cifar-10-batches-bin/test_batch.bin", 0), &[][..]).unwrap();
        let message = refusal(&builder.into_inner().unwrap());
        assert!(message.contains("no part of CIFAR-10"), "{message}");
    }
}

#[test]
fn sizes_and_labels_are_checked() {
    let message = refusal_of(|entries| entries[1].1.truncate(3072));
    assert!(message.contains("data_batch_2.bin\" of 3072 bytes, no whole number of records of 3073"), "{message}");
    let message = refusal_of(|entries| entries[3].1.clear());
    assert!(message.contains("data_batch_4.bin\" of 0 records"), "{message}");
    let message = refusal_of(|entries| entries[5].1[3073] = 10);
    assert!(message.contains("label 10 of record 1 in test_batch.bin is not within 0 to 9"), "{message}");
    let message = refusal_of(|entries| drop(entries.remove(2)));
    assert!(message.contains("is incomplete: data_batch_3.bin missing"), "{message}");
    let message = refusal_of(|entries| entries[6].1 = b"cat\ndog\n".to_vec());
    assert!(message.contains("names other classes"), "{message}");
}

#[test]
fn damaged_archives_are_refused() {
    let (packed, plain) = (archive(), tar(&entries()));
    assert!(refusal(&packed[..packed.len() / 2]).contains("truncated"));
    assert!(refusal(&plain[..2000]).contains("truncated"));
    refusal(b"rubbish");
    refusal(&gzip(b"rubbish that is no tar"));
    refusal(b"");
    // A size that is not there.
    let mut huge = plain;
    let size = format!("{:011o}", 3073u64 * 300_000);
    huge[512 + 124..][..11].copy_from_slice(size.as_bytes());
    let mut head = Header::new_gnu();
    head.as_mut_bytes().copy_from_slice(&huge[512..1024]);
    head.set_cksum();
    huge[512..1024].copy_from_slice(head.as_bytes());
    assert!(refusal(&huge).contains("of 300000 records"));
}
