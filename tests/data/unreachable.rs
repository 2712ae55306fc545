//! An unreachable network is given up within ten seconds in total, however it is unreachable.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use glassnet::Error;
use glassnet::data::{self, DatasetName};
use tempfile::tempdir;

use crate::server::{Server, Set, send_head};

/// The error's message, after a check that it came in time.
fn given_up(set: &Set, servers: &[&str]) -> String {
    let folder = tempdir().unwrap();
    let start = Instant::now();
    let result = data::fetch(DatasetName::Kmnist, folder.path(), &set.sources(servers), &mut |_| ());
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(10), "took {elapsed:?}");
    match result {
        Err(Error::Download(message)) => message,
        other => panic!("{other:?}"),
    }
}

/// Accepts connections and sends nothing.
fn silent() -> Server {
    Server::start(|_, _| thread::sleep(Duration::from_secs(60)))
}

/// Each case waits as long as it is allowed to, so they wait in parallel.
#[test]
fn every_kind_of_silence_is_given_up_in_time() {
    let mute = [silent(), silent()];
    let headless = Server::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ").unwrap();
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(500));
        }
    });
    let bodiless = Server::start(|_, stream| {
        send_head(stream, "200 OK", 1000, "");
        thread::sleep(Duration::from_secs(60));
    });
    // RFC 5737: packets to these addresses vanish, or the system knows no route at all.
    let swallowing = ["http://192.0.2.1/", "http://192.0.2.2/"];
    // RFC 6761: `.invalid` never resolves. If the name server is out of reach too, this takes as long as it is allowed
    // to.
    let nameless = ["http://one.invalid/", "http://two.invalid/"];
    thread::scope(|scope| {
        scope.spawn(|| {
            let message = given_up(&Set::new(), &[&mute[0].url, &mute[1].url]);
            assert_eq!(message.matches("sent nothing for 4.").count(), 2, "{message}");
            assert_eq!(mute.each_ref().map(|server| server.requests().len()), [1, 1]);
        });
        scope.spawn(|| assert!(given_up(&Set::new(), &[&headless.url]).contains("sent nothing for")));
        scope.spawn(|| assert!(given_up(&Set::new(), &[&bodiless.url]).contains("sent nothing for")));
        scope.spawn(|| given_up(&Set::new(), &swallowing));
        scope.spawn(|| given_up(&Set::new(), &nameless));
    });
}

#[test]
fn a_refused_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let message = given_up(&Set::new(), &[&url, &url]);
    assert_eq!(message.to_lowercase().matches("refused").count(), 2, "{message}");
    assert!(message.ends_with("check the network connection and try again"), "{message}");
}

#[test]
fn a_silent_server_costs_no_more_than_its_share() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let (silent, good) = (silent(), set.serve());
    let start = Instant::now();
    data::fetch(DatasetName::Kmnist, folder.path(), &set.sources(&[&silent.url, &good.url]), &mut |_| ()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(6));
    assert_eq!((silent.requests().len(), good.requests().len()), (1, 4));
}

#[test]
fn another_process_that_holds_the_folder_and_does_nothing() {
    let (set, folder) = (Set::new(), tempdir().unwrap());
    let lock = File::create(folder.path().join(".lock")).unwrap();
    lock.lock().unwrap();
    let start = Instant::now();
    let result = data::fetch(DatasetName::Kmnist, folder.path(), &set.sources(&[]), &mut |_| ());
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(result.unwrap_err().to_string().starts_with("another process is downloading into"));
}
