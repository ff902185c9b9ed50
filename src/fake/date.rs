use crate::model::Timestamp;

/// Writes a time as HTTP does: `Tue, 14 Nov 2023 22:13:20 GMT`.
pub(super) fn of(time: Timestamp) -> String {
    let date = date_of(time);
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

/// Writes a time as signatures do: `20231114T221320Z`.
pub(super) fn basic(time: Timestamp) -> String {
    let date = date_of(time);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second()
    )
}

/// Reads what [`basic`] writes.
pub(super) fn read_basic(text: &str) -> Option<Timestamp> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let two = |text: &str, at: usize| text.get(at..at + 2)?.parse::<u8>().ok();
    let month = time::Month::try_from(two(day, 4)?).ok()?;
    let date = time::Date::from_calendar_date(day.get(..4)?.parse().ok()?, month, two(day, 6)?);
    let moment = date
        .ok()?
        .with_hms(two(time, 0)?, two(time, 2)?, two(time, 4)?)
        .ok()?;
    let seconds = moment.assume_utc().unix_timestamp();
    Some(Timestamp::from_millis(seconds.saturating_mul(1_000)))
}

fn date_of(time: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(time.as_millis().div_euclid(1_000))
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_s_date_reads_back() {
        let time = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(basic(time), "20231114T221320Z");
        assert_eq!(read_basic("20231114T221320Z"), Some(time));
        for text in ["", "20231114", "20231314T221320Z", "20231114T2213Z", "x"] {
            assert_eq!(read_basic(text), None, "{text}");
        }
    }

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
