//! Metrics for CloudWatch, as the KPL uploads them: which, by which dimensions, in which portions.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::config::metrics::{
    MetricsGranularity, MetricsLevel, MetricsUpload, NAMESPACE, UPLOAD_DELAY_MAX, is_namespace,
};
use crate::config::{ProducerConfig, Properties};
use crate::credentials::{Cached, CredentialsProvider};
use crate::error::{Error, Result};
use crate::producer::metrics::Summary;
use crate::producer::tally::{Sums, Tally};
use crate::sys::percent::push_encoded;

/// Uploads a producer's metrics to CloudWatch, as the KPL does. Needs the feature `cloudwatch`.
///
/// Every minute, and once more when the producer ends, on a thread of its own. What could not be
/// uploaded after two repetitions is logged and lost.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use std::time::Duration;
/// use kinesis_blocking::{CloudWatch, MetricsGranularity, MetricsLevel};
///
/// let cloudwatch = CloudWatch::new()
///     .level(MetricsLevel::Summary)
///     .granularity(MetricsGranularity::Stream)
///     .namespace("Orders")
///     .dimension(MetricsGranularity::Global, "Stage", "test");
/// // Producer::builder(client).cloudwatch(cloudwatch)
/// # drop(cloudwatch);
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing until a producer has it"]
pub struct CloudWatch {
    upload: MetricsUpload,
    dimensions: Vec<(MetricsGranularity, Dimension)>,
    credentials: Option<Box<dyn CredentialsProvider>>,
}

type Dimension = (String, String);

/// One value to be uploaded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Datum {
    pub name: &'static str,
    unit: &'static str,
    pub dimensions: Vec<Dimension>,
    pub summary: Summary,
}

/// What a stream took in since the last upload, and has not settled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Intake {
    pub received: u64,
    pub pending: u64,
}

impl CloudWatch {
    /// Starts with the KPL's defaults: everything, by shard, in `KinesisProducerLibrary`, each minute.
    pub fn new() -> CloudWatch {
        CloudWatch::of(MetricsUpload::default())
    }

    /// Takes over the KPL's keys that are set, and its defaults for the others.
    ///
    /// A producer whose [configuration](crate::ProducerConfig::from_properties) has one of these keys
    /// uploads without this; it is for dimensions and credentials on top.
    ///
    /// # Errors
    /// `Config`, or `Several` of it: keys of a producer with values that cannot be.
    pub fn from_properties(properties: &Properties) -> Result<CloudWatch> {
        let config = ProducerConfig::from_properties(properties)?;
        Ok(CloudWatch::of(config.metrics_upload.unwrap_or_default()))
    }

    pub(super) fn of(upload: MetricsUpload) -> CloudWatch {
        CloudWatch {
            upload,
            dimensions: Vec::new(),
            credentials: None,
        }
    }

    /// Sets which metrics are uploaded. Default: detailed. The KPL's `MetricsLevel`.
    pub fn level(mut self, level: MetricsLevel) -> CloudWatch {
        self.upload.level = level;
        self
    }

    /// Sets how finely they are told apart. Default: by shard. The KPL's `MetricsGranularity`.
    pub fn granularity(mut self, granularity: MetricsGranularity) -> CloudWatch {
        self.upload.granularity = granularity;
        self
    }

