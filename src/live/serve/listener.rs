//! Connections, few and never silent for long: a run that is watched needs its own files, and the system gives a process
//! only so many of both.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at a time; who comes later waits for one to end.
const MOST: usize = 128;
/// A connection on which nothing has come or gone for so long is closed. Watchers get a status each second.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// Takes connections as long as there is room.
pub(super) struct Listener {
    inner: TcpListener,
    room: Arc<Semaphore>,
}

impl Listener {
    pub fn new(inner: TcpListener) -> Listener {
        Listener { inner, room: Arc::new(Semaphore::new(MOST)) }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = self.room.clone().acquire_owned().await else { continue };
            match self.inner.accept().await {
                Ok((stream, address)) => {
                    return (Connection { stream, silence: Box::pin(sleep(SILENCE)), _permit: permit }, address);
                }
                // As where the process has no file left: others may close theirs.
                Err(error) => {
                    log::debug!("a connection to the live page was not taken: {error}");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection that ends by itself when it is silent.
pub(super) struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Passes on what the stream says, or that it has been silent for too long.
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
