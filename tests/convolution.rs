//! The textbook convolution, computed by hand and exact on every executor: the lecture's worked example, and cases that
//! distinguish cross-correlation with zero padding from similar operations.

mod common;

use common::rig::{Examples, devices, executor, network, reals};
use glassnet::exec::write_reals;
use glassnet::net::Parameters;
use glassnet::program::{Options, Stage};

#[rustfmt::skip]
const IMAGE: [f32; 25] = [
     60.0, 113.0,  56.0, 139.0,  85.0,
     73.0, 121.0,  54.0,  84.0, 128.0,
    131.0,  99.0,  70.0, 129.0, 127.0,
     80.0,  57.0, 115.0,  69.0, 134.0,
    104.0, 126.0, 123.0,  95.0, 130.0,
];

#[rustfmt::skip]
const SHARPEN: [f32; 9] = [
     0.0, -1.0,  0.0,
    -1.0,  5.0, -1.0,
     0.0, -1.0,  0.0,
];

/// Convolves the 5x5 `image` with `kernel`, [K,K], on every executor and checks the output.
fn assert_convolves(image: &[f32; 25], kernel: &[f32], bias: f32, stride: usize, pad: usize, expected: &[f32]) {
    let size = kernel.len().isqrt();
    let network = network(&format!(
        r#"layers = [
            {{ type = "input", height = 5, width = 5, channels = 1 }},
            {{ type = "conv", filters = 1, kernel = {size}, stride = {stride}, pad = {pad} }},
            {{ type = "fc", outputs = 2 }},
            {{ type = "softmax" }},
        ]"#
    ));
    let mut parameters = network.initial_parameters(1);
    parameters[0] =
        Parameters { layer: "conv1".into(), weight: kernel.to_vec(), bias: vec![bias], ..Parameters::default() };
    let examples = Examples::noise([5, 5, 1], 1, 2);
    for device in devices() {
        let options = Options::evaluation(1, examples.source());
        let (lowered, mut executor) = executor(&device, &network, &options, &examples, &parameters);
        let forward = lowered.stage(Stage::Forward);
        write_reals(&mut *executor, lowered.nodes[0].activation.id, image).expect("the image is written");
        executor.run(forward.start..forward.start + 1).expect("the convolution runs");
        // Whole numbers below 2^24: any order of summation is exact.
        assert_eq!(reals(&mut *executor, lowered.nodes[1].activation), expected, "on {}", device.info().executor);
    }
}

#[test]
fn the_lectures_image_sharpened_with_stride_1() {
    #[rustfmt::skip]
    let expected = [
        114.0,  328.0, -26.0,  470.0, 158.0,
         53.0,  266.0, -61.0,  -30.0, 344.0,
        403.0,  116.0, -47.0,  295.0, 244.0,
        108.0, -135.0, 256.0, -128.0, 344.0,
        314.0,  346.0, 279.0,  153.0, 421.0,
    ];
    assert_convolves(&IMAGE, &SHARPEN, 0.0, 1, 1, &expected);
}

#[test]
fn the_lectures_image_sharpened_with_stride_2() {
    #[rustfmt::skip]
    let expected = [
        114.0, -26.0, 158.0,
        403.0, -47.0, 244.0,
        314.0, 279.0, 421.0,
    ];
    assert_convolves(&IMAGE, &SHARPEN, 0.0, 2, 1, &expected);
}

/// A single 1 in the middle.
fn point() -> [f32; 25] {
    std::array::from_fn(|i| if i == 12 { 1.0 } else { 0.0 })
}

#[test]
fn the_kernel_is_not_flipped_so_a_point_shows_it_upside_down() {
    let kernel = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    assert_convolves(&point(), &kernel, 0.0, 1, 0, &[9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
}

#[test]
fn an_even_kernel_starts_in_the_padding_and_ends_in_it() {
    // Padded by 1, the first window ends on the first pixel.
    let image = std::array::from_fn(|i| if i == 0 { 1.0 } else { 0.0 });
    let expected = std::array::from_fn::<f32, 36, _>(|i| match i {
        0 => 4.0,
        1 => 3.0,
        6 => 2.0,
        7 => 1.0,
        _ => 0.0,
    });
    assert_convolves(&image, &[1.0, 2.0, 3.0, 4.0], 0.0, 1, 1, &expected);
}

#[test]
fn a_stride_that_does_not_divide_drops_the_last_columns() {
    let image = std::array::from_fn(|i| i as f32);
    assert_convolves(&image, &[1.0], 0.0, 3, 0, &[0.0, 3.0, 15.0, 18.0]);
}

#[test]
fn an_output_that_sees_only_padding_is_the_bias() {
    let expected = std::array::from_fn::<f32, 81, _>(|i| {
        let inside = (2..7).contains(&(i / 9)) && (2..7).contains(&(i % 9));
        if inside { 7.0 } else { 6.0 }
    });
    assert_convolves(&[1.0; 25], &[1.0], 6.0, 1, 2, &expected);
}
