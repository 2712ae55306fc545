//! A web server on loopback, one thread per connection, that behaves as a test specifies; and a small data set with
//! checksums for it to serve.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::{Compression, write::GzEncoder};
use glassnet::data::{FILES, Published, Sources};
use sha2::{Digest, Sha256};

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The file's name, without the leading slash.
    pub file: String,
    /// The first byte of the requested range.
    pub range: Option<usize>,
}

/// A server that lives until the test process ends.
pub struct Server {
    /// Its base address, with a slash at the end.
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers every request with `answer`; the connection ends after the answer.
    pub fn start(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (seen, answer) = (seen.clone(), answer.clone());
                thread::spawn(move || {
                    let Some(request) = read_request(&stream) else { return };
                    seen.lock().unwrap().push(request.clone());
                    answer(&request, &mut stream);
                });
            }
        });
        Server { url, requests }
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requested ranges of one file, in order.
    pub fn ranges(&self, file: &str) -> Vec<Option<usize>> {
        self.requests().into_iter().filter(|request| request.file == file).map(|request| request.range).collect()
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let file = lines.next()?.split(' ').nth(1)?.trim_start_matches('/').to_string();
    let range = lines.find_map(|line| {
        let value = line.to_ascii_lowercase().strip_prefix("range: bytes=")?.to_string();
        value.trim_end_matches('-').parse().ok()
    });
    Some(Request { file, range })
}

/// Status line and headers of an answer with a body of `length` bytes.
pub fn send_head(stream: &mut TcpStream, status: &str, length: usize, extra: &str) {
    // Clients may be gone already, which some tests intend.
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{extra}\r\n");
}

/// A whole file, or the rest of it if a range was requested.
pub fn send_file(stream: &mut TcpStream, request: &Request, bytes: &[u8]) {
    match request.range {
        None => send_head(stream, "200 OK", bytes.len(), ""),
        Some(first) if first < bytes.len() => {
            let (last, all) = (bytes.len() - 1, bytes.len());
            let range = format!("Content-Range: bytes {first}-{last}/{all}\r\n");
            send_head(stream, "206 Partial Content", all - first, &range);
        }
        Some(_) => return send_head(stream, "416 Range Not Satisfiable", 0, ""),
    }
    let _ = stream.write_all(&bytes[request.range.unwrap_or(0)..]);
}

pub fn send_nothing_found(stream: &mut TcpStream) {
    send_head(stream, "404 Not Found", 0, "");
}

/// Four gzipped IDX files of random pixels: two sets of 300 and 100 images of 28x28.
#[derive(Clone)]
pub struct Set {
    pub files: Arc<[(String, Vec<u8>); 4]>,
}

impl Set {
    pub fn new() -> Set {
        let bodies = [images(300), labels(300), images(100), labels(100)];
        let mut bodies = bodies.into_iter().map(|bytes| gzip(&bytes));
        let files = FILES.map(|file| (format!("{file}.gz"), bodies.next().unwrap()));
        Set { files: Arc::new(files) }
    }

    /// The bytes of the requested file.
    pub fn bytes(&self, file: &str) -> &[u8] {
        let found = self.files.iter().find(|(name, _)| name == file);
        &found.unwrap_or_else(|| panic!("no file {file}")).1
    }

    /// The table of these files, to be fetched from `servers`.
    pub fn sources(&self, servers: &[&str]) -> Sources {
        let published = self.files.iter().map(|(_, bytes)| Published {
            bytes: bytes.len() as u64,
            packed: sha256(bytes).leak(),
            unpacked: None,
        });
        Sources { mirrors: servers.iter().map(|url| url.to_string()).collect(), files: published.collect() }
    }

    /// A server without faults.
    pub fn serve(&self) -> Server {
        let set = self.clone();
        Server::start(move |request, stream| send_file(stream, request, set.bytes(&request.file)))
    }
}

fn images(count: u32) -> Vec<u8> {
    let mut state = 1u32;
    let noise = (0..count * 784).map(|_| {
        // Numerical Recipes' congruential generator; its high bits do not compress.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let header = [0x803, count, 28, 28].map(u32::to_be_bytes).concat();
    header.into_iter().chain(noise).collect()
}

fn labels(count: u32) -> Vec<u8> {
    let header = [0x801, count].map(u32::to_be_bytes).concat();
    header.into_iter().chain((0..count).map(|index| (index % 10) as u8)).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
