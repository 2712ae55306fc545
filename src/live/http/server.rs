//! The server: one thread with axum. It sends the newest messages of the board and passes requests to it; slow work is
//! done by the viewer's thread.

use super::assets;
use super::guard::Guard;
use super::listener::{self, HEAD_TIME, SILENCE};
use super::room::{Limits, Seat};
use crate::formats::{FORMATS, Format};
use crate::live::board::{Answer, Board, Job};
use crate::look::MOST_NEWS;
use crate::look::message::{Part, ShownMessage};
use crate::train::{Change, Changeable};
use crate::{Error, Result};
use axum::Router;
use axum::body::{HttpBody, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

/// The most bytes of a request.
const MOST_CONTROL: usize = 1 << 20;
const MOST_PICTURE: usize = 8 << 20;
const MOST_MODEL: usize = 64 << 20;
/// The most uploads at a time.
const UPLOADS: usize = 2;
/// The longest wait for permission to upload.
const UPLOAD_WAIT: Duration = Duration::from_secs(10);
/// The most watchers at a time.
const WATCHERS: usize = 32;
/// The longest time for a request's body to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);
/// The same limit for a model, which may come through a slow tunnel.
const MODEL_TIME: Duration = Duration::from_secs(300);
/// The longest time for a run to make a change; rebuilding a program takes some seconds on some drivers. Shorter than
/// the permitted silence of a connection, so that the answer still arrives.
const CHANGE_TIME: Duration = Duration::from_secs(45);
const _: () = assert!(CHANGE_TIME.as_secs() < SILENCE.as_secs());
/// The time without reading after which a watcher is disconnected. Slow watchers read much at a time, then nothing for
/// a while.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// The shortest time between two batches of messages.
const PACE: Duration = Duration::from_millis(100);

/// The state that every request can access.
#[derive(Clone)]
struct Shared {
    board: Arc<Board>,
    guard: Arc<Guard>,
    uploads: Arc<Semaphore>,
}

/// Serves until the program ends.
pub(in crate::live) fn run(listener: std::net::TcpListener, board: Arc<Board>, guard: Guard) -> Result<()> {
    let failed = |source| Error::Io { action: "serve the live page at", path: "the network".into(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let shared = Shared { board, guard: Arc::new(guard), uploads: Arc::new(Semaphore::new(UPLOADS)) };
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        listener::accept(listener, router(shared), Limits::DEFAULT, HEAD_TIME).await;
        Ok(())
    })
}

fn router(shared: Shared) -> Router {
    let router = FORMATS.into_iter().fold(Router::new(), |router, format| {
        router.route(&format!("/snapshot.{}", format.extension), get(move |shared| snapshot(shared, format)))
    });
    router
        .route("/events", get(events))
        .route("/control", post(control))
        .route("/classify", post(classify))
        .route("/load", post(load))
        .fallback(asset)
        .method_not_allowed_fallback(|| async {
            refused(StatusCode::METHOD_NOT_ALLOWED, "this cannot be asked for in that way; docs/live.md says how")
        })
        .layer(from_fn_with_state(shared.clone(), guarded))
        .with_state(shared)
}

/// Refuses requests that the guard rejects, and adds the headers that every answer has.
async fn guarded(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let checked = shared.guard.check(request.method(), request.uri(), request.headers());
    let given = request.uri().query().is_some_and(|query| query.contains("token="));
    let mut response = match checked {
        Ok(()) => {
            // Without its full body, a request has not arrived yet.
            let whole = request.body().is_end_stream();
            request.extensions().get::<Seat>().into_iter().for_each(|seat| seat.know(whole));
            next.run(request).await
        }
        Err((status, why)) => {
            let mut response = refused(StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN), why);
            // An unauthorised client gets only one request per connection.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, assets::POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let (Ok(()), Some(token), true) = (checked, &shared.guard.token, given) {
        let cookie = format!("{}={token}; Path=/; HttpOnly; SameSite=Strict", shared.guard.cookie_name());
        HeaderValue::from_str(&cookie).into_iter().for_each(|cookie| drop(headers.insert(header::SET_COOKIE, cookie)));
    }
    response
}

fn json(status: StatusCode, document: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

fn refused(status: StatusCode, why: &str) -> Response {
    json(status, &serde_json::json!({ "error": why }))
}

fn done(answer: Answer) -> Response {
    match answer {
        Ok(text) => json(StatusCode::OK, &serde_json::json!({ "done": text })),
        Err(why) => refused(StatusCode::UNPROCESSABLE_ENTITY, &why),
    }
}

async fn asset(request: Request) -> Response {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "this can only be read");
    }
    match assets::find(request.uri().path()) {
        Some((kind, text)) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        None => refused(StatusCode::NOT_FOUND, "there is nothing here; open the address that glassnet printed"),
    }
}

