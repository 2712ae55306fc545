//! The downloader with servers that answer correctly or wrongly.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use glassnet::data::{self, DatasetName, Progress, Sources};
use tempfile::{TempDir, tempdir};

use crate::server::{Server, Set, send_file, send_head, send_nothing_found};

const IMAGES: &str = "train-images-idx3-ubyte.gz";
const PART: &str = "train-images-idx3-ubyte.gz.part";

fn fetch(folder: &Path, sources: &Sources) -> glassnet::Result<()> {
    data::fetch(DatasetName::Kmnist, folder, sources, &mut |_| ())
}

fn assert_complete(folder: &TempDir, set: &Set) {
    for (name, bytes) in set.files.iter() {
        assert!(fs::read(folder.path().join(name)).unwrap() == *bytes, "{name} arrived damaged");
        assert!(!folder.path().join(format!("{name}.part")).exists(), "{name}.part was left behind");
    }
}

#[test]
fn good_files_arrive_are_reported_and_are_not_asked_for_again() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let server = set.serve();
    let sources = set.sources(&[&server.url]);
    let (mut verified, mut largest) = (Vec::new(), None);
    data::fetch(DatasetName::Mnist, &folder.path().join("new"), &sources, &mut |progress| match progress {
        Progress::Verified { file } => verified.push(file),
        Progress::Downloading { file, received, total } if file == IMAGES => largest = Some((received, total)),
        _ => {}
    })
    .unwrap();
    let size = set.bytes(IMAGES).len() as u64;
    assert_eq!(largest, Some((size, Some(size))));
    assert_eq!(verified, set.files.each_ref().map(|(name, _)| name.clone()));
    fetch(&folder.path().join("new"), &sources).unwrap();
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn wrong_bytes_are_asked_for_twice_and_then_taken_from_the_second_mirror() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let other = set.clone();
    let wrong = Server::start(move |request, stream| {
        let mut bytes = other.bytes(&request.file).to_vec();
        bytes[30] ^= 1;
        send_file(stream, request, &bytes);
    });
    let message = fetch(folder.path(), &set.sources(&[&wrong.url])).unwrap_err().to_string();
    assert!(message.contains("sent a file with a different checksum"), "{message}");
    assert!(!folder.path().join(IMAGES).exists() && !folder.path().join(PART).exists());
    let good = set.serve();
    fetch(folder.path(), &set.sources(&[&wrong.url, &good.url])).unwrap();
    assert_complete(&folder, &set);
    assert_eq!(wrong.ranges(IMAGES), [None; 4]);
    // The mirror that delivered is asked first from then on.
    assert_eq!((wrong.requests().len(), good.requests().len()), (4, 4));
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let other = set.clone();
    let server = Server::start(move |request, stream| {
        let bytes = other.bytes(&request.file);
        if request.file == IMAGES && request.range.is_none() {
            send_head(stream, "200 OK", bytes.len(), "");
            stream.write_all(&bytes[..100_000]).unwrap();
        } else {
            send_file(stream, request, bytes);
        }
    });
    fetch(folder.path(), &set.sources(&[&server.url])).unwrap();
    assert_complete(&folder, &set);
    assert_eq!(server.ranges(IMAGES), [None, Some(100_000)]);
}

#[test]
fn what_an_earlier_process_left_is_continued() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    fs::write(folder.path().join(PART), &set.bytes(IMAGES)[..5000]).unwrap();
    let server = set.serve();
    fetch(folder.path(), &set.sources(&[&server.url])).unwrap();
    assert_complete(&folder, &set);
    assert_eq!(server.ranges(IMAGES), [Some(5000)]);
}

#[test]
fn a_whole_file_that_was_not_yet_renamed_is_not_downloaded_again() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    fs::write(folder.path().join(PART), set.bytes(IMAGES)).unwrap();
    let server = set.serve();
    fetch(folder.path(), &set.sources(&[&server.url])).unwrap();
    assert_complete(&folder, &set);
    assert_eq!(server.ranges(IMAGES), []);
}

#[test]
fn a_beginning_of_other_bytes_is_thrown_away() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    fs::write(folder.path().join(PART), [7; 5000]).unwrap();
    let server = set.serve();
    fetch(folder.path(), &set.sources(&[&server.url])).unwrap();
    assert_complete(&folder, &set);
    assert_eq!(server.ranges(IMAGES), [Some(5000), None]);
}

#[test]
fn a_beginning_longer_than_the_file_is_thrown_away() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    fs::write(folder.path().join(PART), vec![7; set.bytes(IMAGES).len() + 1]).unwrap();
    let server = set.serve();
    fetch(folder.path(), &set.sources(&[&server.url])).unwrap();
    assert_complete(&folder, &set);
    assert_eq!(server.ranges(IMAGES).last(), Some(&None));
}

