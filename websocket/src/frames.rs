//! The frames of a peer: their payload is handed on as it comes, however long they are.

use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The most bytes that a frame's header has (RFC 6455 §5.2).
const HEADER_MAX: usize = 14;

/// The most bytes that a control frame carries (RFC 6455 §5.5).
pub const CONTROL_MAX: usize = 125;

/// Payload is unmasked in pieces of this many bytes.
const PIECE: usize = 8 * 1024;

/// Receives the contents of a peer's frames as they are decoded.
pub trait FrameHandler {
    /// The next bytes of its stream.
    fn data(&mut self, bytes: &[u8]);
    /// A ping with these bytes, which are to be sent back.
    fn ping(&mut self, bytes: &[u8]);
    /// The peer sends no more. The payload is two bytes of code and a reason, or empty.
    fn close(&mut self, bytes: &[u8]);
}

/// A frame whose payload has not all come.
struct Open {
    header: FrameHeader,
    mask: [u8; 4],
    /// Bytes that are to come.
    left: u64,
    /// The index in the mask for the next byte.
    turn: usize,
}

/// Takes a peer's bytes apart.
#[derive(Default)]
pub struct Frames {
    /// The bytes of an incomplete frame header received so far.
    header: Vec<u8>,
    open: Option<Open>,
    /// The payload bytes of an incomplete control frame received so far.
    control: Vec<u8>,
    /// A message's last frame has not come.
    within: bool,
    /// Whether the peer has sent a close frame.
    over: bool,
}

