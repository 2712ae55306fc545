//! Runs that cannot begin leave nothing behind, for whatever reason; paths may contain any bytes; a run folder may be
//! moved; and a run that was killed while its report was written gets one.

mod common;

use assert_cmd::Command;
use common::command::{Place, TINY, assert_fails_with, document, failing, glassnet, text};
use std::fs;
use std::path::Path;

fn place() -> Place {
    Place::with_tiny_network(40, 10)
}

/// `glassnet COMMAND` on the data and the network, two steps.
fn command(place: &Place, command: &str) -> Command {
    let mut glassnet = glassnet(&[command, "--dataset", "mnist", "--device", "cpu", "--steps", "2", "--data-dir"]);
    glassnet.arg(place.path("data")).arg("--net").arg(place.path("net.toml"));
    glassnet
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_refused_start_leaves_nothing() {
    let place = place();
    let deep = "[[layers]]\ntype = \"conv\"\nfilters = 32\nkernel = 1\nactivation = \"relu\"\n".repeat(60);
    let input = "[[layers]]\ntype = \"input\"\nheight = 28\nwidth = 28\nchannels = 1\n";
    let end = "[[layers]]\ntype = \"fc\"\noutputs = 10\n[[layers]]\ntype = \"softmax\"\n";
    fs::write(place.path("deep.toml"), format!("{input}{deep}{end}")).expect("a network");
    fs::write(place.path("file"), "").expect("a file");
    let small = Place::with_data(1, 1);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let before = names(place.folder.path());
    let path = |name: &str| place.path(name).display().to_string();
    let cases: [(&str, &[&str]); 9] = [
        ("no network", &["--net", "/nowhere/net.toml"]),
        ("no data", &["--data-dir", "/nowhere"]),
        ("too few examples", &["--data-dir", &small.path("data").display().to_string()]),
        ("no memory", &["--net", &path("deep.toml"), "--batch-size", "65535"]),
        ("no such adapter", &["--device", "gpu", "--adapter", "none such"]),
        ("a setting", &["--batch-size", "0"]),
        ("a port in use", &["--live", &port]),
        ("a folder in a file", &["--out", &path("file/run")]),
        ("no such crops", &["--test-crops", "99"]),
    ];
    for (why, args) in cases {
        for name in ["train", "compare"] {
            if name == "compare" && ["a port in use", "no such crops"].contains(&why) {
                continue;
            }
            let mut refused = glassnet(&[name, "--dataset", "mnist", "--steps", "2"]);
            let given = |option: &str| args.contains(&option);
            for (option, value) in [
                ("--data-dir", path("data")),
                ("--net", path("net.toml")),
                ("--out", path("made/here")),
                ("--device", "cpu".into()),
            ] {
                if !given(option) {
                    refused.args([option, &value]);
                }
            }
            if name == "train" {
                refused.arg("--tensorboard");
            }
            let assert = refused.args(args).assert().code(1);
            let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            assert!(stderr.contains("error: ") && !stderr.contains("panicked"), "{name}: {why}: {stderr}");
            assert_eq!(names(place.folder.path()), before, "{name}: {why}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_at_the_start_is_left_as_it_was() {
    // A limit on the size of files simulates a full disk: the checkpoint does not fit, config.toml does.
    let place = place();
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let mut train = std::process::Command::new("sh");
    train.args(["-c", script, env!("CARGO_BIN_EXE_glassnet"), "train", "--dataset", "mnist", "--device", "cpu"]);
    train.args(["--steps", "2", "--tensorboard", "--data-dir"]).arg(place.path("data"));
    let ended = train.arg("--out").arg(place.path("made/run")).output().expect("a shell");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(1) && stderr.contains("cannot write "), "{stderr}");
    assert!(!place.path("made").exists(), "{:?}", names(&place.path("made")));
}

#[test]
fn what_was_in_the_folder_before_stays() {
    let place = place();
    fs::create_dir_all(place.path("mine/tensorboard")).expect("folders");
    for file in ["mine/notes.txt", "mine/tensorboard/events.out.tfevents.0000000001.glassnet"] {
        fs::write(place.path(file), "").expect("a file");
    }
    // Too few examples, which is found out after the folder was created.
    let small = Place::with_data(1, 1);
    let mut train = glassnet(&["train", "--dataset", "mnist", "--device", "cpu", "--tensorboard", "--data-dir"]);
    train.arg(small.path("data")).arg("--net").arg(place.path("net.toml")).arg("--out").arg(place.path("mine"));
    train.assert().code(1);
    assert_eq!(names(&place.path("mine")), ["notes.txt", "tensorboard"]);
}

/// A name with a byte that is not UTF-8.
#[cfg(target_os = "linux")]
fn odd(name: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec([name.as_bytes(), b"-\xe9"].concat())
}

#[cfg(target_os = "linux")]
#[test]
fn paths_that_are_not_utf8_serve_as_others_do() {
    let place = place();
    let folder = place.folder.path().join(odd("odd"));
    fs::create_dir(&folder).expect("a folder");
    fs::rename(place.path("data"), folder.join(odd("data"))).expect("the data");
    fs::rename(place.path("net.toml"), folder.join(odd("net"))).expect("the network");
    let here = |args: &[&str]| {
        let mut command = glassnet(args);
        command.current_dir(&folder);
        command
    };
    let mut train =
        here(&["train", "--dataset", "mnist", "--device", "cpu", "--steps", "2", "--tensorboard", "--data-dir"]);
    train.arg(odd("data")).arg("--net").arg(odd("net")).arg("--out").arg(odd("run"));
    document(&mut train);
    let run = folder.join(odd("run"));
    let config = fs::read_to_string(run.join("config.toml")).expect("UTF-8");
    assert!(config.contains("data_dir = \"percent-encoded:/"), "{config}");
    // The recorded paths are found again.
    document(here(&["train", "--steps", "3", "--resume"]).arg(odd("run")));
    let report = document(here(&["report"]).arg(odd("run")).arg("--out").arg(odd("page")));
    assert_eq!(report["report"], "page-\u{fffd}");

    let model = run.join("model.safetensors");
    let eval = document(here(&["eval", "--device", "cpu", "--model"]).arg(&model).arg("--data-dir").arg(odd("data")));
    assert!(eval["model"].as_str().is_some_and(|path| path.ends_with("run-\u{fffd}/model.safetensors")), "{eval}");
    let picture = folder.join(odd("five"));
    let image = image::GrayImage::from_fn(28, 28, |x, y| image::Luma([(x * y) as u8]));
    image.save_with_format(&picture, image::ImageFormat::Png).expect("a picture");
    let predicted = document(here(&["predict", "--device", "cpu", "--model"]).arg(&model).arg(&picture));
    assert!(predicted["images"][0]["image"].as_str().is_some_and(|path| path.ends_with("five-\u{fffd}")));
    let mut inspect = here(&["inspect", "--device", "cpu", "--index", "0", "--model"]);
    inspect
        .arg(&model)
        .arg("--data-dir")
        .arg(odd("data"))
        .arg("--dump")
        .arg(odd("dump"))
        .arg("--out")
        .arg(odd("pictures"));
    assert_eq!(document(&mut inspect)["dump"], "dump-\u{fffd}");
    let mut converted = odd("model");
    converted.push(".json");
    document(here(&["convert"]).arg(&model).arg(converted));
    let listed = document(here(&["data", "list", "--data-dir"]).arg(odd("data")));
    assert!(listed[0]["folder"].as_str().is_some_and(|path| path.contains('\u{fffd}')), "{listed}");
}

#[cfg(target_os = "linux")]
#[test]
fn folders_of_pictures_may_have_any_name_but_classes_are_told_by_theirs() {
    let place = place();
    let folder = place.folder.path().join(odd("pictures"));
    for class in ["a", "b"] {
        fs::create_dir_all(folder.join(class)).expect("a folder");
        for i in 0..10 {
            let image = image::GrayImage::from_fn(28, 28, |x, y| image::Luma([(x * y + i) as u8]));
            let mut name = odd(&i.to_string());
            name.push(".png");
            image.save_with_format(folder.join(class).join(name), image::ImageFormat::Png).expect("a picture");
        }
    }
    fs::write(place.path("net.toml"), TINY.replace("outputs = 10", "outputs = 2")).expect("a network");
    let train = || {
        let mut train = glassnet(&["train", "--device", "cpu", "--steps", "2", "--images"]);
        train.arg(&folder).arg("--net").arg(place.path("net.toml")).arg("--out").arg(place.path("run"));
        train
    };
    train().assert().success();
    glassnet(&["train", "--steps", "3", "--resume"]).arg(place.path("run")).assert().success();
    fs::remove_dir_all(place.path("run")).expect("it goes");
    fs::rename(folder.join("b"), folder.join(odd("b"))).expect("a class");
    assert_fails_with(&mut train(), &["b-\u{fffd}"]);
    assert!(!place.path("run").exists());
}

#[test]
fn a_run_that_was_killed_before_its_report_gets_one() {
    let place = place();
    let run = place.path("run");
    command(&place, "train").arg("--out").arg(&run).assert().success();
    let page = || fs::read_to_string(run.join("report.html"));
    let resume = |args: &[&str]| {
        let assert = glassnet(&["train", "--resume"]).arg(&run).args(args).assert().success();
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    let whole = page().expect("a page");
    fs::remove_file(run.join("report.html")).expect("no page");
    assert!(!resume(&["--no-report"]).contains("written now") && page().is_err());
    let told = resume(&[]);
    assert!(told.contains("this run is finished") && told.contains("written now"), "{told}");
    assert!(page().expect("a page").contains("glassnet-updates\" content=\"2, finished\""));
    assert!(!resume(&[]).contains("written now"), "a page that is there is kept");

    for cut in [whole.len() - 40, 2000] {
        fs::write(run.join("report.html"), &whole[..cut]).expect("a cut page");
        assert!(resume(&[]).contains("written now"));
        assert!(page().expect("a page").trim_end().ends_with("</html>"));
    }
    let model = fs::read(run.join("model.safetensors")).expect("the model");
    fs::remove_file(run.join("model.safetensors")).expect("no model");
    assert!(resume(&[]).contains("its model is written again from the checkpoint"));
    assert_eq!(fs::read(run.join("model.safetensors")).expect("the model"), model);
    assert!(resume(&["--tensorboard"]).contains("events   ") && run.join("tensorboard").is_dir());

    // A report of an earlier end does not count.
    glassnet(&["train", "--steps", "4", "--resume"]).arg(&run).assert().success();
    fs::write(run.join("report.html"), whole).expect("the older page");
    assert!(resume(&[]).contains("from an earlier end"));
    assert!(page().expect("a page").contains("content=\"4, finished\""));

    #[cfg(unix)]
    {
        fs::remove_file(run.join("report.html")).expect("no page");
        let made = std::process::Command::new("mkfifo").arg(run.join("report.html")).status();
        assert!(made.expect("mkfifo").success());
        assert_fails_with(
            glassnet(&["train", "--resume"]).arg(&run),
            &["report.html is not a regular file", "move it"],
        );
    }
    fs::rename(place.path("data"), place.path("elsewhere")).expect("it is renamed");
    let gone = ["the run's data was in", "config.toml, and is no longer there", "name its new folder with --data-dir"];
    assert_fails_with(glassnet(&["train", "--resume"]).arg(&run), &gone);
    assert_fails_with(glassnet(&["report"]).arg(&run), &gone);
    // Other data is no way out for a run that has begun.
    fs::create_dir(place.path("empty")).expect("a folder");
    for arguments in [&["train", "--resume"][..], &["report"]] {
        let mut command = glassnet(arguments);
        let assert = command.arg(&run).arg("--data-dir").arg(place.path("empty")).assert().failure();
        let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(told.contains("give the folder with the run's data with --data-dir"), "{told}");
        assert!(!told.contains("--dataset"), "{told}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_follows_its_folder_and_ends_where_that_is_gone() {
    use std::process::{Command, Stdio};
    for deleted in [false, true] {
        let place = place();
        let (old, new) = (place.path("run"), place.path("renamed"));
        let mut run = Command::new(env!("CARGO_BIN_EXE_glassnet"));
        run.args(["train", "--dataset", "mnist", "--device", "cpu", "--steps", "800", "--stats-every", "10"]);
        run.args(["--checkpoint-every", "50", "--data-dir"]).arg(place.path("data"));
        run.arg("--net").arg(place.path("net.toml")).arg("--out").arg(&old);
        let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        while fs::metadata(old.join("metrics.jsonl")).map_or(0, |file| file.len()) < 1000 {
            assert!(run.try_wait().expect("its state").is_none(), "it ended before its folder was moved");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        if deleted {
            // Refused if a file has appeared meanwhile.
            while fs::remove_dir_all(&old).is_err() {}
        } else {
            fs::rename(&old, &new).expect("it is renamed");
            // Another user's file has taken its place.
            fs::create_dir(&old).expect("a folder");
        }
        let ended = run.wait_with_output().expect("it ends");
        let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        if deleted {
            assert_eq!(ended.status.code(), Some(1), "{stderr}");
            assert!(
                stderr.contains("was deleted during the run, with its checkpoint of step")
                    && stderr.contains("start the run again"),
                "{stderr}"
            );
            assert!(!stderr.contains("last good checkpoint") && !old.exists(), "{stderr}");
        } else {
            assert_eq!(ended.status.code(), Some(0), "{stderr}");
            assert!(stderr.contains("was renamed; the run continues in"), "{stderr}");
            assert!(stdout.contains(&format!("saved in {}", new.display())), "{stdout}");
            assert!(names(&old).is_empty(), "{:?}", names(&old));
            for name in ["summary.json", "model.safetensors", "report.html"] {
                assert!(new.join(name).is_file(), "{name}");
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_network_is_read_from_a_pipe_and_no_file_is_waited_for() {
    use std::os::unix::fs::symlink;
    let place = place();
    let pipe = place.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let train = |net: &Path, data: &str| {
        let mut train = glassnet(&["train", "--dataset", "mnist", "--device", "cpu", "--steps", "1", "--data-dir"]);
        train.arg(place.path(data)).arg("--net").arg(net).arg("--out").arg(place.path("run"));
        train
    };
    let to = pipe.clone();
    let writer = std::thread::spawn(move || fs::write(to, TINY));
    train(&pipe, "data").assert().success();
    writer.join().expect("it ends").expect("it is written");
    let run = place.path("run");
    for (net, why) in [
        ("/dev/zero", "larger than the limit of 1048576 bytes"),
        ("/dev/null", "missing field `layers`"),
        (run.to_str().expect("UTF-8"), "it is a folder"),
    ] {
        let message = failing(&mut train(Path::new(net), "data"));
        assert!(message.contains(net) && message.contains(why), "{net}: {message}");
    }

    // Files of a run and of a data set that are endless, or that nobody writes to.
    fs::remove_file(run.join("metrics.jsonl")).expect("it goes");
    symlink("/dev/zero", run.join("metrics.jsonl")).expect("a link");
    assert_fails_with(glassnet(&["report"]).arg(&run), &["metrics.jsonl: it is not a regular file"]);
    assert_fails_with(glassnet(&["view"]).arg(&run), &["metrics.jsonl: it is not a regular file"]);
    for model in [&*pipe, Path::new("/dev/zero")] {
        assert_fails_with(glassnet(&["eval", "--model"]).arg(model), &["it is not a regular file"]);
    }
    fs::create_dir(place.path("pipes")).expect("a folder");
    fs::rename(&pipe, place.path("pipes/train-images-idx3-ubyte")).expect("it is moved");
    assert_fails_with(&mut train(&place.path("net.toml"), "pipes"), &["mnist"]);
}

#[test]
fn the_address_of_the_live_page_is_printed_again_and_found_by_view() {
    use std::process::{Command, Stdio};
    let place = place();
    let train = |run: &str, args: &[&str]| {
        let mut train = Command::new(env!("CARGO_BIN_EXE_glassnet"));
        train.args(["train", "--dataset", "mnist", "--device", "cpu", "--live", "--no-report"]).args(args);
        train.arg("--data-dir").arg(place.path("data")).arg("--net").arg(place.path("net.toml"));
        train.arg("--out").arg(place.path(run)).stdout(Stdio::piped()).stderr(Stdio::piped());
        train
    };
    let ended = train("run", &["--epochs", "2"]).output().expect("it ends");
    let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    let url = stderr.split_once("the live page is at ").expect("its address").1.lines().next().expect("a line");
    assert_eq!(stdout.matches(&format!("\nlive page {url}\n")).count(), 3, "two epochs and the end: {stdout}");

    let mut paused = train("paused", &["--paused"]).stderr(Stdio::null()).spawn().expect("it starts");
    let address = place.path("paused/.live");
    while fs::read_to_string(&address).map_or(0, |text| text.len()) == 0 {
        assert!(paused.try_wait().expect("its state").is_none(), "it ended");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let url = fs::read_to_string(&address).expect("an address");
    let found = text(glassnet(&["view"]).arg(place.path("paused")));
    paused.kill().and_then(|()| paused.wait()).expect("it is ended");
    assert_eq!(found.trim_end(), format!("the run is still training; its live page is at {}", url.trim_end()));
}
