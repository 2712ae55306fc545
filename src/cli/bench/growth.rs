//! The growth curves as tables: the numbers behind the picture.

use crate::cli::output::{Table, figure};
use glassnet::bench::{Growth, GrowthPoint, GrowthResult};
use glassnet::machine::mib;

/// Both curves, and the sizes that are missing from them.
pub fn tables(growth: &Growth) -> String {
    let by_width = format!("width, at batch size {}", growth.width_batch_size);
    let curves = [("batch size", "", &growth.by_batch_size), (by_width.as_str(), "x", &growth.by_width)];
    let mut text: Vec<String> = curves.iter().map(|(what, prefix, points)| table(what, prefix, points)).collect();
    text.extend(left_out(growth).map(|(place, why)| format!("left out: {place}: {why}")));
    text.join("\n\n")
}

fn table(what: &str, prefix: &str, points: &[GrowthPoint]) -> String {
    let devices = points.first().map_or(&[][..], |point| &point.results);
    let mut header = vec![what.to_string(), "parameters".into()];
    for GrowthResult { device, .. } in devices {
        header.extend([format!("{device}: images/s"), "±%".into(), "memory".into()]);
    }
    let mut table = Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for point in points {
        let parameters = point.parameters.map_or("-".into(), |count| count.to_string());
        let mut cells = vec![format!("{prefix}{}", point.size), parameters];
        for result in &point.results {
            let speed = result.images_per_second;
            cells.push(speed.map_or("-".into(), |speed| figure(speed.median)));
            cells.push(speed.map_or("-".into(), |speed| format!("{:.0}", 100.0 * speed.deviation())));
            cells.push(result.memory_bytes.map_or("-".into(), mib));
        }
        table.row(cells);
    }
    table.to_string()
}

/// The sizes that were left out, such as `gpu at width x8`, with the reason.
pub fn left_out(growth: &Growth) -> impl Iterator<Item = (String, &str)> {
    let curves = [("batch size ", &growth.by_batch_size), ("width x", &growth.by_width)];
    curves.into_iter().flat_map(|(what, points)| {
        points.iter().flat_map(move |point| {
            let named = move |result: &GrowthResult| format!("{} at {what}{}", result.device, point.size);
            point.results.iter().filter_map(move |result| Some((named(result), result.left_out.as_deref()?)))
        })
    })
}
