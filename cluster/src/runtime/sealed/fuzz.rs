//! What the fuzzers hold sealed streams to.

use std::{sync::LazyLock, task::Waker};

use snow::StatelessTransportState;

use super::*;

const CLUSTER: ClusterHash = ClusterHash::from_bits(7);

static KEY: LazyLock<Key> = LazyLock::new(|| Key::new([7; crate::keyring::KEY_LEN]));

/// The two ends of one handshake; it is made once, since it costs a hundred times what a record does.
static ENDS: LazyLock<[Arc<StatelessTransportState>; 2]> = LazyLock::new(|| {
    let agree = || -> Result<_, HandshakeError> {
        let mut dialler = builder(&KEY, &[])?.build_initiator().map_err(bad_seal)?;
        let mut acceptor = builder(&KEY, &[])?.build_responder().map_err(bad_seal)?;
        let (mut message, mut payload) = ([0; 128], [0; 128]);
        let n = dialler.write_message(&[], &mut message).map_err(bad_seal)?;
        acceptor.read_message(&message[..n], &mut payload).map_err(bad_seal)?;
        let n = acceptor.write_message(&[], &mut message).map_err(bad_seal)?;
        dialler.read_message(&message[..n], &mut payload).map_err(bad_seal)?;
        let end = |noise: HandshakeState| noise.into_stateless_transport_mode().map(Arc::new).map_err(bad_seal);
        Ok([end(dialler)?, end(acceptor)?])
    };
    agree().unwrap_or_else(|error| panic!("two ends with one key: {error}"))
});

/// The head of a stream from a stranger: no panic; only what was sealed with the key opens.
pub(crate) fn head(data: &[u8]) {
    let mut first = [0; FIRST];
    let len = data.len().min(FIRST);
    first[..len].copy_from_slice(&data[..len]);
    let Ok(name) = Heard::key_name(&first, CLUSTER) else { return };
    // Whoever listened knows the name of the key and the hash of the cluster, so those are no hurdle.
    let opened = Heard::open(&first, &KEY);
    if name != KEY.name() {
        assert!(opened.is_err(), "sealed with another key, and opened");
    }
    if let Ok((_, preface)) = opened {
        let _ = Preface::decode(&preface);
    }
}

/// Bytes that arrive some at a time.
struct Pieces<'a> {
    left: &'a [u8],
    piece: usize,
    gives: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.gives = !self.gives;
        if !self.gives && !self.left.is_empty() {
            return Poll::Pending;
        }
        let (next, left) = self.left.split_at(self.piece.min(self.left.len()).min(out.remaining()));
        out.put_slice(next);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

/// Reads to the end, or until something does not open: what came out, and how it ended.
fn read(opener: &mut Opener, left: &[u8], piece: usize) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Pieces { left, piece, gives: false };
    let (mut context, mut out, mut room) = (Context::from_waker(Waker::noop()), Vec::new(), vec![0; piece]);
    loop {
        let mut buffer = ReadBuf::new(&mut room);
        match opener.poll_read(&mut bytes, &mut context, &mut buffer) {
            Poll::Pending => {}
            Poll::Ready(Err(error)) => return (out, Err(error)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return (out, Ok(())),
            Poll::Ready(Ok(())) => out.extend_from_slice(buffer.filled()),
        }
    }
}

/// Records: what was sealed comes out however it is cut into pieces; with anything changed, only what was before that does; and nothing
/// comes out of what nobody sealed.
pub(crate) fn records(data: &[u8]) {
    let [size, piece, at_low, at_high, change, body @ ..] = data else { return };
    let [dialler, acceptor] = &*ENDS;
    let piece = usize::from(*piece) * 5 + 1;
    let opener = || Channel::with(Guard::Seal(Arc::clone(acceptor))).opener;
    let (made_up, end) = read(&mut opener(), body, piece);
    assert!(made_up.is_empty() && end.is_err(), "nobody sealed this");

    let mut sealer = Channel::with(Guard::Seal(Arc::clone(dialler))).sealer;
    for record in body.chunks(usize::from(*size) + 1) {
        sealer.seal(record).unwrap_or_else(|error| panic!("{error}"));
    }
    sealer.end().unwrap_or_else(|error| panic!("{error}"));
    let mut sealed = std::mem::take(&mut sealer.out);
    let (out, end) = read(&mut opener(), &sealed, piece);
    assert!(out == body && end.is_ok(), "{end:?}");

    let at = usize::from(u16::from_le_bytes([*at_low, *at_high])) % sealed.len();
    if *change == 0 {
        sealed.truncate(at);
    } else {
        sealed[at] ^= change;
    }
    let (out, end) = read(&mut opener(), &sealed, piece);
    assert!(body.starts_with(&out) && end.is_err(), "byte {at} was changed ({change}), and it went well");
}
