//! Finds the origin of a NaN or an infinity. Training is reproducible, so the steps since the last checkpoint are run
//! again, with statistics on every step that is not known to be clean.

use super::Settings;
use super::course::Course;
use super::session::{Kind, Session, Snapshot};
use crate::error::{Error, Result};
use crate::program::Stage;
use std::ops::Range;

/// The error with step (counted from 1), layer and tensor. `from` is the last checkpoint, `suspects` the steps (from 0)
/// that contain the first bad one.
pub(super) async fn explain(
    session: &mut Session,
    settings: &Settings,
    course: &mut Course,
    from: (u64, Snapshot),
    suspects: Range<u64>,
) -> Result<Error> {
    log::warn!("a non-finite value showed by step {}; looking for its origin", suspects.end);
    session.executor.finish().await?;
    session.executor.captured()?;
    session.restore(&from.1)?;
    let (plan, whole) = (session.step.statistics.clone(), session.step.stages(Stage::Batch, Stage::Update));
    let statistics = session.step.stages(Stage::Unfused, Stage::Statistics);
    for step in from.0..suspects.end {
        let indices = course.sampler.batch_at(step).to_vec();
        session.begin(settings.header_at(&course.moment(step), indices.len()), &indices)?;
        session.executor.run(whole.clone())?;
        if step >= suspects.start {
            session.executor.run(statistics.clone())?;
            session.executor.capture(Kind::Statistics.tag(step), &[plan.counts.id, plan.values.id])?;
            session.executor.finish().await?;
            for capture in session.executor.captured()? {
                let found = plan.decode(&capture.buffers[0], &capture.buffers[1]);
                if let Some((layer, quantity, count)) = found.first_non_finite() {
                    let (layer, tensor) = (layer.to_string(), quantity.name().to_string());
                    return Ok(Error::NonFinite { step: step + 1, layer, tensor, count });
                }
            }
        }
        session.executor.end_step(true).await?;
        if step >= suspects.start {
            // The update comes after the step's statistics.
            let snapshot = session.snapshot().await?;
            if let Some(error) = in_snapshot(session, settings, &snapshot, step + 1) {
                return Ok(error);
            }
        }
    }
    let layer = settings.network.nodes.last().map_or(String::new(), |node| node.name.clone());
    Ok(Error::NonFinite { step: suspects.end, layer, tensor: "loss".into(), count: 1 })
}

/// The error for the first non-finite weight, bias, optimizer state or average after `step` updates.
fn in_snapshot(session: &Session, settings: &Settings, snapshot: &Snapshot, step: u64) -> Option<Error> {
    let odd = |values: &[f32]| values.iter().filter(|v| !v.is_finite()).count() as u64;
    for layer in session.parameters(&settings.network, &snapshot.parameters) {
        let tensors = [
            ("weight", &layer.weight),
            ("bias", &layer.bias),
            ("running mean", &layer.running_mean),
            ("running variance", &layer.running_variance),
        ];
        for (tensor, values) in tensors {
            if odd(values) > 0 {
                let (layer, tensor) = (layer.layer.clone(), tensor.to_string());
                return Some(Error::NonFinite { step, layer, tensor, count: odd(values) });
            }
        }
    }
    // The average is laid out like the parameters, each slot of the state like what is learned of them.
    let (all, learned) = (snapshot.parameters.len(), session.learned_len());
    let states = [("optimizer state", &snapshot.state, learned), ("moving average", &snapshot.average, all)];
    for (tensor, values, len) in states {
        for slot in values.chunks_exact(len) {
            let slot = [slot, &vec![0.0; all - len]].concat();
            for layer in session.parameters(&settings.network, &slot) {
                let values = [&layer.weight, &layer.bias, &layer.running_mean, &layer.running_variance];
                let count = values.map(|values| odd(values)).iter().sum();
                if count > 0 {
                    return Some(Error::NonFinite { step, layer: layer.layer, tensor: tensor.into(), count });
                }
            }
        }
    }
    None
}
