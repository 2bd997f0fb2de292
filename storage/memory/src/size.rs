//! The allocator's size classes: how much an allocation really takes.

/// The size class of jemalloc (and a fair guess for others) that `size` falls into.
#[inline]
pub fn size_class(size: usize) -> usize {
    if size <= 128 {
        return (size + 15) & !15;
    }
    let step = 1usize << (usize::BITS - (size - 1).leading_zeros() - 3);
    (size + step - 1) & !(step - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_are_jemallocs() {
        for (size, class) in [
            (8, 16),
            (16, 16),
            (88, 96),
            (96, 96),
            (97, 112),
            (128, 128),
            (129, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (4097, 5120),
        ] {
            assert_eq!(size_class(size), class, "of {size}");
        }
    }
}