/// The messages as server-sent events. A task sends what is new whenever the connection has room, so a slow watcher
/// gets newer and fewer messages.
async fn events(State(shared): State<Shared>) -> Response {
    let board = shared.board;
    let Some((mut seen, mut news)) = board.watch(WATCHERS) else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; close one of them");
    };
    let (sender, receiver) = mpsc::channel::<Result<Event, Infallible>>(1);
    tokio::spawn(async move {
        let watcher = seen.watcher;
        'connected: loop {
            news.borrow_and_update();
            let messages = board.newer(&mut seen);
            let more = messages.len() >= MOST_NEWS;
            for message in messages {
                let sent = timeout(STALLED_AFTER, sender.send(Ok(Event::default().data(&*message)))).await;
                if !sent.is_ok_and(|sent| sent.is_ok()) {
                    break 'connected;
                }
                board.took(watcher);
            }
            if more {
                continue;
            }
            tokio::time::sleep(PACE).await;
            let gone = timeout(Duration::from_secs(1), news.changed()).await.is_ok_and(|changed| changed.is_err());
            if gone || sender.is_closed() {
                break;
            }
        }
        board.leave(watcher);
    });
    Sse::new(ReceiverStream::new(receiver)).into_response()
}

/// A request's body, or an error answer. The connection keeps its place once the whole body has arrived.
async fn body(request: Request, most: usize, time: Duration) -> Result<Vec<u8>, Response> {
    let seat = request.extensions().get::<Seat>().cloned();
    let too_slow = || refused(StatusCode::REQUEST_TIMEOUT, "the request took too long; send it again");
    match timeout(time, to_bytes(request.into_body(), most)).await {
        Err(_) => Err(too_slow()),
        Ok(Ok(bytes)) => {
            seat.iter().for_each(|seat| seat.know(true));
            Ok(bytes.to_vec())
        }
        Ok(Err(_)) => {
            let why = format!("the file is larger than {} MiB or was cut off; send a smaller file", most >> 20);
            Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &why))
        }
    }
}

/// The commands of `POST control`.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
enum Control {
    Pause,
    Resume,
    Step,
    /// Several changes in order, all or none.
    Set(BTreeMap<Changeable, Option<f64>>),
    Show {
        split: Part,
        index: usize,
    },
    Restart {
        network: String,
    },
}

async fn control(State(shared): State<Shared>, request: Request) -> Response {
    let bytes = match body(request, MOST_CONTROL, BODY_TIME).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    let control: Control = match serde_json::from_slice(&bytes) {
        Ok(control) => control,
        Err(error) => {
            return refused(
                StatusCode::BAD_REQUEST,
                &format!("this cannot be asked for: {}", crate::text::message(error)),
            );
        }
    };
    let board = &shared.board;
    done(match control {
        Control::Pause => board.pause(),
        Control::Resume => board.resume(),
        Control::Step => board.step(),
        Control::Show { split, index } => board.show(ShownMessage { split, index }),
        Control::Set(settings) => {
            set(board, settings.into_iter().filter_map(|(setting, value)| Some(Change::Set(setting, value?))).collect())
                .await
        }
        Control::Restart { network } => match board.restart(&network) {
            Ok(answer) => answered(answer).await,
            Err(why) => Err(why),
        },
    })
}

