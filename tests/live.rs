//! The live page's server during a run: who has access, what it answers, and attacks on it. The training must continue
//! in every case.

mod common;

use common::live::{Answer, LONG, Trainer, wait_for};
use glassnet::live::{RunningPage, running_page};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use sysinfo::{Pid, ProcessesToUpdate, System};

/// Headers that every answer has, and what they must say.
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", "default-src 'none'; script-src 'self'"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

fn assert_headers(answer: &Answer, what: &str) {
    for (name, value) in HEADERS {
        assert!(answer.header(name).is_some_and(|found| found.starts_with(value)), "{name} of {what}: {answer:?}");
    }
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[test]
fn only_this_machine_under_its_own_name_is_answered() {
    let mut trainer = Trainer::start(&[]);
    let get = |headers: &[(&str, &str)], path: &str| trainer.request("GET", path, headers, b"");
    let own = format!("http://{}", trainer.address);
    assert_eq!(get(&[("origin", &own)], "/").status, 200);
    assert_eq!(get(&[("host", "localhost")], "/").status, 200);
    for host in ["evil.example", "192.168.7.7:80", ""] {
        let answer = get(&[("host", host)], "/");
        assert_eq!(answer.status, 421, "{host}");
        assert!(answer.error().contains("open the address"));
        assert_headers(&answer, host);
    }
    for path in ["/events", "/snapshot.json", "/js/main.js"] {
        assert_eq!(get(&[("origin", "http://evil.example")], path).status, 403, "{path}");
        assert_eq!(get(&[("sec-fetch-site", "cross-site")], path).status, 403, "{path}");
    }
    let pause = json!({"do": "pause"}).to_string();
    let foreign = trainer.request("POST", "/control", &[("origin", "null")], pause.as_bytes());
    assert_eq!(foreign.status, 403);
    assert_headers(&foreign, "a refusal");
    trainer.assert_well();
}

#[test]
fn the_page_of_a_run_is_found_by_its_folder_as_long_as_the_run_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trainer = Trainer::start_in(folder, &["--live", "127.0.0.1:0"], &[]);
    let run = trainer.path("run");
    assert_eq!(running_page(&run), Some(RunningPage::Answers(trainer.url.clone())), "with the token");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(run.join(".live")).expect("the record").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others could read the token");
    }
    trainer.kill();
    assert!(run.join(".live").exists(), "nothing removes it where the process is killed");
    assert_eq!(running_page(&run), None, "a page that is gone");
    assert_eq!(running_page(&trainer.path("nothing")), None);
    // A run that ends by itself leaves no record, even if there was one before.
    std::fs::write(run.join(".live"), "http://127.0.0.1:1/?token=0").expect("an old record");
    let mut next = trainer.resumed(&["--live"]);
    let run = next.path("run");
    assert_eq!(running_page(&run), Some(RunningPage::Answers(next.url.clone())), "of the resumed run");
    let record = std::fs::read(run.join(".live")).expect("the record");
    let silent = "http://127.0.0.1:1/";
    std::fs::write(run.join(".live"), silent).expect("another record");
    assert_eq!(
        running_page(&run),
        Some(RunningPage::Silent(silent.into())),
        "a run under way is not taken for one that ended"
    );
    std::fs::write(run.join(".live"), record).expect("the record");
    interrupt(&next);
    wait_for("the end", || next.has_ended().then_some(()));
    assert!(!next.path("run/.live").exists());
}

/// Interrupts as Ctrl-C does.
fn interrupt(trainer: &Trainer) {
    let system = System::new_all().expect("this system is known");
    let process = system.process(Pid::from_u32(trainer.id())).expect("it runs");
    assert_eq!(process.kill_with(sysinfo::Signal::Interrupt), Some(true));
}

#[test]
fn requests_that_never_end_keep_out_nobody_who_has_the_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trainer = Trainer::start_in(folder, &["--live", "127.0.0.1:0"], &[]);
    let (_, query) = trainer.url.split_once('?').expect("a token in the address");
    let path = format!("/?{query}");
    let mut held: Vec<_> = (0..128).map(|_| trainer.connect()).collect();
    for stream in &mut held {
        // The oldest were closed to make room for the others.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n");
    }
    assert_eq!(trainer.get(&path).status, 200, "beside 128 that are half sent");
    let dripping: Vec<_> = (0..130).map(|_| trainer.connect()).collect();
    let drip = |mut stream: &std::net::TcpStream| drop(stream.write_all(b"x"));
    for _ in 0..3 {
        dripping.iter().for_each(drip);
        assert_eq!(trainer.get(&path).status, 200, "beside 130 that drip");
    }
    // The server does not wait for a body that the client has no right to send.
    let mut stream = trainer.connect();
    write!(stream, "POST /load HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000000\r\n\r\nx", trainer.address)
        .expect("sent");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&rest));
    // The watchers among the known ones stay.
    let mut watcher = trainer.watch();
    let _more: Vec<_> = (0..100).map(|_| trainer.connect()).collect();
    watcher.next("status");
    watcher.next("status");
    drop((held, dripping));
    assert!(!trainer.printed().contains("panicked"));
    trainer.kill();
}

