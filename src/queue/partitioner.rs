//! Which partition a key belongs to: the same choice as Kafka's default partitioner makes (murmur2), so
//! that an account keeps its place when a feed moves to Kafka, and other producers choose the same.

use crate::account::Partition;

/// The partition of `key` among `partitions`.
pub fn partition_of(key: &[u8], partitions: u32) -> Partition {
    Partition((murmur2(key) & 0x7fff_ffff) % partitions)
}

/// 32-bit `MurmurHash2` with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    // Kafka hashes in 32 bits; a key is far shorter than 4 GiB.
    #[allow(clippy::cast_possible_truncation, reason = "as the algorithm has it")]
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0, |k: u32, byte| k << 8 | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |k: u32, byte| k << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn hashes_as_kafka_does() {
        for (key, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), expected.cast_unsigned(), "{key}");
        }
    }

    /// Kafka takes the sign off the hash before it divides: `Utils.toPositive(murmur2(key)) % numPartitions`.
    #[test]
    fn a_key_has_the_partition_that_kafka_gives_it() {
        for (key, of_12, of_7) in [
            ("21", 0, 3),
            ("foobar", 6, 0),
            ("a-little-bit-long-string", 8, 1),
            ("a-little-bit-longer-string", 11, 0),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 5, 3),
            ("abc", 3, 4),
        ] {
            let partitions = [12, 7].map(|count| partition_of(key.as_bytes(), count));
            assert_eq!(partitions, [Partition(of_12), Partition(of_7)], "{key}");
        }
    }

    #[test]
    fn every_partition_is_used() {
        let mut used = [false; 12];
        for n in 0..1_000 {
            used[partition_of(format!("key-{n}").as_bytes(), 12).0 as usize] = true;
        }
        assert_eq!(used, [true; 12]);
    }
}
