//! [`WebSocketFilter`]: the server's side, without input or output of its own.

use crate::frames::{CONTROL_MAX, FrameHandler, Frames};
use crate::handshake::{Begun, Origins, begin};
use resp::Output;
use runtime::filter::{Broken, Filter, Inward, PORTION};
use std::sync::Arc;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The peer broke the protocol (RFC 6455 §7.4.1).
const PROTOCOL_ERROR: u16 = 1002;

const BINARY: OpCode = OpCode::Data(Data::Binary);
const CLOSE: OpCode = OpCode::Control(Control::Close);
const PONG: OpCode = OpCode::Control(Control::Pong);

/// One connection's WebSocket.
pub struct WebSocketFilter {
    stage: Stage,
    origins: Arc<Origins>,
}

enum Stage {
    /// The bytes of the HTTP upgrade request received so far.
    Beginning(Vec<u8>),
    Open {
        frames: Frames,
        /// The code with which the peer closed, to be sent back.
        farewell: Vec<u8>,
    },
}

impl WebSocketFilter {
    /// Before the request; pages of these `origins` may come.
    pub fn new(origins: Arc<Origins>) -> Self {
        WebSocketFilter { stage: Stage::Beginning(Vec::new()), origins }
    }

    /// Reads the request; the bytes behind it, once it is granted.
    fn begin(&mut self, bytes: &[u8], wire: &mut Output) -> Result<Option<Vec<u8>>, Broken> {
        let Stage::Beginning(request) = &mut self.stage else { return Ok(Some(bytes.to_vec())) };
        request.extend_from_slice(bytes);
        match begin(request, &self.origins) {
            Begun::Partial => Ok(None),
            Begun::Refused(answer, why) => {
                wire.extend(&answer);
                Err(Broken(why))
            }
            Begun::Granted(len, answer) => {
                wire.extend(&answer);
                let rest = request.split_off(len);
                self.stage = Stage::Open { frames: Frames::default(), farewell: Vec::new() };
                Ok(Some(rest))
            }
        }
    }

    fn frames(
        &mut self,
        bytes: &[u8],
        plain: &mut dyn FnMut(&[u8]),
        wire: &mut Output,
    ) -> Result<Inward, Broken> {
        let Stage::Open { frames, farewell } = &mut self.stage else { return Ok(Inward::Open) };
        let mut handler = ServerSide { plain, wire, farewell };
        if let Err(why) = frames.take(bytes, &mut handler) {
            frame(CLOSE, &PROTOCOL_ERROR.to_be_bytes(), wire);
            return Err(Broken(why.to_owned()));
        }
        Ok(if frames.is_over() { Inward::Ended } else { Inward::Open })
    }
}

impl Filter for WebSocketFilter {
    fn unwrap(
        &mut self,
        bytes: &[u8],
        plain: &mut dyn FnMut(&[u8]),
        wire: &mut Output,
    ) -> Result<Inward, Broken> {
        if self.is_open() {
            return self.frames(bytes, plain, wire);
        }
        match self.begin(bytes, wire)? {
            Some(rest) => self.frames(&rest, plain, wire),
            None => Ok(Inward::Open),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open { .. })
    }

    fn wrap(&mut self, plain: &[u8], wire: &mut Output) {
        frame(BINARY, plain, wire);
    }

    fn close(&mut self, wire: &mut Output) {
        let Stage::Open { farewell, .. } = &self.stage else { return };
        frame(CLOSE, farewell, wire);
    }

    fn held(&self) -> usize {
        match &self.stage {
            Stage::Beginning(request) => request.len(),
            Stage::Open { frames, .. } => frames.held(),
        }
    }
}

/// Handles the peer's frames.
struct ServerSide<'a> {
    plain: &'a mut dyn FnMut(&[u8]),
    wire: &'a mut Output,
    farewell: &'a mut Vec<u8>,
}

impl FrameHandler for ServerSide<'_> {
    fn data(&mut self, bytes: &[u8]) {
        (self.plain)(bytes);
    }

    fn ping(&mut self, bytes: &[u8]) {
        // Who pings without reading must not make the server keep the answers; one for several is
        // allowed (RFC 6455 §5.5.3).
        if self.wire.len() < PORTION {
            frame(PONG, bytes, self.wire);
        }
    }

    fn close(&mut self, bytes: &[u8]) {
        // The code without its reason; a single byte is no code.
        *self.farewell = bytes.get(..2).unwrap_or_default().to_vec();
    }
}

