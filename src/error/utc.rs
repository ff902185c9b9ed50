use std::fmt;

use time::OffsetDateTime;

use crate::model::Timestamp;

/// Prints a time as operators read it: `2023-11-14T22:13:20Z`.
pub(crate) struct Utc(pub Timestamp);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_millis().div_euclid(1_000);
        // Beyond the calendar's last year the seconds themselves will do.
        let Ok(date) = OffsetDateTime::from_unix_timestamp(seconds) else {
            return self.0.fmt(f);
        };
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second) = date.to_hms();
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_prints_as_a_date() {
        for (millis, text) in [
            (1_700_000_000_999, "2023-11-14T22:13:20Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (i64::MAX, "9223372036854775.807"),
        ] {
            assert_eq!(Utc(Timestamp::from_millis(millis)).to_string(), text);
        }
    }
}
