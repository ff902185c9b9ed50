use kinesis_blocking::Timestamp;
use time::OffsetDateTime;

/// Writes a time as people read it, and the tools as well, in UTC: `2026-01-31T12:00:00Z`, with
/// milliseconds if there are any.
pub fn show(time: Timestamp) -> String {
    let (seconds, millis) = (
        time.as_millis().div_euclid(1_000),
        time.as_millis().rem_euclid(1_000),
    );
    let Ok(date) = OffsetDateTime::from_unix_timestamp(seconds) else {
        return time.to_string();
    };
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second) = date.to_hms();
    let millis = match millis {
        0 => String::new(),
        millis => format!(".{millis:03}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{millis}Z")
}
