//! Parsed requests: the position of each argument in the buffer. The memory is reused from batch to
//! batch.

/// The position of one argument in the bytes from which its request was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Offset of its first byte.
    pub start: u32,
    /// Its length in bytes.
    pub len: u32,
}

/// One parsed request of a [`Batch`]: it says which of the batch's ranges are its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub(crate) first: u32,
    pub(crate) argc: u32,
    pub(crate) end: u32,
    pub(crate) inline: bool,
}

impl Span {
    /// Number of arguments, the command's name included; at least one.
    pub fn argc(self) -> usize {
        self.argc as usize
    }

    /// The end of the request in the buffer it was parsed from: the offset of the first byte behind
    /// it.
    pub fn end(self) -> usize {
        self.end as usize
    }

    /// Whether the request is an inline line rather than an array of bulk strings.
    pub fn is_inline(self) -> bool {
        self.inline
    }
}

/// The complete requests found in one buffer.
///
/// Holds offsets, not bytes: [`Batch::view`] takes the buffer again. Keep one batch per thread and
/// [`clear`](Batch::clear) it: once warm it allocates nothing.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) ranges: Vec<Range>,
    pub(crate) requests: Vec<Span>,
    /// Unquoted bytes of inline requests; their ranges point in here.
    pub(crate) arena: Vec<u8>,
}

/// [`Batch::clear`] frees memory beyond this many ranges (or arena bytes), so that one huge request
/// does not occupy memory for ever.
const KEPT_MAX: usize = 64 * 1024;

impl Batch {
    /// An empty batch owning no memory.
    pub const fn new() -> Self {
        Batch { ranges: Vec::new(), requests: Vec::new(), arena: Vec::new() }
    }

    /// Removes all requests and keeps a reasonable amount of memory for the next ones.
    pub fn clear(&mut self) {
        clear(&mut self.ranges);
        clear(&mut self.requests);
        clear(&mut self.arena);
    }

    /// Number of requests.
    #[inline]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there are no requests.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The `i`-th request.
    ///
    /// # Panics
    /// If `i` is not below [`Batch::len`].
    #[inline]
    pub fn request(&self, i: usize) -> Span {
        self.requests[i]
    }

    /// The requests in order; see [`Batch::view`].
    #[inline]
    pub fn spans(&self) -> impl ExactSizeIterator<Item = Span> + '_ {
        self.requests.iter().copied()
    }

    /// The arguments of `span`, a request of this batch, in the `buffer` it was parsed from.
    ///
    /// # Panics
    /// If `span` is of another batch, with more requests or arguments than this one has.
    #[inline]
    pub fn view<'a>(&'a self, span: Span, buffer: &'a [u8]) -> Request<'a> {
        let first = span.first as usize;
        Request {
            ranges: &self.ranges[first..first + span.argc as usize],
            bytes: if span.inline { &self.arena } else { buffer },
        }
    }

    /// All requests in order, in the `buffer` they were parsed from.
    pub fn iter<'a>(
        &'a self,
        buffer: &'a [u8],
    ) -> impl ExactSizeIterator<Item = Request<'a>> + Clone {
        self.requests.iter().map(move |&span| self.view(span, buffer))
    }
}

fn clear<T>(items: &mut Vec<T>) {
    items.clear();
    if items.capacity() > KEPT_MAX {
        *items = Vec::new();
    }
}

/// One request: a list of byte strings, the first being the command's name.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    ranges: &'a [Range],
    bytes: &'a [u8],
}

impl<'a> Request<'a> {
    /// A request over arguments laid out by the caller, for commands that do not come from a
    /// parser (queued by MULTI, called by a script, replayed from a log).
    pub fn new(ranges: &'a [Range], bytes: &'a [u8]) -> Self {
        Request { ranges, bytes }
    }

    /// Number of arguments, the command's name included.
    #[inline]
    pub fn len(self) -> usize {
        self.ranges.len()
    }

    /// Whether there is not even a name; the parser never yields such a request.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.ranges.is_empty()
    }

    /// The `i`-th argument; the name is argument 0.
    ///
    /// # Panics
    /// If `i` is not below [`Request::len`].
    #[inline]
    pub fn arg(self, i: usize) -> &'a [u8] {
        slice(self.bytes, self.ranges[i])
    }

    /// The `i`-th argument, if there is one.
    #[inline]
    pub fn get(self, i: usize) -> Option<&'a [u8]> {
        self.ranges.get(i).map(|&range| slice(self.bytes, range))
    }

    /// All arguments in order, the name first.
    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone {
        let bytes = self.bytes;
        self.ranges.iter().map(move |&range| slice(bytes, range))
    }

    /// The arguments from the `start`-th on; empty when there are fewer.
    #[inline]
    pub fn tail(self, start: usize) -> Request<'a> {
        Request { ranges: self.ranges.get(start..).unwrap_or_default(), bytes: self.bytes }
    }
}

#[inline]
fn slice(bytes: &[u8], range: Range) -> &[u8] {
    let start = range.start as usize;
    &bytes[start..start + range.len as usize]
}
