use crate::model::Timestamp;

/// Writes a time as HTTP does: `Tue, 14 Nov 2023 22:13:20 GMT`.
pub(super) fn of(time: Timestamp) -> String {
    let seconds = time.as_millis().div_euclid(1_000);
    let date = time::OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (weekday, month) = (date.weekday().to_string(), date.month().to_string());
    format!(
        "{weekday:.3}, {:02} {month:.3} {:04} {:02}:{:02}:{:02} GMT",
        date.day(),
        date.year(),
        date.hour(),
        date.minute(),
        date.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_reads_as_http_writes_it() {
        for (millis, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_700_000_000_999, "Tue, 14 Nov 2023 22:13:20 GMT"),
            (1_709_210_096_000, "Thu, 29 Feb 2024 12:34:56 GMT"),
        ] {
            assert_eq!(of(Timestamp::from_millis(millis)), text);
        }
    }
}