#[test]
fn bodies_that_never_end_keep_nobody_out() {
    let mut trainer = Trainer::start(&[]);
    let held = [(); 100].map(|()| {
        let mut stream = trainer.connect();
        let head = format!("POST /control HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000\r\n\r\n{{", trainer.address);
        // The oldest were closed to make room for the others.
        let _ = stream.write_all(head.as_bytes());
        stream
    });
    for _ in 0..3 {
        assert_eq!(trainer.get("/").status, 200, "beside 100 that are half sent");
    }
    drop(held);
    trainer.assert_well();
}

#[test]
fn where_others_can_come_the_token_of_the_address_is_needed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trainer = Trainer::start_in(folder, &["--live", "127.0.0.1:0"], &[]);
    let (_, token) = trainer.url.split_once("/?token=").expect("a token in the address");
    assert_eq!(token.len(), 32);
    let get = |path: &str, headers: &[(&str, &str)]| trainer.request("GET", path, headers, b"");
    for path in ["/", "/events", "/snapshot.json", "/?token=", "/?token=0123456789abcdef0123456789abcdef"] {
        let answer = get(path, &[]);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.error().contains("token"));
        assert!(answer.header("set-cookie").is_none() && !answer.text().contains(token));
    }
    assert_eq!(trainer.control(&json!({"do": "pause"})).status, 401);
    let opened = get(&format!("/?token={token}"), &[]);
    assert_eq!(opened.status, 200);
    let cookie = opened.header("set-cookie").expect("a cookie");
    assert!(["HttpOnly", "SameSite=Strict", "Path=/"].iter().all(|part| cookie.contains(part)), "{cookie}");
    let cookie = cookie.split(';').next().expect("a pair");
    assert_eq!(get("/js/main.js", &[("cookie", cookie)]).status, 200);
    let done = trainer.request("POST", "/control", &[("cookie", cookie)], br#"{"do": "pause"}"#);
    assert_eq!(done.json(), json!({"done": "paused"}));
    assert_eq!(trainer.request("POST", "/control", &[("cookie", cookie)], br#"{"do": "resume"}"#).status, 200);
    assert!(!trainer.printed().contains("panicked"));
    trainer.kill();
}

#[test]
fn every_answer_has_the_headers_and_nothing_but_the_page_is_there() {
    let mut trainer = Trainer::start(&[]);
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/js/main.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
        ("/snapshot.json", "application/json"),
        ("/snapshot.safetensors", "application/octet-stream"),
    ] {
        let answer = trainer.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").is_some_and(|found| found.starts_with(kind)), "{path}: {answer:?}");
        assert_headers(&answer, path);
    }
    for path in [
        "/nothing",
        "/../Cargo.toml",
        "/js/../../Cargo.toml",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/js/",
        "/index.html%00",
        "/run/config.toml",
    ] {
        let answer = trainer.get(path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert_headers(&answer, path);
    }
    assert_eq!(trainer.post("/events", b"").status, 405);
    assert_eq!(trainer.get("/control").status, 405);
    trainer.assert_well();
}

#[test]
fn commands_that_make_no_sense_are_refused_in_words() {
    let mut trainer = Trainer::start(&[]);
    let settings = trainer.status()["settings"].clone();
    for (body, status, told) in [
        (&b"{"[..], 400, "cannot be asked for"),
        (b"", 400, "cannot be asked for"),
        (b"\xff\xfe", 400, "cannot be asked for"),
        (br#"{"do": "explode"}"#, 400, "explode"),
        (br#"{"do": "set", "learning_rate": "much"}"#, 400, "much"),
        (br#"{"do": "set", "colour": 1}"#, 400, "colour"),
        (br#"{"do": "show", "split": "validation", "index": 0}"#, 400, "validation"),
        (br#"{"do": "set"}"#, 422, "the request changes nothing"),
        (br#"{"do": "set", "learning_rate": -1}"#, 422, "learning rate"),
        (br#"{"do": "set", "batch_size": 0}"#, 422, "batch"),
        (br#"{"do": "set", "momentum": 0.5}"#, 422, "momentum"),
        (br#"{"do": "show", "split": "test", "index": 10000}"#, 422, "choose one from 0 to 9999"),
        (br#"{"do": "restart", "network": "layers = 7"}"#, 422, "layers"),
    ] {
        let answer = trainer.post("/control", body);
        let text = String::from_utf8_lossy(body);
        assert_eq!(answer.status, status, "{text}: {}", answer.text());
        assert!(answer.error().contains(told), "{text}: {}", answer.text());
        assert_headers(&answer, &text);
    }
    // If one of several values is wrong, none is used.
    let mixed = trainer.control(&json!({"do": "set", "learning_rate": 0.5, "l2_decay": -1}));
    assert_eq!(mixed.status, 422);
    let deep = "[".repeat(200_000);
    assert_eq!(trainer.post("/control", deep.as_bytes()).status, 400);
    assert_eq!(trainer.status()["settings"], settings);
    trainer.assert_well();
}

#[test]
fn bodies_that_are_too_large_are_refused() {
    let mut trainer = Trainer::start(&[]);
    for (path, most) in [("/control", 1usize << 20), ("/classify", 8 << 20), ("/load?name=a", 64 << 20)] {
        let answer = trainer.post(path, &vec![b' '; most + 1]);
        assert_eq!(answer.status, 413, "{path}");
        assert!(answer.error().contains(&format!("larger than {} MiB", most >> 20)), "{path}: {}", answer.text());
    }
    // Declared to be larger than all memory: none is reserved for it, and nobody waits.
    let mut stream = trainer.connect();
    let head =
        format!("POST /load HTTP/1.1\r\nhost: {}\r\ncontent-length: 9000000000000000000\r\n\r\n", trainer.address);
    stream.write_all(head.as_bytes()).expect("the server listens");
    trainer.assert_well();
}

/// Random bytes.
fn noise(count: u32) -> Vec<u8> {
    (0..count).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A file in safetensors format: the length of the header, the header and the data.
fn container(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn hostile_weights_are_refused_in_words() {
    let mut trainer = Trainer::start(&[]);
    let own = trainer.get("/snapshot.safetensors").body;
    let snapshot = trainer.get("/snapshot.json").json();
    let with_weight = |value: Value| {
        let mut document = snapshot.clone();
        document["layers"][1]["filters"][0]["w"][0] = value;
        document.to_string().into_bytes()
    };
    let huge = r#"{"conv1.weight":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,64]}}"#;
    let beyond = r#"{"conv1.weight":{"dtype":"F32","shape":[8,1,5,5],"data_offsets":[0,18446744073709551615]}}"#;
    for (name, file) in [
        ("noise", noise(100_000)),
        ("empty", vec![]),
        ("one byte", vec![b'{']),
        ("half", own[..own.len() / 2].to_vec()),
        ("a header of 2^63 bytes", [&(1u64 << 63).to_le_bytes()[..], b"{}"].concat()),
        ("a tensor of 2^64 values", container(huge, &[0; 64])),
        ("a tensor beyond the end", container(beyond, &[0; 64])),
        ("no tensors", container("{}", b"")),
        ("deep brackets", "[".repeat(100_000).into_bytes()),
        ("deep objects", "{\"a\":".repeat(100_000).into_bytes()),
        ("null", with_weight(Value::Null)),
        (
            "NaN",
            snapshot
                .to_string()
                .replacen("\"w\":{\"0\":", "\"w\":{\"0\":NaN,\"x\":", 1)
                .replacen("\"w\":[", "\"w\":[NaN,", 1)
                .into_bytes(),
        ),
        ("beyond f32", with_weight(json!(1e300))),
        ("words", with_weight(json!("much"))),
    ] {
        let answer = trainer.post("/load?name=evil", &file);
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
        let error = answer.error();
        assert!(error.len() > 15 && error.len() < 2000, "{name}: {error}");
    }
    assert_eq!(trainer.changes("weights"), Vec::<Value>::new());
    // The name is only used as a name.
    let done = trainer.post("/load?name=..%2F..%2Fetc%2Fpasswd", &own);
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(trainer.changes("weights")[0]["to"]["source"], "../../etc/passwd");
    trainer.assert_well();
}

#[test]
fn hostile_pictures_are_refused_in_words() {
    let mut trainer = Trainer::start(&[]);
    let jpeg = [&b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"[..], &noise(5000)].concat();
    let png = [&b"\x89PNG\r\n\x1a\n"[..], &noise(5000)].concat();
    for (name, file) in
        [("empty", vec![]), ("noise", noise(1 << 20)), ("JPEG", jpeg), ("PNG", png), ("text", b"GIF89a".to_vec())]
    {
        let answer = trainer.post("/classify", &file);
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
        assert!(answer.error().contains("picture"), "{name}: {}", answer.text());
    }
    trainer.assert_well();
}

#[test]
fn as_many_watch_as_there_is_room_for() {
    let mut trainer = Trainer::start(&[]);
    let mut watchers: Vec<_> = (0..32).map(|_| trainer.watch()).collect();
    let refused = trainer.get("/events");
    assert_eq!(refused.status, 503);
    assert!(refused.error().contains("too many pages"));
    let last = watchers.last_mut().expect("one");
    let status = wait_for("all of them", || Some(last.next("status")).filter(|status| status["watchers"] == 32));
    for watcher in &mut watchers {
        assert!(
            watcher.next("status")["step"].as_u64() >= status["step"].as_u64().map(|step| step.saturating_sub(1000))
        );
    }
    watchers.truncate(3);
    wait_for("room", || (trainer.watch().next("status")["watchers"].as_u64() < Some(6)).then_some(()));
    drop(watchers);
    trainer.assert_well();
}

const SMALL: &str = "
layers = [
    { type = 'input', height = 28, width = 28, channels = 1 },
    { type = 'max-pool', size = 4 },
    { type = 'fc', outputs = 10 },
    { type = 'softmax' },
]
";

/// The process's resident memory in bytes.
fn resident(process: u32) -> u64 {
    let (mut system, process) = (System::new().expect("this system is known"), Pid::from_u32(process));
    system.refresh_processes(ProcessesToUpdate::Some(&[process]), true);
    system.process(process).expect("it runs").memory()
}

#[test]
fn watchers_that_do_not_read_hold_up_nothing_and_cost_no_memory() {
    // A row for every step, more than any of them can leave unread. The network is small, so that rows come fast.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("small.toml"), SMALL).expect("a file");
    let mut trainer = Trainer::start_in(folder, &["--live"], &["--net", "small.toml", "--stats-every", "1"]);
    let mut stalled: Vec<_> = (0..8).map(|_| trainer.connect()).collect();
    for stream in &mut stalled {
        write!(stream, "GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", trainer.address).expect("the server listens");
    }
    let mut reader = trainer.watch();
    // First fills the rows that are kept for late watchers.
    wait_for("800 rows", || (reader.next("step")["step"].as_u64() > Some(900)).then_some(()));
    let (before, step) = (resident(trainer.id()), reader.next("step")["step"].as_u64().expect("a step"));
    let began = Instant::now();
    wait_for("1,000 steps more", || (reader.next("step")["step"].as_u64() > Some(step + 1000)).then_some(()));
    let grown = resident(trainer.id()).saturating_sub(before) >> 20;
    assert!(grown < 24, "{grown} MiB more");
    assert!(began.elapsed() < LONG);
    // Watchers that read nothing are no longer counted; the reader is.
    wait_for("their absence", || (reader.next("status")["watchers"] == 1).then_some(()));
    drop(stalled);
    trainer.assert_well();
}

#[test]
fn half_requests_hold_up_nobody() {
    let mut trainer = Trainer::start(&[]);
    let host = trainer.address;
    let mut halves = Vec::new();
    for begin in [
        "GET /ev".to_string(),
        format!("POST /control HTTP/1.1\r\nhost: {host}\r\ncontent-length: 100\r\n\r\n{{\"do\""),
        format!("POST /classify HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000\r\n\r\n\x7fPNG"),
        "\r\n\r\n\0\0\0".to_string(),
    ] {
        let mut stream = trainer.connect();
        stream.write_all(begin.as_bytes()).expect("the server listens");
        halves.push(stream);
    }
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    assert_eq!(trainer.get("/").status, 200);
    assert_eq!(trainer.control(&json!({"do": "set", "learning_rate": 0.5})).status, 200);
    assert_eq!(trainer.post("/classify", b"no picture").status, 422);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    drop(halves);
    trainer.assert_well();
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_outlives_more_connections_than_its_files_allow() {
    let mut trainer = Trainer::start(&["--checkpoint-every", "20"]);
    // Just enough files for the connections accepted at a time and for the run's own files.
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &trainer.id().to_string(), "--nofile=180:180"])
        .status()
        .expect("util-linux has prlimit");
    assert!(limited.success());
    let silent: Vec<_> = (0..300).map(|_| trainer.connect()).collect();
    let checkpoints =
        |trainer: &Trainer| trainer.metrics(Path::new("run")).iter().filter(|row| row["kind"] == "checkpoint").count();
    let before = checkpoints(&trainer);
    wait_for("ten checkpoints more", || (checkpoints(&trainer) > before + 10).then_some(()));
    drop(silent);
    wait_for("room", || (trainer.get("/").status == 200).then_some(()));
    trainer.assert_well();
}

#[test]
fn a_run_can_begin_with_a_pause_and_other_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut trainer = Trainer::start_in(folder, &["--live", "--paused"], &[]);
    let paused = wait_for("the pause", || Some(trainer.status()).filter(|status| status["state"] == "paused"));
    assert_eq!(paused["step"], 0);
    // Every change that is confirmed is also recorded.
    for number in 1..=30 {
        assert_eq!(trainer.control(&json!({"do": "set", "learning_rate": f64::from(number) / 128.0})).status, 200);
        let changes = trainer.changes("learning_rate");
        assert_eq!((changes.len(), &changes[number as usize - 1]["step"]), (number as usize, &json!(0)));
    }
    assert_eq!(trainer.control(&json!({"do": "resume"})).status, 200);
    wait_for("steps", || (trainer.status()["step"].as_u64() > Some(0)).then_some(()));
    trainer.assert_well();
}

#[test]
fn whoever_asks_for_what_ends_the_run_is_answered_and_the_error_is_told_at_once() {
    let trainer = Trainer::start(&[]);
    let mut watcher = trainer.watch();
    // A file that is written meanwhile may be in the way.
    wait_for("the end of the folder", || std::fs::remove_dir_all(trainer.path("run")).ok());
    let began = Instant::now();
    let answer = trainer.control(&json!({"do": "set", "learning_rate": 0.5}));
    assert_eq!(answer.status, 422);
    assert!(answer.error().contains("deleted"), "{}", answer.error());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    // While somebody watches.
    wait_for("the failure on the page", || (watcher.next("status")["state"] == "failed").then_some(()));
    wait_for("the error", || trainer.printed().contains("error: the run folder").then_some(()));
}

#[test]
fn another_run_in_place_of_a_resumed_one_takes_no_time_from_it() {
    let trainer = Trainer::start(&["--checkpoint-every", "20"]);
    let checkpoint = |row: &Value| row["kind"] == "checkpoint" && row["step"].as_u64() > Some(0);
    wait_for("a checkpoint", || trainer.metrics(Path::new("run")).iter().any(checkpoint).then_some(()));
    let trainer = trainer.resumed(&["--live", "--paused"]);
    wait_for("the pause", || (trainer.status()["state"] == "paused").then_some(()));
    let network = trainer.watch().next("run")["network"].clone();
    let answer = trainer.control(&json!({"do": "restart", "network": network}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let row = wait_for("the row", || trainer.changes("network").pop());
    assert!(row["step"].as_u64() > Some(0) && row["train_seconds"].as_f64() > Some(0.0), "{row}");
}

#[test]
fn the_page_hears_of_an_error_before_the_first_step() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device that takes nothing");
    let folder = tempfile::tempdir().expect("a folder");
    let trainer = Trainer::start_to(folder, &["--live", "--paused"], &[], full.into());
    let mut watcher = trainer.watch();
    let failed = wait_for("the failure", || Some(watcher.next("status")).filter(|status| status["state"] == "failed"));
    assert!(failed["message"].as_str().is_some_and(|why| why.contains("standard output")), "{failed}");
}

#[test]
fn a_reader_who_has_gone_makes_no_failure_of_a_run() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let folder = tempfile::tempdir().expect("a folder");
    let mut trainer = Trainer::start_to(folder, &["--live"], &["--steps", "50"], writer.into());
    let mut watcher = trainer.watch();
    wait_for("the end", || (watcher.next("status")["state"] == "ended").then_some(()));
    drop(watcher);
    trainer.wait();
}

#[test]
fn where_the_device_refuses_a_batch_size_nothing_else_of_the_request_is_made() {
    // Such a batch needs 81 GiB.
    let mut trainer = Trainer::start(&["--preset", "vgg-mnist"]);
    let answer = trainer.control(&json!({"do": "set", "batch_size": 65535, "learning_rate": 0.5, "l2_decay": 0.25}));
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.error().contains("does not fit"), "{}", answer.error());
    // Runs after everything in the queue.
    assert_eq!(trainer.control(&json!({"do": "set", "l1_decay": 0.125})).status, 200);
    let changed = |what: &str| trainer.changes(what).len();
    assert_eq!(["batch_size", "learning_rate", "l2_decay", "l1_decay"].map(changed), [0, 0, 0, 1]);
    trainer.assert_well();
}
