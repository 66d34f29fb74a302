//! Bytes in chunks that stay where they are: growing copies nothing, and what is freed fits what is asked for next.

/// Smallest chunk: an object may have a single row.
const CHUNK_BYTES_MIN: usize = 4 << 10;

/// Largest chunk, but for a row that is larger: an allocator keeps blocks of this size for reuse.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Where bytes lie in an arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    chunk: u32,
    start: u32,
    length: u32,
}

impl Span {
    pub(super) fn bytes(&self) -> usize {
        self.length as usize
    }
}

/// Bytes that are added and never moved.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<u8>>,
    bytes: usize,
    capacity: usize,
}

impl Arena {
    /// Adds what `put` appends: `bytes`, no more and no less.
    pub(super) fn put(&mut self, bytes: usize, put: impl FnOnce(&mut Vec<u8>)) -> (Span, &[u8]) {
        if self.chunks.last().is_none_or(|chunk| chunk.capacity() - chunk.len() < bytes) {
            let chunk = Vec::with_capacity(self.capacity.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX).max(bytes));
            self.capacity += chunk.capacity();
            self.chunks.push(chunk);
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let start = chunk.len();
        put(chunk);
        assert_eq!(chunk.len() - start, bytes, "room was made for another length");
        self.bytes += bytes;
        let length = u32::try_from(bytes).expect("a row is far below 4 GiB");
        (Span { chunk: number as u32, start: start as u32, length }, &chunk[start..])
    }

    pub(super) fn get(&self, span: Span) -> &[u8] {
        &self.chunks[span.chunk as usize][span.start as usize..][..span.length as usize]
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_put_comes_back(lengths in proptest::collection::vec(prop_oneof![0usize..300, 5_000usize..9_000], 1..60)) {
            let mut arena = Arena::default();
            let content = |k: usize| vec![k as u8; lengths[k]];
            let spans: Vec<Span> = (0..lengths.len())
                .map(|k| {
                    let (span, put) = arena.put(lengths[k], |out| out.extend(content(k)));
                    assert_eq!(put, content(k));
                    span
                })
                .collect();
            for (k, span) in spans.into_iter().enumerate() {
                prop_assert_eq!(arena.get(span), content(k));
            }
            prop_assert_eq!(arena.bytes(), lengths.iter().sum::<usize>());
            prop_assert!(arena.capacity() >= arena.bytes());
        }
    }

    #[test]
    fn few_bytes_take_little_memory_and_a_large_piece_is_one() {
        let mut arena = Arena::default();
        arena.put(100, |out| out.extend([1; 100]));
        assert_eq!(arena.capacity(), CHUNK_BYTES_MIN);
        let (span, _) = arena.put(CHUNK_BYTES_MAX * 2, |out| out.resize(out.len() + CHUNK_BYTES_MAX * 2, 7));
        assert!(arena.get(span).iter().all(|&byte| byte == 7));
    }
}
