use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// Chance, from a seed. Good enough for jitter and keys, not for secrets.
///
/// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    #[cfg(any(test, feature = "fake"))]
    pub fn from_seed(seed: u64) -> Rng {
        Rng(seed)
    }

    /// Seeded by the operating system, through the standard library's hash keys.
    pub fn from_entropy() -> Rng {
        Rng(RandomState::new().hash_one(0))
    }

    /// Another generator, fixed by this one's seed and a name.
    pub fn fork(&self, name: &str) -> Rng {
        let mut hasher = std::hash::DefaultHasher::new();
        (self.0, name).hash(&mut hasher);
        Rng(hasher.finish())
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0, included, to 1, excluded.
    pub fn next_f64(&mut self) -> f64 {
        // The upper 53 bits fill a double's mantissa.
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_name_give_the_same_numbers() {
        let draw = |seed, name: &str| Rng::from_seed(seed).fork(name).next_u64();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn fractions_fill_the_unit_interval() {
        let mut rng = Rng::from_seed(7);
        let drawn: Vec<f64> = (0..10_000).map(|_| rng.next_f64()).collect();
        assert!(drawn.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = drawn.iter().sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
    }
}
