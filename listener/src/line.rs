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
}

impl Line {
    pub(crate) fn new(stream: TcpStream, headers: Rc<str>) -> Self {
        Self { stream, headers, held: Vec::new(), open: false, fresh: true }
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

    fn poll_send_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))?;
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
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        };
        if at > 0 {
            // What stands before it goes first; we are called again with the rest.
            return Pin::new(&mut self.stream).poll_write(cx, &bytes[..at]);
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
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, into)
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
