//! [`reading`]: the frame of commands that read one collection.

/// Defines `reading` for one type of collection: `reading!(hash, dyn Hash)`, with the method of the
/// transaction that opens a value of the type.
macro_rules! reading {
    ($open:ident, $value:ty) => {
        /// Runs `present` on the collection at the first key, or `absent` if there is none. Reports
        /// the lookup.
        #[inline]
        fn reading(
            cx: &mut engine::cx::Cx<'_>,
            absent: impl FnOnce(&mut resp::Reply<'_>),
            present: impl FnOnce(&mut $value, &mut resp::Reply<'_>) -> engine::failure::Outcome,
        ) -> engine::failure::Outcome {
            let key = cx.key(1);
            let found = match cx.tx.$open(&key, storage::Open::Existing)? {
                Some(mut value) => {
                    present(&mut *value, &mut cx.reply)?;
                    true
                }
                None => {
                    absent(&mut cx.reply);
                    false
                }
            };
            cx.looked_up(&key, found);
            Ok(())
        }
    };
}

pub(crate) use reading;
