//! The reply decoder: no panic, and the allocation-free reader agrees about where a reply ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resp::{decode, skip_reply};

fuzz_target!(|data: &[u8]| {
    let skipped = skip_reply(data);
    if let Ok(Some((value, len))) = decode(data) {
        assert_eq!(skipped, Some(len));
        // A reply needs no bytes behind it, and all of its own. (Compared as text: NaN is not NaN.)
        let alone = decode(&data[..len]).ok().flatten().map(|(value, _)| format!("{value:?}"));
        assert_eq!(alone, Some(format!("{value:?}")));
        assert_eq!(decode(&data[..len - 1]), Ok(None));
    }
});
