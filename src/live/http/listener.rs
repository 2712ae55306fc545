//! Connections: limited in number, closed when silent, and with room for every client that knows the token.
//!
//! A run needs files of its own, and the system limits their number per process. When there is no room, the oldest
//! connection on which no request has been answered is closed instead of refusing a new one.

use super::room::{Limits, Room, Seat};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};
use tower::ServiceExt;

/// The silence after which a connection is closed. Watchers receive a status every second.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// The longest time for the whole head of a request, and for a connection's wait for its next request.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);
/// The most bytes of a request's head, and of read-ahead, per connection.
const MOST_HEAD: usize = 64 << 10;

/// Takes connections until the program ends; a request finds the [`Seat`] of its connection among its extensions.
pub(super) async fn accept(listener: TcpListener, router: Router, limits: Limits, head_time: Duration) {
    let room = Arc::new(Room::new(limits));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without room the stream is dropped, which closes it.
                let Some(seat) = Room::take(&room, peer.ip()) else { continue };
                let task = tokio::spawn(connection(stream, seat.clone(), router.clone(), head_time));
                seat.held_by(task.abort_handle());
            }
            // For example if the process has no file left; others may close theirs.
            Err(error) => {
                log::debug!("a connection to the live page was not taken: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers the requests of one connection.
async fn connection(stream: TcpStream, seat: Seat, router: Router, head_time: Duration) {
    let own = seat.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(own.clone());
        router.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_time).max_buf_size(MOST_HEAD);
    let stream = Connection { stream, silence: Box::pin(sleep(SILENCE)) };
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        log::debug!("a connection to the live page ended: {error}");
    }
    seat.leave();
}

/// A connection that ends by itself when it is silent.
struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
}

impl Connection {
    /// Passes on the stream's result, or an error if it has been silent for too long.
    fn heard<T>(&mut self, context: &mut Context<'_>, said: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match said {
            Poll::Ready(said) => {
                self.silence.as_mut().reset(Instant::now() + SILENCE);
                Poll::Ready(said)
            }
            Poll::Pending if self.silence.as_mut().poll(context).is_ready() => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_read(context, into);
        self.heard(context, said)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.heard(context, said)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::post;
    use std::net::{Ipv4Addr, SocketAddr};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio::time::timeout;

    /// A server that treats every request for `/known` as one of a known client.
    async fn server(limits: Limits, head_time: Duration) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let known = |request: Request| async move {
            request.extensions().get::<Seat>().expect("a seat").know(true);
            "known"
        };
        let router = Router::new().route("/known", post(known).get(known));
        tokio::spawn(accept(listener, router, limits, head_time));
        address
    }

    async fn connect(from: u8, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::new(127, 0, 0, from), 0).into()).expect("all of 127.0.0.0/8 is this machine");
        socket.connect(to).await.expect("the server listens")
    }

    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it takes requests");
        let mut answer = vec![0; 4096];
        let len = stream.read(&mut answer).await.expect("it answers");
        String::from_utf8_lossy(&answer[..len]).into_owned()
    }

    fn block_on(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
    }

    const MANY: Limits = Limits { peer: 8, here: 12, elsewhere: 12 };

    #[test]
    fn half_sent_requests_lock_nobody_out() {
        block_on(async {
            // Longer than the test, so that time alone cannot make it pass.
            let address = server(MANY, Duration::from_secs(3600)).await;
            let mut held = Vec::new();
            for from in [1, 1, 1, 2, 3] {
                for _ in 0..10 {
                    let mut stream = connect(from, address).await;
                    stream.write_all(b"GET /known HTTP/1.1\r\nhost").await.expect("a beginning");
                    held.push(stream);
                }
                let mut stream = connect(1, address).await;
                assert!(ask(&mut stream, "/known").await.ends_with("known"), "beside {} others", held.len());
            }
        });
    }

    #[test]
    fn a_head_that_drips_ends_at_its_deadline_and_so_does_a_connection_that_asks_nothing_more() {
        block_on(async {
            let address = server(MANY, Duration::from_millis(200)).await;
            // Far beyond the deadline, even on a busy machine.
            let patience = Duration::from_secs(30);
            let mut dripping = connect(1, address).await;
            let (mut read, mut write) = dripping.split();
            let drip = async {
                // A closed connection shows at the latest when something more is sent.
                let mut sent = 0;
                while write.write_all(b"x").await.is_ok() {
                    sent += 1;
                    sleep(Duration::from_millis(20)).await;
                }
                sent
            };
            let mut answer = Vec::new();
            let closed = timeout(patience, async {
                tokio::select! {
                    sent = drip => assert!(sent > 0, "it was closed before anything came"),
                    _ = read.read_to_end(&mut answer) => {}
                }
            });
            closed.await.expect("a head that drips is given up");
            let answer = String::from_utf8_lossy(&answer);
            assert!(!answer.contains("200 OK") && !answer.contains("known"), "{answer}");
            let mut idle = connect(1, address).await;
            assert!(ask(&mut idle, "/known").await.ends_with("known"));
            let mut rest = Vec::new();
            let _ = timeout(patience, idle.read_to_end(&mut rest)).await.expect("an idle connection is closed");
            assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
        });
    }

    #[test]
    fn whoever_is_known_keeps_the_connection() {
        block_on(async {
            let address = server(MANY, Duration::from_secs(3600)).await;
            let mut known = connect(1, address).await;
            assert!(ask(&mut known, "/known").await.ends_with("known"));
            let mut held = Vec::new();
            for _ in 0..30 {
                let mut stream = connect(1, address).await;
                stream.write_all(b"GET").await.expect("a beginning");
                held.push(stream);
            }
            assert!(ask(&mut known, "/known").await.ends_with("known"), "none of the others takes its place");
        });
    }
}
