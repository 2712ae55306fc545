//! One HTTP request for one file, appended to what an earlier request left; [`super::fetch()`] decides what to do next.
//!
//! The request runs in a thread of its own and sends bytes over a channel. Only then does one limit cover the name
//! lookup, connecting, the TLS handshake, headers that trickle and a body that stalls. The thread of a silent server is
//! abandoned; its own time limits end it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// The longest silence, over all files and servers, before the network counts as unreachable. One second below the ten
/// that are promised, for the work before and after.
const PATIENCE: Duration = Duration::from_secs(9);

/// Bytes per message of the channel, and the number of messages that may wait in it.
const CHUNK: usize = 64 << 10;
const CHUNKS_WAITING: usize = 16;

/// The silence still tolerated. Every byte that arrives restores it, so slow downloads continue and stalled ones end.
pub(super) struct Patience {
    since: Instant,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { since: Instant::now() }
    }

    /// Restores the full limit; to be called at every sign of life.
    pub(super) fn restore(&mut self) {
        self.since = Instant::now();
    }

    pub(super) fn left(&self) -> Duration {
        PATIENCE.saturating_sub(self.since.elapsed())
    }
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server says that the file is complete.
    Complete,
    /// The connection broke after `received` new bytes; asking for the rest may help.
    Cut { received: u64, reason: String },
    /// The server cannot continue where the file on disk ends.
    CannotResume,
    /// The server sends more bytes than the limit.
    TooLong,
    /// The server answered, but not with the file.
    Refused(String),
    /// Nothing arrived within the limit.
    Silent(Duration),
}

/// A message from the request's thread.
enum Message {
    /// Status, offset of the first byte, and length of the whole file if the server states it.
    Head {
        status: u16,
        offset: u64,
        total: Option<u64>,
    },
    Bytes(Vec<u8>),
    End,
    Failed(String),
}

/// Asks `url` for what is missing from `part`, waiting up to `wait` for the first byte and for each one after it.
/// `progress` is called with the size reached and the expected size. More than `limit` bytes are refused. Fails only if
/// `part` cannot be written.
pub(super) fn transfer(
    url: &str,
    part: &Path,
    limit: u64,
    wait: Duration,
    patience: &mut Patience,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Outcome> {
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(Error::io("write", part))?;
    let have = file.seek(SeekFrom::End(0)).map_err(Error::io("write", part))?;
    let messages = match request(url, have) {
        Ok(messages) => messages,
        Err(error) => return Ok(Outcome::Refused(format!("cannot start a thread: {error}"))),
    };
    let (mut size, mut received, mut total) = (have, 0, None);
    let mut deadline = Instant::now() + wait.min(patience.left());
    loop {
        match messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Message::Head { status: 416, .. }) => return Ok(Outcome::CannotResume),
            Ok(Message::Head { status: 206, offset, .. }) if offset != have => return Ok(Outcome::CannotResume),
            Ok(Message::Head { status: 200 | 206, total: Some(bytes), .. }) if bytes > limit => {
                return Ok(Outcome::TooLong);
            }
            Ok(Message::Head { status, total: expected, .. }) if status == 206 || status == 200 => {
                total = expected;
                if status == 200 && have > 0 {
                    log::debug!("{url}: the server sends the file from its start");
                    file.set_len(0).map_err(Error::io("write", part))?;
                    size = 0;
                }
            }
            Ok(Message::Head { status, .. }) => {
                return Ok(Outcome::Refused(format!("answered with HTTP status {status}")));
            }
            Ok(Message::Bytes(bytes)) => {
                size += bytes.len() as u64;
                if size > limit {
                    return Ok(Outcome::TooLong);
                }
                received += bytes.len() as u64;
                file.write_all(&bytes).map_err(Error::io("write", part))?;
                patience.restore();
                deadline = Instant::now() + wait;
                progress(size, total);
            }
            Ok(Message::End) if total.is_some_and(|total| size < total) => {
                return Ok(Outcome::Cut { received, reason: "the connection was cut".to_string() });
            }
            Ok(Message::End) => return finish(file, part),
            Ok(Message::Failed(reason)) => return Ok(Outcome::Cut { received, reason }),
            Err(RecvTimeoutError::Timeout) => return Ok(Outcome::Silent(wait)),
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Outcome::Refused("the download was abandoned".to_string()));
            }
        }
    }
}

/// Writes the bytes to the disk; the rename that declares the file complete must come after.
fn finish(file: File, part: &Path) -> Result<Outcome> {
    file.sync_all().map_err(Error::io("write", part))?;
    Ok(Outcome::Complete)
}

/// Starts a thread that requests the bytes of `url` from `offset` on.
fn request(url: &str, offset: u64) -> std::io::Result<Receiver<Message>> {
    let (sender, receiver) = sync_channel(CHUNKS_WAITING);
    let url = url.to_string();
    thread::Builder::new().name("download".to_string()).spawn(move || {
        if let Err(error) = pump(&url, offset, &sender) {
            // This fails if the receiver is gone.
            let _ = sender.send(Message::Failed(crate::text::message(error)));
        }
    })?;
    Ok(receiver)
}

/// The thread's work: sends head, bytes and end until the receiver is gone.
fn pump(url: &str, offset: u64, sender: &SyncSender<Message>) -> std::result::Result<(), ureq::Error> {
    let mut request = agent(url).get(url);
    if offset > 0 {
        request = request.header("Range", format!("bytes={offset}-"));
    }
    let mut response = request.call()?;
    let length = response.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    let status = response.status().as_u16();
    let offset = if status == 206 { range.and_then(first_byte).unwrap_or(u64::MAX) } else { 0 };
    let total = length.map(|length| length.saturating_add(offset));
    if sender.send(Message::Head { status, offset, total }).is_err() {
        return Ok(());
    }
    let mut body = response.body_mut().as_reader();
    loop {
        let mut bytes = vec![0; CHUNK];
        let count = body.read(&mut bytes)?;
        bytes.truncate(count);
        let message = if count == 0 { Message::End } else { Message::Bytes(bytes) };
        if sender.send(message).is_err() || count == 0 {
            return Ok(());
        }
    }
}

fn agent(url: &str) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .timeout_resolve(Some(PATIENCE))
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .timeout_per_write(Some(PATIENCE))
        .http_status_as_error(false)
        // The files are already compressed, and ranges count the bytes as sent.
        .accept_encoding("identity")
        .user_agent(concat!("glassnet/", env!("CARGO_PKG_VERSION")));
    if host_of(url).starts_with("127.0.0.1") {
        // A proxy from the environment resolves this address differently.
        config = config.proxy(None);
    }
    config.build().new_agent()
}

/// The host and port of an address, for messages.
pub(super) fn host_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |index| index + 3);
    url[start..].split('/').next().unwrap_or(url)
}

/// The number N in `bytes N-M/TOTAL`.
fn first_byte(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_cut_out_of_an_address() {
        assert_eq!(host_of("https://example.org/a/b.gz"), "example.org");
        assert_eq!(host_of("http://127.0.0.1:80/"), "127.0.0.1:80");
    }

    #[test]
    fn the_first_byte_of_a_range_is_read() {
        assert_eq!(first_byte("bytes 100-199/200"), Some(100));
        assert_eq!(first_byte("bytes */200"), None);
        assert_eq!(first_byte("rubbish"), None);
    }
}