/// Appends a whole frame.
fn frame(opcode: OpCode, payload: &[u8], wire: &mut Output) {
    debug_assert!(matches!(opcode, OpCode::Data(_)) || payload.len() <= CONTROL_MAX);
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    // Memory takes everything.
    let written = header.format(payload.len() as u64, wire.tail());
    debug_assert!(written.is_ok());
    wire.extend(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::testing::filters::FilterPeer;
    use std::io::Cursor;

    const REQUEST: &[u8] =
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    /// A page's side.
    #[derive(Default)]
    struct Page {
        outgoing: Vec<u8>,
        received: Vec<u8>,
        is_granted: bool,
        saw_end: bool,
    }

    impl Page {
        fn frame(&mut self, opcode: OpCode, payload: &[u8]) {
            let mask = [1, 2, 3, 4];
            let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
            header.format(payload.len() as u64, &mut self.outgoing).unwrap();
            let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
            self.outgoing.extend(masked);
        }

        /// Takes the server's next frame, if it is whole.
        fn next(&mut self) -> Option<(OpCode, Vec<u8>)> {
            let mut cursor = Cursor::new(&self.received[..]);
            let (header, len) = FrameHeader::parse(&mut cursor).unwrap()?;
            let begin = cursor.position() as usize;
            let payload = self.received.get(begin..begin + len as usize)?.to_vec();
            self.received.drain(..begin + len as usize);
            Some((header.opcode, payload))
        }
    }

    impl FilterPeer for Page {
        fn send(&mut self, plain: &[u8]) {
            self.frame(BINARY, plain);
        }

        fn finish(&mut self) {
            self.frame(CLOSE, &1000_u16.to_be_bytes());
        }

        fn outgoing(&mut self) -> Vec<u8> {
            std::mem::take(&mut self.outgoing)
        }

        fn receive(&mut self, wire: &[u8]) -> Vec<u8> {
            self.received.extend_from_slice(wire);
            if !self.is_granted {
                let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n")
                else {
                    return Vec::new();
                };
                assert!(self.received.starts_with(b"HTTP/1.1 101 "));
                self.received.drain(..end + 4);
                self.is_granted = true;
            }
            let mut plain = Vec::new();
            while let Some((opcode, payload)) = self.next() {
                assert!(!self.saw_end, "a frame behind the end");
                match opcode {
                    CLOSE => self.saw_end = true,
                    _ => plain.extend(payload),
                }
            }
            plain
        }

        fn saw_end(&self) -> bool {
            self.saw_end
        }
    }

    runtime::filter_suite!(websocket, || {
        let page = Page { outgoing: REQUEST.to_vec(), ..Page::default() };
        (WebSocketFilter::new(Arc::default()), page)
    });

    const PING: &[u8] = &[0x89, 0x82, 0, 0, 0, 0, b'h', b'i'];
    const CLOSE_1001: &[u8] = &[0x88, 0x84, 0, 0, 0, 0, 0x03, 0xE9, b'b', b'y'];

    /// A filter, its output to the peer, and the bytes that it passed on.
    struct Played(WebSocketFilter, Output, Vec<u8>);

    impl Played {
        fn new() -> Played {
            Played(WebSocketFilter::new(Arc::default()), Output::new(), Vec::new())
        }

        fn take(&mut self, bytes: &[u8]) -> Result<Inward, Broken> {
            let Played(filter, wire, plain) = self;
            filter.unwrap(bytes, &mut |piece| plain.extend_from_slice(piece), wire)
        }
    }

    #[test]
    fn what_follows_the_request_at_once_is_heard() {
        let text: &[u8] = &[0x81, 0x84, 0, 0, 0, 0, b'P', b'I', b'N', b'G'];
        let all = [REQUEST, text, CLOSE_1001].concat();
        for step in [1, 7, all.len()] {
            let mut played = Played::new();
            let results: Vec<_> = all.chunks(step).map(|piece| played.take(piece)).collect();
            assert_eq!(results.last(), Some(&Ok(Inward::Ended)));
            assert_eq!(played.2, b"PING");
            let Played(mut filter, mut wire, _) = played;
            filter.wrap(b"+PONG\r\n", &mut wire);
            filter.close(&mut wire);
            let said = wire.to_vec();
            assert!(said.starts_with(b"HTTP/1.1 101 "));
            assert!(said.ends_with(b"\x82\x07+PONG\r\n\x88\x02\x03\xE9"), "{said:?}");
        }
    }

    #[test]
    fn who_pings_and_does_not_read_makes_nothing_grow() {
        let mut played = Played::new();
        played.take(REQUEST).unwrap();
        let begun = played.1.len();
        played.take(PING).unwrap();
        assert_eq!(played.1.len(), begun + 4);
        for _ in 0..PORTION {
            played.take(PING).unwrap();
        }
        assert!(played.1.len() <= PORTION + 4, "{} bytes", played.1.len());
        assert_eq!(played.0.held(), 0);
    }

    #[test]
    fn nonsense_is_answered_and_ends_it() {
        let mut played = Played::new();
        assert!(played.take(b"*1\r\n$4\r\nPING\r\n").is_err());
        assert!(played.1.to_vec().starts_with(b"HTTP/1.1 400 ") && played.2.is_empty());
        let mut played = Played::new();
        played.take(REQUEST).unwrap();
        assert!(played.take(&[0x82, 0x01, b'x']).is_err());
        assert!(played.1.to_vec().ends_with(&[0x88, 0x02, 0x03, 0xEA]) && played.2.is_empty());
    }
}
