//! A connection as the dispatcher sees it: a stream that keeps a bare refusal back for a moment.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::error::DispatchError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::unreadable::{self, Bare};
use crate::watch::Post;

/// The stream, and what is kept back of it.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    headers: Rc<str>,
    /// Taken from the dispatcher and not sent.
    held: Vec<u8>,
    /// Whether what is held may be exchanged: it was taken in the poll that goes on.
    open: bool,
    /// Nothing was ever sent.
    fresh: bool,
    /// Where it is noted how the client gets on.
    post: Rc<Post>,
}

impl Line {
    pub(crate) fn new(stream: TcpStream, headers: Rc<str>, post: Rc<Post>) -> Self {
        Self { stream, headers, held: Vec::new(), open: false, fresh: true, post }
    }

    /// The dispatcher waits, so what looked like its last word was none (the end of a value may look like anything): it is sent
    /// as it is.
    pub(crate) fn let_go(&mut self, cx: &mut Context<'_>) {
        self.open = false;
        if !self.held.is_empty() {
            // Blocked: the socket wakes the dispatcher's task, and we are here again. Broken: its next write says so.
            let _ = self.poll_send_held(cx);
        }
    }

    /// The dispatcher has ended: the stream, and what is left to send.
    pub(crate) fn end(self, ended: &Result<(), DispatchError>) -> (TcpStream, Vec<u8>) {
        match ended {
            Err(DispatchError::Parse(why)) if self.open && !self.held.is_empty() => {
                (self.stream, unreadable::answer(why, &self.headers))
            }
            _ => (self.stream, self.held),
        }
    }

    /// The client was given up.
    pub(crate) fn give_up(self) {
        if self.post.is_stuck() {
            // What the kernel still holds for it would stay for many minutes. Otherwise the close itself is what there is to say.
            let _ = self.stream.set_zero_linger();
        }
    }

    /// Writes to the socket, and notes what came of it.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match sent {
            Poll::Ready(Ok(1..)) => self.post.wrote(),
            Poll::Ready(Ok(0) | Err(_)) => {}
            Poll::Pending => self.post.blocked(),
        }
        sent
    }

    fn poll_send_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let sent = self.poll_send(cx, &held);
            self.held = held;
            let sent = ready!(sent)?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.held.is_empty() {
            ready!(self.poll_send_held(cx))?;
        }
        let fresh = std::mem::replace(&mut self.fresh, false);
        let Some((at, bare)) = unreadable::bare_at_end(bytes) else {
            return self.poll_send(cx, bytes);
        };
        if at > 0 {
            // What stands before it goes first; we are called again with the rest.
            return self.poll_send(cx, &bytes[..at]);
        }
        // The first bytes of a connection are a head, so nobody's value can look like this one. After it the dispatcher does not
        // end with an error, but shuts down.
        if fresh && bare == Bare::Slow {
            self.held = unreadable::slow(&self.headers);
            ready!(self.poll_send_held(cx))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        self.held.extend_from_slice(bytes);
        self.open = true;
        Poll::Ready(Ok(bytes.len()))
    }
}

/// What the dispatcher holds.
#[derive(Debug)]
pub(crate) struct Handle(Rc<RefCell<Line>>);

impl Handle {
    pub(crate) fn of(line: &Rc<RefCell<Line>>) -> Self {
        Self(Rc::clone(line))
    }
}

impl AsyncRead for Handle {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut line = self.0.borrow_mut();
        let before = into.filled().len();
        let read = Pin::new(&mut line.stream).poll_read(cx, into);
        line.post.read(into.filled().len() - before);
        read
    }
}

impl AsyncWrite for Handle {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, bytes)
    }

    /// What is held is not flushed: the dispatcher flushes before it says how it ended, and [`Line::let_go`] follows.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = self.0.borrow_mut();
        ready!(line.poll_send_held(cx))?;
        Pin::new(&mut line.stream).poll_shutdown(cx)
    }
}
