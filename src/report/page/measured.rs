//! Pictures of layers at the run's start and end, and the cost of each layer.

use super::{OPEN, updates};
use crate::exec::{Clock, ExecutorKind};
use crate::report::html::{Table, escaped, figure, or_dash};
use crate::report::pictures::address;
use crate::report::{LayerTimes, Picture, Report, SHOWN};

pub(super) fn pictures(report: &Report<'_>) -> String {
    let run = &report.run;
    let names = run.dataset.class_names();
    let label = usize::from(run.dataset.test.labels[SHOWN]);
    let mut text = format!(
        "<p>Test example {SHOWN} (label {}) before the first update and after {}: each layer's activations, the \
         gradients of its loss (without decay), the weights and their gradients. Zero is the middle of a scale, negative \
         values are blue and positive ones orange; values that are not finite are magenta. Activations and weights have \
         one scale for both pictures of a pair, gradients one for each picture.</p>\n",
        escaped(names.get(label).unwrap_or(&label.to_string())),
        updates(run.step)
    );
    let open = if report.pictures.len() <= OPEN { " open" } else { "" };
    for (layer, node) in report.pictures.iter().zip(&run.settings.network.nodes) {
        text += &format!(
            "<details{open}><summary>{} <span>{}, {}</span></summary>\n",
            escaped(&layer.layer),
            node.layer.kind(),
            node.output
        );
        for (start, end) in layer.start.iter().zip(&layer.end) {
            text +=
                &format!("<div class=\"pair\">{}{}</div>\n", shown(start, "at the start"), shown(end, "at the end"));
        }
        text += "</details>\n";
    }
    text
}

fn shown(plate: &Picture, when: &str) -> String {
    let (layer, what) = plate.name.rsplit_once('.').unwrap_or_default();
    let (layer, what) = (escaped(layer), escaped(&what.replace('_', " ")));
    let (caption, scale, [width, height]) = (escaped(&plate.caption), &plate.scale, plate.size);
    let whose = if what.ends_with("gradient") { " of this example" } else { "" };
    format!(
        "<figure><img src=\"{}\" width=\"{width}\" height=\"{height}\" loading=\"lazy\" alt=\"{layer}: {what} {when}, {caption}\">\
         <figcaption>{what}{whose} {when}: {caption}{scale}</figcaption></figure>",
        address(&plate.png)
    )
}

pub(super) fn timing(report: &Report<'_>) -> String {
    let Some(times) = &report.times else {
        return "<p>The device's clock gave nothing usable.</p>\n".into();
    };
    let clock = match times.clock {
        Clock::GpuTimestamps => "the GPU's own timestamps",
        Clock::WallClock => "the host's clock",
    };
    let mut text = format!(
        "<p>Measured at the end of the run on {}, by {clock}: lower quartiles over {} training steps of {} examples. Every operation \
         is timed separately.",
        escaped(&report.device.to_string()),
        times.rounds,
        times.batch
    );
    text += match report.device.executor {
        ExecutorKind::Cpu => {
            " In training, the processor instead runs parts of the batch through chains of operations across layers, so \
             a whole step may take less time than its operations together.</p>\n"
        }
        ExecutorKind::Gpu => {
            " In training, the device does not wait between operations, so a whole step may take less time than its operations \
                  together.</p>\n"
        }
        ExecutorKind::Reference => "</p>\n",
    };
    text += &layers(times).to_string();
    text += &steps(times).to_string();
    text
}

fn micros(nanoseconds: f64) -> String {
    figure(nanoseconds / 1e3)
}

fn nanos(nanoseconds: f64) -> String {
    format!("{nanoseconds:.0}")
}

fn layers(times: &LayerTimes) -> Table {
    let head =
        ["layer", "forward, µs a step", "backward, µs a step", "other, µs a step", "all, ns an example", "share"];
    let mut table = Table::new("Each layer; a dash means that it has no operation of its own", &head);
    let share = |ns: f64| format!("{:.1} %", 100.0 * ns / times.sum.max(f64::MIN_POSITIVE));
    for layer in &times.layers {
        let own = [layer.forward, layer.backward].into_iter().flatten().reduce(|a, b| a + b);
        let by = layer.computed_by.as_ref().map_or(String::new(), |by| format!(" (computed by {by})"));
        table.row([
            format!("{}{by}", layer.layer),
            or_dash(layer.forward, micros),
            or_dash(layer.backward, micros),
            "-".into(),
            or_dash(own, |ns| nanos(ns / times.batch as f64)),
            or_dash(own, share),
        ]);
    }
    let mut further = |name: &str, ns: f64| {
        let per_example = nanos(ns / times.batch as f64);
        table.row([name.to_string(), "-".into(), "-".into(), micros(ns), per_example, share(ns)]);
    };
    if times.others > 0.0 {
        further("operations outside layers", times.others);
    }
    further("update of the weights", times.update);
    table
}

fn steps(times: &LayerTimes) -> Table {
    let mut table = Table::new("The same steps in larger pieces", &["", "µs a step", "ns an example"]);
    let [forward, backward, update] = times.phases;
    for (name, ns) in [
        ("sum of all operations, timed one by one", times.sum),
        ("forward in one piece, with gathering the batch", forward),
        ("backward in one piece", backward),
        ("update in one piece", update),
        ("a whole step in one piece", times.whole),
    ] {
        table.row([name.to_string(), micros(ns), nanos(ns / times.batch as f64)]);
    }
    table
}
