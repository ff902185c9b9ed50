//! IncreaseStreamRetentionPeriod, DecreaseStreamRetentionPeriod, UpdateMaxRecordSize and
//! UpdateStreamRecordDistributionStrategy:
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_IncreaseStreamRetentionPeriod.html>
//!
//! - Limits: 24 to 8,760 hours, 1,024 to 10,240 KiB a record, AUTO for on-demand streams only.
//! - Errors: InvalidArgumentException, ResourceNotFoundException, ValidationException.
//! - Gaps: what is set holds at once, where the service takes a while. A shorter retention trims at
//!   the next call.

use std::time::Duration;

use serde::Deserialize;

use crate::client::RecordDistributionStrategy;
use crate::fake::call::Call;
use crate::fake::check;
use crate::fake::refusal::Refusal;
use crate::fake::stream::Stream;
use crate::sys::lock::lock;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SetRetention {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    retention_period_hours: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateMaxRecordSize {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateStrategy {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    record_distribution_strategy: Option<String>,
}

pub(super) fn increase_retention(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    set_retention(call, "longer", |now, wanted| wanted >= now)
}

pub(super) fn decrease_retention(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    set_retention(call, "shorter", |now, wanted| wanted <= now)
}

fn set_retention(
    call: &mut Call<'_>,
    direction: &str,
    allowed: impl FnOnce(Duration, Duration) -> bool,
) -> Result<Vec<u8>, Refusal> {
    let request: SetRetention = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let at = "retentionPeriodHours";
    let hours = check::required(request.retention_period_hours, at)?;
    let hours = check::range(hours, at, 24, 8_760)?;
    let wanted = Duration::from_secs(u64::try_from(hours).unwrap_or(24) * 3_600);
    let stream = call.live_stream(&name)?;
    let mut stream = lock(&stream);
    if !allowed(stream.retention, wanted) {
        let now = stream.retention.as_secs() / 3_600;
        return Err(Refusal::invalid(format!(
            "Requested retention period ({hours} hours) for stream {name} has to be {direction} \
             than the existing retention period ({now} hours)."
        )));
    }
    stream.retention = wanted;
    Ok(Vec::new())
}

pub(super) fn update_max_record_size(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: UpdateMaxRecordSize = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let kib = check::required(request.max_record_size, "maxRecordSizeInKiB")?;
    let kib = check::range(kib, "maxRecordSizeInKiB", 1_024, 10_240)?;
    let stream = call.live_stream(&name)?;
    lock(&stream).max_record_bytes = usize::try_from(kib).unwrap_or(1_024) * 1_024;
    Ok(Vec::new())
}

pub(super) fn update_strategy(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: UpdateStrategy = call.parse()?;
    let arn = check::required(request.stream_arn, "streamARN")?;
    let name = call.name(None, Some(arn))?;
    let at = "recordDistributionStrategy";
    let strategy = check::required(request.record_distribution_strategy, at)?;
    let stream = call.live_stream(&name)?;
    set_strategy(&mut lock(&stream), &strategy)?;
    Ok(Vec::new())
}

/// Lets the service or the keys decide, if the stream's mode allows it.
pub(super) fn set_strategy(stream: &mut Stream, name: &str) -> Result<(), Refusal> {
    let strategy = RecordDistributionStrategy::named(name).ok_or_else(|| {
        let rule = "satisfy enum value set: [AUTO, USER_PARTITION_KEY]";
        Refusal::validation(name, "recordDistributionStrategy", rule)
    })?;
    if strategy == RecordDistributionStrategy::Auto && !stream.on_demand {
        return Err(Refusal::invalid(
            "RecordDistributionStrategy AUTO needs a stream in ON_DEMAND mode.",
        ));
    }
    stream.strategy = strategy;
    Ok(())
}