    /// Sets the namespace, of 1 to 255 characters, not `AWS/…`. Default: `KinesisProducerLibrary`. The
    /// KPL's `MetricsNamespace`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> CloudWatch {
        self.upload.namespace = namespace.into();
        self
    }

    /// Sets the time between two uploads, from 1 ms to a minute. Default: a minute. The KPL's
    /// `MetricsUploadDelay`.
    pub fn upload_delay(mut self, delay: Duration) -> CloudWatch {
        self.upload.delay = delay;
        self
    }

    /// Adds a dimension to the metrics of a level and of those below. Each makes one more set of
    /// metrics. The KPL's `addAdditionalMetricsDimension`.
    pub fn dimension(
        mut self,
        level: MetricsGranularity,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> CloudWatch {
        self.dimensions.push((level, (name.into(), value.into())));
        self
    }

    /// Sets the URL to call. Default: the environment's `AWS_ENDPOINT_URL_CLOUDWATCH`, else
    /// `AWS_ENDPOINT_URL`, else the public endpoint of the client's region. The KPL's
    /// `CloudwatchEndpoint` and `CloudwatchPort`.
    pub fn endpoint(mut self, url: impl Into<String>) -> CloudWatch {
        self.upload.endpoint = Some(url.into());
        self
    }

    /// Sets where credentials come from. Default: the client's. The KPL's `MetricsCredentialsProvider`.
    pub fn credentials(mut self, provider: impl CredentialsProvider + 'static) -> CloudWatch {
        self.credentials = Some(Box::new(Cached::new(provider)));
        self
    }

    /// # Errors
    /// `Config`: a setting is out of its range.
    pub(super) fn check(&self) -> Result<()> {
        let namespace = &*self.upload.namespace;
        if !is_namespace(namespace) {
            return Err(Error::config("metrics_namespace", namespace, NAMESPACE));
        }
        let range = Duration::from_millis(1)..=UPLOAD_DELAY_MAX;
        if !range.contains(&self.upload.delay) {
            let given = self.upload.delay.as_millis().to_string();
            let expected = "a number from 1 to 60000 (milliseconds)";
            return Err(Error::config("metrics_upload_delay", given, expected));
        }
        Ok(())
    }

    pub(super) fn delay(&self) -> Duration {
        self.upload.delay
    }

    pub(super) fn url(&self) -> Option<&str> {
        self.upload.endpoint.as_deref()
    }

    pub(super) fn provider(&self) -> Option<&dyn CredentialsProvider> {
        self.credentials.as_deref()
    }

    /// Everything that is to be uploaded of what was measured since the last time.
    pub(super) fn datums(&self, window: &Tally, intakes: &BTreeMap<String, Intake>) -> Vec<Datum> {
        let mut datums = Datums::default();
        if self.upload.level == MetricsLevel::None {
            return datums.0;
        }
        let global = Way::new(self, MetricsGranularity::Global, None, &[]);
        datums.sums(self, &global, &window.total());
        let all = intakes.values().fold(Intake::default(), |sum, one| Intake {
            received: sum.received + one.received,
            pending: sum.pending + one.pending,
        });
        datums.intake(self, &global, all);
        if self.upload.granularity >= MetricsGranularity::Stream {
            self.streams(&mut datums, &global, window, intakes);
        }
        let order = |datum: &Datum| (datum.dimensions.len(), datum.dimensions.clone());
        datums.0.sort_by_cached_key(order);
        datums.0
    }

    fn streams(
        &self,
        datums: &mut Datums,
        global: &Way,
        window: &Tally,
        intakes: &BTreeMap<String, Intake>,
    ) {
        let way = |name: &str| {
            let name = ("StreamName".to_owned(), name.to_owned());
            Way::new(self, MetricsGranularity::Stream, Some(name), global.end())
        };
        for (name, intake) in intakes {
            datums.intake(self, &way(name), *intake);
        }
        for (name, stream) in &window.streams {
            let way = way(name);
            datums.sums(self, &way, &stream.total());
            if self.upload.granularity < MetricsGranularity::Shard {
                continue;
            }
            for (id, shard) in &stream.shards {
                let id = ("ShardId".to_owned(), id.to_string());
                let way = Way::new(self, MetricsGranularity::Shard, Some(id), way.end());
                datums.sums(self, &way, shard);
            }
        }
    }

    /// One call's body.
    pub(super) fn body(&self, datums: &[Datum]) -> String {
        let mut body = format!("Action=PutMetricData&Version={VERSION}&Namespace=");
        push_encoded(&mut body, &self.upload.namespace);
        for (n, datum) in (1..).zip(datums) {
            datum.write(&mut body, n);
        }
        body
    }
}

/// The sets of dimensions that a level's values go to: each further dimension makes one more.
struct Way {
    level: MetricsGranularity,
    sets: Vec<Vec<Dimension>>,
}

impl Way {
    fn new(
        settings: &CloudWatch,
        level: MetricsGranularity,
        own: Option<Dimension>,
        above: &[Dimension],
    ) -> Way {
        let first: Vec<_> = above.iter().cloned().chain(own).collect();
        let mut sets = vec![first];
        let extras = settings.dimensions.iter();
        for (_, extra) in extras.filter(|(at, _)| *at == level) {
            let mut longer = sets.last().cloned().unwrap_or_default();
            longer.push(extra.clone());
            sets.push(longer);
        }
        Way { level, sets }
    }

    fn end(&self) -> &[Dimension] {
        self.sets.last().map_or(&[], Vec::as_slice)
    }
}

