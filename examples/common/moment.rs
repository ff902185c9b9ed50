use kinesis_blocking::{ConsumerConfig, Properties, Result, StartPosition, Timestamp};

/// Sets where to start, as the keys of the same meaning have it: latest, trim_horizon, or a time.
pub fn start_at(properties: &mut Properties, from: &str) {
    let position = match from {
        "latest" => "LATEST",
        "trim_horizon" => "TRIM_HORIZON",
        _ => "AT_TIMESTAMP",
    };
    properties.set("flink.stream.initpos", position);
    if position == "AT_TIMESTAMP" {
        properties.set("flink.stream.initpos.timestamp", from);
        if let (Some(pattern), None) = (pattern(from), properties.get(PATTERN)) {
            properties.set(PATTERN, pattern);
        }
    }
}

/// Dates, and times without milliseconds, are told by their length; Flink's default has both.
fn pattern(time: &str) -> Option<&'static str> {
    let is_date = time.get(4..5) == Some("-");
    match time.len() {
        10 if is_date => Some("yyyy-MM-dd"),
        20 | 25 if is_date => Some("yyyy-MM-dd'T'HH:mm:ssXXX"),
        _ => None,
    }
}

const PATTERN: &str = "flink.stream.initpos.timestamp.format";

/// Reads a time as a start is read. The words that are no time mean the first and the last there is.
pub fn read(text: &str) -> Result<Timestamp> {
    let mut properties = Properties::new();
    start_at(&mut properties, text);
    match ConsumerConfig::from_properties(&properties)?.start_position() {
        StartPosition::AtTimestamp(time) => Ok(time),
        StartPosition::TrimHorizon => Ok(Timestamp::MIN),
        _ => Ok(Timestamp::from_millis(i64::MAX)),
    }
}
