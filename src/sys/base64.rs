//! Base64 by the vector instructions of the machine, where base64 has an engine for them.
//!
//! Its engine by vectors is there on x86_64 and on aarch64 with NEON only. Other processors, and builds
//! with `--cfg kinesis_blocking_portable`, which test this path, have the plain one.

use std::sync::LazyLock;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurposeConfig, PAD};

#[cfg(all(
    not(kinesis_blocking_portable),
    any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_feature = "neon")
    )
))]
mod by_machine {
    use super::GeneralPurposeConfig;

    pub(crate) type Base64 = base64::engine::Simd;

    pub(super) fn engine(config: GeneralPurposeConfig) -> Base64 {
        Base64::standard(config)
    }
}

#[cfg(not(all(
    not(kinesis_blocking_portable),
    any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_feature = "neon")
    )
)))]
mod by_machine {
    use super::GeneralPurposeConfig;

    pub(crate) type Base64 = base64::engine::GeneralPurpose;

    pub(super) fn engine(config: GeneralPurposeConfig) -> Base64 {
        Base64::new(&base64::alphabet::STANDARD, config)
    }
}

use by_machine::Base64;

/// Writes padding, and reads only what has it.
pub(crate) static PADDED: LazyLock<Base64> = LazyLock::new(|| by_machine::engine(PAD));

/// Writes padding, and reads texts with and without it: some emulators leave it out.
pub(crate) static ANY_PADDING: LazyLock<Base64> = LazyLock::new(|| {
    by_machine::engine(PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent))
});

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;

    #[test]
    fn both_read_what_they_write_and_one_reads_it_without_its_padding() {
        let data: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        for length in 0..data.len() {
            let (data, text) = (&data[..length], PADDED.encode(&data[..length]));
            assert_eq!(text, ANY_PADDING.encode(data));
            assert_eq!(PADDED.decode(&text).as_deref(), Ok(data));
            let bare = text.trim_end_matches('=');
            assert_eq!(ANY_PADDING.decode(bare).as_deref(), Ok(data));
            assert_eq!(PADDED.decode(bare).is_ok(), bare == text);
        }
    }

    #[test]
    fn what_is_no_base64_is_an_error() {
        for text in ["a", "ab=c", "a-b_", "ab\ncd", "YQ=", "YR=="] {
            assert!(PADDED.decode(text).is_err(), "{text}");
        }
    }
}