#[derive(Default)]
struct Datums(Vec<Datum>);

impl Datums {
    fn sums(&mut self, settings: &CloudWatch, way: &Way, sums: &Sums) {
        for (name, unit, level, summary) in rows(sums) {
            if level <= settings.upload.level {
                self.add(name, unit, &way.sets, summary);
            }
        }
        self.errors(settings, way, &sums.errors_by_code);
    }

    /// The code stands behind the dimensions of the whole producer, and before those of streams.
    fn errors(&mut self, settings: &CloudWatch, way: &Way, codes: &BTreeMap<String, Summary>) {
        const NAME: &str = "ErrorsByCode";
        let globals = settings.dimensions.iter();
        let globals = globals
            .filter(|(at, _)| *at == MetricsGranularity::Global)
            .count();
        if way.level == MetricsGranularity::Global && !codes.is_empty() {
            let mut all = Summary::default();
            codes
                .values()
                .for_each(|one| all.add(1.0, one.count as u32));
            self.add(NAME, "Count", &way.sets, &all);
        }
        for (code, summary) in codes {
            let sets = match way.level {
                MetricsGranularity::Global => vec![way.end().to_vec()],
                _ => way.sets.clone(),
            };
            let with_code = sets.into_iter().map(|mut set| {
                set.insert(globals, ("ErrorCode".to_owned(), code.clone()));
                set
            });
            self.add(NAME, "Count", &with_code.collect::<Vec<_>>(), summary);
        }
    }

    fn intake(&mut self, settings: &CloudWatch, way: &Way, intake: Intake) {
        if settings.upload.level < MetricsLevel::Detailed {
            return;
        }
        let mut received = Summary::default();
        received.add(1.0, u32::try_from(intake.received).unwrap_or(u32::MAX));
        self.add("UserRecordsReceived", "Count", &way.sets, &received);
        let mut pending = Summary::default();
        pending.add(intake.pending as f64, 1);
        self.add("UserRecordsPending", "Count", &way.sets, &pending);
    }

    fn add(
        &mut self,
        name: &'static str,
        unit: &'static str,
        sets: &[Vec<Dimension>],
        summary: &Summary,
    ) {
        if summary.count > 0 {
            self.0.extend(sets.iter().map(|dimensions| Datum {
                name,
                unit,
                dimensions: dimensions.clone(),
                summary: *summary,
            }));
        }
    }
}

/// The KPL's metrics with their units and levels:
/// <https://docs.aws.amazon.com/streams/latest/dev/monitoring-with-kpl.html>.
fn rows(sums: &Sums) -> [(&'static str, &'static str, MetricsLevel, &Summary); 12] {
    use MetricsLevel::{Detailed, Summary as Brief};
    const COUNT: &str = "Count";
    const MILLIS: &str = "Milliseconds";
    let per_kinesis_record = &sums.user_records_per_kinesis_record;
    [
        ("AllErrors", COUNT, Brief, &sums.all_errors),
        ("BufferingTime", MILLIS, Brief, &sums.buffering_time),
        (
            "KinesisRecordsDataPut",
            "Bytes",
            Detailed,
            &sums.kinesis_records_data_put,
        ),
        (
            "KinesisRecordsPerPutRecordsRequest",
            COUNT,
            Detailed,
            &sums.kinesis_records_per_request,
        ),
        ("KinesisRecordsPut", COUNT, Brief, &sums.kinesis_records_put),
        ("RequestTime", MILLIS, Detailed, &sums.request_time),
        (
            "RetriesPerRecord",
            COUNT,
            Detailed,
            &sums.retries_per_record,
        ),
        (
            "UserRecordExpired",
            COUNT,
            Brief,
            &sums.user_records_expired,
        ),
        (
            "UserRecordsDataPut",
            "Bytes",
            Detailed,
            &sums.user_records_data_put,
        ),
        (
            "UserRecordsPerKinesisRecord",
            COUNT,
            Detailed,
            per_kinesis_record,
        ),
        (
            "UserRecordsPerPutRecordsRequest",
            COUNT,
            Detailed,
            &sums.user_records_per_request,
        ),
        ("UserRecordsPut", COUNT, Brief, &sums.user_records_put),
    ]
}

