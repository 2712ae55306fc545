//! The real MNIST, if `GLASSNET_DATA` names a folder that contains it.

use std::io::Write;

use glassnet::data::{self, DatasetName, Origin, Request, Verdict};

/// The request for MNIST in the folder of `GLASSNET_DATA`; prints a prominent line if it is not there.
fn request() -> Option<Request> {
    let environment = data::environment();
    if environment.is_none() {
        // Not `eprintln`, because the test harness hides its output when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: a test on the real MNIST, as GLASSNET_DATA is not set");
    }
    Some(Request {
        name: Some(DatasetName::Mnist),
        preferred: None,
        data_dir: None,
        environment: Some(environment?),
        allow_download: false,
    })
}

#[test]
fn the_real_mnist_is_read_whole() {
    let Some(request) = request() else { return };
    let dataset = data::obtain(&request, &mut |_| ()).unwrap();
    assert!(matches!(dataset.origin, Origin::Files(_)));
    assert_eq!((dataset.train.len(), dataset.test.len()), (60_000, 10_000));
    assert_eq!((dataset.train.shape, dataset.test.shape), ([28, 28, 1], [28, 28, 1]));
    assert_eq!(dataset.train.labels[..5], [5, 0, 4, 1, 9]);
    // The usual mean of the training pixels, by which they are normalised.
    let mean = dataset.train.pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / (60_000.0 * 784.0 * 255.0);
    assert!((mean - 0.1307).abs() < 5e-5, "{mean}");
}

#[test]
fn the_real_mnist_is_verified_and_listed() {
    let Some(request) = request() else { return };
    let listed = data::list(&request).into_iter().find(|listing| listing.name == DatasetName::Mnist).unwrap();
    assert_eq!(listed.files.iter().map(|report| &report.verdict).collect::<Vec<_>>(), [&Verdict::Verified; 4]);
    let folder = listed.folder.unwrap();
    assert_eq!(data::verify(DatasetName::Mnist, &folder).len(), 4);
}

#[test]
fn the_real_mnist_does_not_pass_for_another_set() {
    let Some(request) = request() else { return };
    let mnist = data::obtain(&request, &mut |_| ()).unwrap();
    let Origin::Files(folder) = mnist.origin else { panic!("{:?}", mnist.origin) };
    let request = Request { name: Some(DatasetName::Kmnist), data_dir: Some(folder), ..request };
    let message = data::obtain(&request, &mut |_| ()).unwrap_err().to_string();
    assert!(message.contains("are mnist, not kmnist"), "{message}");
}