impl Frames {
    /// Takes all of `bytes`. Bytes behind a close frame are ignored.
    ///
    /// # Errors
    /// A description of the protocol violation, if the bytes contain one.
    pub fn take(
        &mut self,
        mut bytes: &[u8],
        handler: &mut impl FrameHandler,
    ) -> Result<(), &'static str> {
        while !bytes.is_empty() && !self.over {
            bytes = match self.open {
                None => self.take_header(bytes)?,
                Some(_) => self.take_payload(bytes, handler),
            };
            if self.open.as_ref().is_some_and(|open| open.left == 0) {
                self.end_frame(handler);
            }
        }
        Ok(())
    }

    /// Bytes that are kept.
    pub fn held(&self) -> usize {
        self.header.len() + self.control.len()
    }

    /// Whether the peer has sent a close frame.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Byte by byte, for the header says how long it is.
    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        for (index, byte) in bytes.iter().enumerate() {
            self.header.push(*byte);
            let parsed = FrameHeader::parse(&mut Cursor::new(&self.header));
            if let Some((header, len)) = parsed.map_err(|_| "an unknown kind of frame")? {
                self.header.clear();
                self.begin_frame(header, len)?;
                return Ok(&bytes[index + 1..]);
            }
            debug_assert!(self.header.len() < HEADER_MAX);
        }
        Ok(&[])
    }

    fn begin_frame(&mut self, header: FrameHeader, len: u64) -> Result<(), &'static str> {
        let mask = header.mask.ok_or("a frame without a mask")?;
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err("an extension that was not agreed on");
        }
        if len > i64::MAX as u64 {
            return Err("a frame of an impossible length");
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final || len > CONTROL_MAX as u64 => {
                return Err("a control frame that is too long or in parts");
            }
            OpCode::Control(_) => {}
            OpCode::Data(kind) if (kind == Data::Continue) != self.within => {
                return Err("a part of another message than the one begun");
            }
            OpCode::Data(_) => self.within = !header.is_final,
        }
        self.open = Some(Open { header, mask, left: len, turn: 0 });
        Ok(())
    }

    /// Takes the bytes of the open frame. Returns the rest.
    fn take_payload<'a>(&mut self, bytes: &'a [u8], handler: &mut impl FrameHandler) -> &'a [u8] {
        let Some(open) = &mut self.open else { return bytes };
        let len = bytes.len().min(usize::try_from(open.left).unwrap_or(usize::MAX));
        let (payload, rest) = bytes.split_at(len);
        let mut plain = [0; PIECE];
        for piece in payload.chunks(PIECE) {
            let plain = &mut plain[..piece.len()];
            for (index, (to, from)) in plain.iter_mut().zip(piece).enumerate() {
                *to = from ^ open.mask[(open.turn + index) % 4];
            }
            open.turn = (open.turn + piece.len()) % 4;
            match open.header.opcode {
                OpCode::Data(_) => handler.data(plain),
                OpCode::Control(_) => self.control.extend_from_slice(plain),
            }
        }
        open.left -= len as u64;
        rest
    }

    fn end_frame(&mut self, handler: &mut impl FrameHandler) {
        let Some(open) = self.open.take() else { return };
        match open.header.opcode {
            OpCode::Control(Control::Ping) => handler.ping(&self.control),
            OpCode::Control(Control::Close) => {
                self.over = true;
                handler.close(&self.control);
            }
            _ => {}
        }
        // Not `clear`, because an idle connection should hold no memory.
        self.control = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct All {
        data: Vec<u8>,
        pings: Vec<Vec<u8>>,
        closed: Option<Vec<u8>>,
    }

    impl FrameHandler for All {
        fn data(&mut self, bytes: &[u8]) {
            self.data.extend_from_slice(bytes);
        }
        fn ping(&mut self, bytes: &[u8]) {
            self.pings.push(bytes.to_vec());
        }
        fn close(&mut self, bytes: &[u8]) {
            assert_eq!(self.closed.replace(bytes.to_vec()), None);
        }
    }

    /// A frame as a client sends it, masked.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut wire = vec![first];
        match payload.len() {
            len @ 0..126 => wire.push(0x80 | len as u8),
            len @ 126..65_536 => {
                wire.push(0x80 | 126);
                wire.extend((len as u16).to_be_bytes());
            }
            len => {
                wire.push(0x80 | 127);
                wire.extend((len as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        wire.extend(mask);
        wire.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        wire
    }

    #[test]
    fn what_is_carried_does_not_depend_on_how_it_arrives() {
        let long: Vec<u8> = (0..70_000u32).map(|n| n as u8).collect();
        let wire = [
            frame(0x82, b"whole"),
            frame(0x02, b" begun,"),
            frame(0x89, b"there?"), // a ping may come between the parts
            frame(0x80, &long[..300]),
            frame(0x81, &long),
            frame(0x8A, b"an answer to nothing"),
            frame(0x88, &[0x03, 0xE8]),
            b"what follows is not looked at".to_vec(),
        ]
        .concat();
        let data = [&b"whole begun,"[..], &long[..300], &long].concat();
        let expected =
            All { data, pings: vec![b"there?".to_vec()], closed: Some(vec![0x03, 0xE8]) };
        for step in [1, 2, 3, 13, 1000, wire.len()] {
            let (mut frames, mut all) = (Frames::default(), All::default());
            for piece in wire.chunks(step) {
                frames.take(piece, &mut all).unwrap();
                assert!(frames.held() <= CONTROL_MAX, "{} bytes held", frames.held());
            }
            assert_eq!(all, expected, "in pieces of {step}");
            assert!(frames.is_over() && frames.held() == 0);
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        let mut unmasked = frame(0x82, b"x");
        unmasked[1] &= 0x7F;
        let mut endless = frame(0x82, &[7; 70_000]);
        endless[2] = 0x80;
        for (wire, why) in [
            (unmasked, "without a mask"),
            (endless, "an impossible length"),
            (frame(0xC2, b"x"), "an extension"),
            (frame(0x83, b"x"), "unknown kind"),
            (frame(0x80, b"x"), "another message"),
            ([frame(0x02, b"x"), frame(0x82, b"x")].concat(), "another message"),
            (frame(0x09, b"x"), "control frame"),
            (frame(0x89, &[0; CONTROL_MAX + 1]), "control frame"),
        ] {
            let error = Frames::default().take(&wire, &mut All::default()).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