#[test]
fn a_server_without_ranges_starts_again() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    fs::write(folder.path().join(PART), &set.bytes(IMAGES)[..5000]).unwrap();
    let other = set.clone();
    let server = Server::start(move |request, stream| {
        let bytes = other.bytes(&request.file);
        send_head(stream, "200 OK", bytes.len(), "");
        stream.write_all(bytes).unwrap();
    });
    fetch(folder.path(), &set.sources(&[&server.url])).unwrap();
    assert_complete(&folder, &set);
    assert_eq!(server.ranges(IMAGES), [Some(5000)]);
}

#[test]
fn a_server_that_starts_again_and_always_breaks_is_given_up() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let other = set.clone();
    let server = Server::start(move |request, stream| {
        let bytes = other.bytes(&request.file);
        send_head(stream, "200 OK", bytes.len(), "");
        stream.write_all(&bytes[..2000.min(bytes.len())]).unwrap();
    });
    assert!(fetch(folder.path(), &set.sources(&[&server.url])).is_err());
    assert!(server.requests().len() < 10, "{:?}", server.requests());
}

#[test]
fn a_missing_file_is_taken_from_the_second_mirror() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let (bare, good) = (Server::start(|_, stream| send_nothing_found(stream)), set.serve());
    let message = fetch(folder.path(), &set.sources(&[&bare.url])).unwrap_err().to_string();
    assert!(message.contains("answered with HTTP status 404"), "{message}");
    assert!(message.contains("127.0.0.1") && message.contains(IMAGES), "{message}");
    fetch(folder.path(), &set.sources(&[&bare.url, &good.url])).unwrap();
    assert_complete(&folder, &set);
}

#[test]
fn a_broken_download_goes_on_at_the_second_mirror() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let other = set.clone();
    let breaking = Server::start(move |request, stream| {
        let bytes = other.bytes(&request.file);
        if request.range.is_none() {
            send_head(stream, "200 OK", bytes.len(), "");
            stream.write_all(&bytes[..60_000.min(bytes.len())]).unwrap();
        }
    });
    let good = set.serve();
    fetch(folder.path(), &set.sources(&[&breaking.url, &good.url])).unwrap();
    assert_complete(&folder, &set);
    assert_eq!(good.ranges(IMAGES), [Some(60_000)]);
}

/// Many servers declare every `.gz` this way. Decoding it would leave bytes without a published checksum, so ureq is
/// built without its feature `gzip`.
#[test]
fn a_file_declared_as_gzip_encoded_is_kept_packed() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let other = set.clone();
    let server = Server::start(move |request, stream| {
        let bytes = other.bytes(&request.file);
        send_head(stream, "200 OK", bytes.len(), "Content-Encoding: gzip\r\n");
        stream.write_all(bytes).unwrap();
    });
    fetch(folder.path(), &set.sources(&[&server.url])).unwrap();
    assert_complete(&folder, &set);
}

#[test]
fn endless_bytes_are_refused() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let server = Server::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
        while stream.write_all(&[0; 4096]).is_ok() {}
    });
    let message = fetch(folder.path(), &set.sources(&[&server.url])).unwrap_err().to_string();
    assert!(message.contains("sent far more bytes than the file has"), "{message}");
    assert!(!folder.path().join(PART).exists());
}

#[test]
fn a_slow_server_is_waited_for() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let other = set.clone();
    let server = Server::start(move |request, stream| {
        let bytes = other.bytes(&request.file);
        send_head(stream, "200 OK", bytes.len(), "");
        // Longer in total than the limit for a silent server.
        let pause = if request.file == IMAGES { Duration::from_secs(1) } else { Duration::ZERO };
        for piece in bytes.chunks(bytes.len().div_ceil(11)) {
            thread::sleep(pause);
            stream.write_all(piece).unwrap();
        }
    });
    let start = Instant::now();
    fetch(folder.path(), &set.sources(&[&server.url])).unwrap();
    assert_complete(&folder, &set);
    assert!(start.elapsed() > Duration::from_secs(10));
}

#[test]
fn two_at_once_download_every_file_once() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let other = set.clone();
    let server = Server::start(move |request, stream| {
        thread::sleep(Duration::from_millis(200));
        send_file(stream, request, other.bytes(&request.file));
    });
    let sources = set.sources(&[&server.url]);
    thread::scope(|scope| {
        let tasks = [(); 3].map(|()| scope.spawn(|| fetch(folder.path(), &sources)));
        tasks.into_iter().for_each(|task| task.join().unwrap().unwrap());
    });
    assert_complete(&folder, &set);
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_file_of_the_user_is_never_overwritten() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    fs::write(folder.path().join(IMAGES), "mine").unwrap();
    let server = set.serve();
    let message = fetch(folder.path(), &set.sources(&[&server.url])).unwrap_err().to_string();
    assert!(message.ends_with("its checksum differs; name the folder that has the data"), "{message}");
    assert_eq!(fs::read(folder.path().join(IMAGES)).unwrap(), b"mine");
}

#[test]
fn the_synthetic_digits_cannot_be_fetched() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let result = data::fetch(DatasetName::Synthetic, folder.path(), &set.sources(&[]), &mut |_| ());
    assert_eq!(result.unwrap_err().to_string(), "the synthetic digits are built in; there is nothing to download");
}