async fn set(board: &Board, changes: Vec<Change>) -> Answer {
    if changes.is_empty() {
        let names = Changeable::ALL.map(|(_, name)| name).join(", ");
        return Err(format!("the request changes nothing; give one or more of {names}"));
    }
    let names: Vec<&str> = changes.iter().map(Change::what).collect();
    let done = |names: &[&str]| format!("{} changed", names.join(", ").replace('_', " "));
    for (before, answer) in board.change(changes)?.into_iter().enumerate() {
        match answered(answer).await {
            Err(why) if before > 0 => return Err(format!("{why}; {}", done(&names[..before]))),
            answer => answer?,
        };
    }
    Ok(done(&names))
}

/// Waits for the run's answer.
async fn answered(answer: oneshot::Receiver<Answer>) -> Answer {
    match timeout(CHANGE_TIME, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err("the run ended before it could handle the request".into()),
        Err(_) => Err("the run has not handled the request yet; the list of changes will show it".into()),
    }
}

/// Permission to upload a file; others may be uploading theirs slowly.
async fn upload(shared: &Shared) -> Result<OwnedSemaphorePermit, Response> {
    match timeout(UPLOAD_WAIT, shared.uploads.clone().acquire_owned()).await {
        Ok(permit) => permit.map_err(|_| closing()),
        Err(_) => {
            let why = "other files are being sent; try again in a moment";
            Err(refused(StatusCode::SERVICE_UNAVAILABLE, why))
        }
    }
}

async fn classify(State(shared): State<Shared>, request: Request) -> Response {
    let _upload = match upload(&shared).await {
        Ok(permit) => permit,
        Err(response) => return response,
    };
    let file = match body(request, MOST_PICTURE, BODY_TIME).await {
        Ok(file) => file,
        Err(response) => return response,
    };
    let (answer, receiver) = oneshot::channel();
    if let Err(why) = shared.board.ask(Job::Classify(file, answer)) {
        return refused(StatusCode::SERVICE_UNAVAILABLE, &why);
    }
    match receiver.await {
        Ok(Ok(view)) => ([(header::CONTENT_TYPE, "application/json")], view).into_response(),
        Ok(Err(why)) => refused(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Err(_) => closing(),
    }
}

async fn load(
    State(shared): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let _upload = match upload(&shared).await {
        Ok(permit) => permit,
        Err(response) => return response,
    };
    let file = match body(request, MOST_MODEL, MODEL_TIME).await {
        Ok(file) => file,
        Err(response) => return response,
    };
    // Only for messages and rows; no file with this name is ever opened.
    let name = query.get("name").map_or("the file", |name| name);
    let name: String = name.chars().filter(|c| !disturbs(*c)).take(100).collect();
    let (answer, receiver) = oneshot::channel();
    if let Err(why) = shared.board.ask(Job::Load(file, name, answer)) {
        return refused(StatusCode::SERVICE_UNAVAILABLE, &why);
    }
    done(answered(receiver).await)
}

/// Whether displaying a character could affect a terminal or the direction of the surrounding text.
fn disturbs(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

async fn snapshot(State(shared): State<Shared>, format: &'static Format) -> Response {
    let (answer, receiver) = oneshot::channel();
    if let Err(why) = shared.board.ask(Job::Snapshot(format, answer)) {
        return refused(StatusCode::SERVICE_UNAVAILABLE, &why);
    }
    let name = format!("attachment; filename=\"glassnet.{}\"", format.extension);
    let headers = [(header::CONTENT_TYPE, format.media_type.to_string()), (header::CONTENT_DISPOSITION, name)];
    match receiver.await {
        Ok(Ok(bytes)) => (headers, bytes).into_response(),
        Ok(Err(why)) => refused(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Err(_) => closing(),
    }
}

fn closing() -> Response {
    refused(StatusCode::SERVICE_UNAVAILABLE, "the program is ending")
}