impl Datum {
    /// Writes it as the n-th member of a call's form.
    fn write(&self, body: &mut String, n: usize) {
        let mut field = |name: &str, value: &str| {
            body.push_str(&format!("&MetricData.member.{n}.{name}="));
            push_encoded(body, value);
        };
        field("MetricName", self.name);
        field("Unit", self.unit);
        let Summary {
            count,
            sum,
            min,
            max,
        } = self.summary;
        field("StatisticValues.SampleCount", &count.to_string());
        field("StatisticValues.Sum", &sum.to_string());
        field("StatisticValues.Minimum", &min.to_string());
        field("StatisticValues.Maximum", &max.to_string());
        // CloudWatch refuses a dimension without a value.
        let dimensions = self
            .dimensions
            .iter()
            .filter(|(_, value)| !value.is_empty());
        for (m, (name, value)) in (1..).zip(dimensions) {
            let member = format!("Dimensions.member.{m}");
            field(&format!("{member}.Name"), name);
            field(&format!("{member}.Value"), value);
        }
    }
}

/// Cuts what is to be uploaded into portions for one call each.
pub(super) fn portions(datums: &[Datum]) -> impl Iterator<Item = &[Datum]> {
    // A datum is a few hundred bytes of dimensions: twenty stay far below the KPL's 38 KiB.
    datums.chunks(DATUMS_MAX)
}

impl Default for CloudWatch {
    fn default() -> CloudWatch {
        CloudWatch::new()
    }
}

impl fmt::Debug for CloudWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudWatch")
            .field("upload", &self.upload)
            .field("dimensions", &self.dimensions)
            .finish_non_exhaustive()
    }
}

/// The KPL's; CloudWatch itself takes 1,000: `API_PutMetricData.html`.
const DATUMS_MAX: usize = 20;

