//! [`Notice`]: a message to a client about its cache.

use bytes::Bytes;
use resp::Reply;

/// The channel of invalidation messages for clients without pushes.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// A message about a cache.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Keys that have changed, as an array in the protocol (its form is the same in RESP2 and
    /// RESP3); `None` when everything has.
    Stale(Option<Bytes>),
    /// The client to which the messages are redirected, by number, is gone.
    Unreachable(u64),
}

impl Notice {
    /// Writes the notice. A RESP2 client can receive one only while it is `subscribed`, as a
    /// message; other kinds of notice are left out then.
    pub fn write(&self, reply: &mut Reply<'_>, subscribed: bool) {
        match self {
            Notice::Unreachable(_) if !reply.is_resp3() => return,
            Notice::Unreachable(client) => {
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                return reply.integer(*client as i64);
            }
            Notice::Stale(_) if reply.is_resp3() => {
                reply.push(2);
                reply.bulk(b"invalidate");
            }
            Notice::Stale(_) if subscribed => {
                reply.array(3);
                reply.bulk(b"message");
                reply.bulk(CHANNEL);
            }
            Notice::Stale(_) => return,
        }
        match self {
            Notice::Stale(Some(keys)) => reply.output().share(keys.clone()),
            _ => reply.null(),
        }
    }

    /// Bytes it keeps alive, roughly.
    pub fn size(&self) -> usize {
        match self {
            Notice::Stale(Some(keys)) => 64 + keys.len(),
            _ => 64,
        }
    }
}

/// Keys as [`Notice::Stale`] holds them.
pub(super) fn array<'k>(keys: impl ExactSizeIterator<Item = &'k [u8]>) -> Bytes {
    let mut out = resp::Output::new();
    let mut reply = Reply::new(&mut out, resp::Proto::Resp3);
    reply.array(keys.len());
    keys.for_each(|key| reply.bulk(key));
    out.to_vec().into()
}