/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>
const VERSION: &str = "2010-08-01";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::tally::{CallReport, RecordReport};

    /// 100 records of so many user records each, to one stream and to two shards of another.
    fn window() -> Tally {
        let mut tally = Tally::default();
        for n in 0..100 {
            for (stream, shard) in [("one", "s0"), ("two", "s0"), ("two", "s1")] {
                tally.call(&report(stream, shard, n, None));
            }
        }
        tally
    }

    fn report(stream: &str, shard: &str, users: u32, error: Option<&str>) -> CallReport {
        CallReport {
            stream: stream.into(),
            queued: Duration::ZERO,
            took: Duration::ZERO,
            carried: (1, users),
            error: None,
            records: vec![RecordReport {
                shard: Some(shard.into()),
                users,
                bytes: 1,
                error: error.map(str::to_owned),
            }],
        }
    }

    /// The dimensions' names, or values, of all datums of a name.
    fn seen(datums: &[Datum], name: &str) -> Vec<(String, u64, f64)> {
        let named = datums.iter().filter(|datum| datum.name == name);
        named
            .map(|datum| {
                let dimensions = datum.dimensions.iter();
                let values: Vec<_> = dimensions.map(|(_, value)| value.as_str()).collect();
                (values.join(" "), datum.summary.count, datum.summary.sum)
            })
            .collect()
    }

    #[test]
    fn each_level_has_the_sums_of_those_below() {
        let datums = CloudWatch::new().datums(&window(), &BTreeMap::new());
        let found = seen(&datums, "UserRecordsPerKinesisRecord");
        let row = |values: &str, count, sum| (values.to_owned(), count, sum);
        assert_eq!(
            found,
            [
                row("", 300, 14_850.0),
                row("one", 100, 4_950.0),
                row("two", 200, 9_900.0),
                row("one s0", 100, 4_950.0),
                row("two s0", 100, 4_950.0),
                row("two s1", 100, 4_950.0),
            ]
        );
    }

    #[test]
    fn further_dimensions_make_further_sets_in_the_order_they_were_added() {
        use MetricsGranularity::{Global, Shard, Stream};
        let mut tally = Tally::default();
        tally.call(&report("s", "0", 1, None));
        let sets = |names: &[&str], granularity| {
            let mut settings = CloudWatch::new().granularity(granularity);
            for name in names {
                for (level, letter) in [(Global, 'a'), (Stream, 'b'), (Shard, 'c')] {
                    let name = format!("{letter}{name}");
                    settings = settings.dimension(level, name.clone(), name);
                }
            }
            let found = seen(
                &settings.datums(&tally, &BTreeMap::new()),
                "KinesisRecordsPut",
            );
            found.into_iter().map(|(set, ..)| set).collect::<Vec<_>>()
        };
        let six = ["", "a", "a s", "a s b", "a s b 0", "a s b 0 c"];
        assert_eq!(sets(&[""], Shard), six);
        assert_eq!(sets(&[""], Stream), six[..4]);
        assert_eq!(sets(&[""], Global), six[..2]);
        let nine = sets(&["1", "2"], Shard);
        assert_eq!((nine.len(), nine[8].as_str()), (9, "a1 a2 s b1 b2 0 c1 c2"));
    }

    #[test]
    fn errors_are_told_by_code_at_every_level() {
        let mut tally = Tally::default();
        tally.call(&report("s", "0", 1, Some("InternalFailure")));
        let settings = CloudWatch::new().level(MetricsLevel::Summary).dimension(
            MetricsGranularity::Global,
            "Stage",
            "test",
        );
        let found = seen(&settings.datums(&tally, &BTreeMap::new()), "ErrorsByCode");
        let sets: Vec<_> = found.iter().map(|(set, ..)| set.as_str()).collect();
        let expected = [
            "",
            "test",
            "test InternalFailure",
            "test InternalFailure s",
            "test InternalFailure s 0",
        ];
        assert_eq!(sets, expected);
        assert!(
            found
                .iter()
                .all(|(_, count, sum)| (*count, *sum) == (1, 1.0))
        );
    }

    #[test]
    fn levels_choose_what_is_uploaded() {
        let intakes = BTreeMap::from([(
            "one".to_owned(),
            Intake {
                received: 7,
                pending: 3,
            },
        )]);
        let names = |level| {
            let settings = CloudWatch::new().level(level);
            let datums = settings.datums(&window(), &intakes);
            let names: std::collections::BTreeSet<_> =
                datums.iter().map(|datum| datum.name).collect();
            names.len()
        };
        assert_eq!(names(MetricsLevel::None), 0);
        // What nothing was measured of is left out.
        assert_eq!(names(MetricsLevel::Summary), 2);
        assert_eq!(names(MetricsLevel::Detailed), 9);
        let datums = CloudWatch::new().datums(&Tally::default(), &intakes);
        let row = |set: &str, count, sum| (set.to_owned(), count, sum);
        let received = [row("", 7, 7.0), row("one", 7, 7.0)];
        assert_eq!(seen(&datums, "UserRecordsReceived"), received);
        let pending = [row("", 1, 3.0), row("one", 1, 3.0)];
        assert_eq!(seen(&datums, "UserRecordsPending"), pending);
    }

    #[test]
    fn a_call_is_a_form_of_twenty_values_at_most() {
        let mut tally = Tally::default();
        tally.call(&report("a b&c", "0", 2, None));
        let settings = CloudWatch::new().namespace("Orders & more");
        let datums = settings.datums(&tally, &BTreeMap::new());
        let sizes: Vec<_> = portions(&datums).map(<[Datum]>::len).collect();
        assert!(sizes.iter().all(|size| *size <= 20), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), datums.len());
        let stream = datums.iter().filter(|datum| datum.dimensions.len() == 1);
        let stream: Vec<_> = stream
            .filter(|datum| datum.name == "KinesisRecordsPut")
            .cloned()
            .collect();
        assert_eq!(
            settings.body(&stream),
            "Action=PutMetricData&Version=2010-08-01&Namespace=Orders%20%26%20more\
             &MetricData.member.1.MetricName=KinesisRecordsPut&MetricData.member.1.Unit=Count\
             &MetricData.member.1.StatisticValues.SampleCount=1&MetricData.member.1.StatisticValues.Sum=1\
             &MetricData.member.1.StatisticValues.Minimum=1&MetricData.member.1.StatisticValues.Maximum=1\
             &MetricData.member.1.Dimensions.member.1.Name=StreamName\
             &MetricData.member.1.Dimensions.member.1.Value=a%20b%26c"
        );
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let said = |settings: CloudWatch| settings.check().map_err(|error| error.to_string());
        assert_eq!(said(CloudWatch::new()), Ok(()));
        for settings in [
            CloudWatch::new().namespace(""),
            CloudWatch::new().namespace("AWS/Kinesis"),
            CloudWatch::new().namespace("x".repeat(256)),
            CloudWatch::new().upload_delay(Duration::ZERO),
            CloudWatch::new().upload_delay(Duration::from_millis(60_001)),
        ] {
            let message = said(settings).expect_err("out of range");
            assert!(message.starts_with("metrics_"), "{message}");
        }
    }
}
