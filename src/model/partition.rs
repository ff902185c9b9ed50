//! Which domain a region's endpoints are in.

/// The public endpoint of a service in a region.
///
/// Sources: the endpoint rules that AWS publishes for its SDKs, in
/// <https://github.com/boto/botocore/tree/develop/botocore/data> `partitions.json` and, for each
/// service, `endpoint-rule-set-1.json`; checked for `kinesis` and `sts`.
pub(crate) fn endpoint(service: &str, region: &str, variant: Variant) -> String {
    let partition = Partition::of(region);
    let suffix = match variant.dual_stack {
        true => partition.dual_stack_suffix,
        false => partition.suffix,
    };
    // The ordinary endpoints of GovCloud are validated ones already.
    let named_fips = variant.fips && (partition.name != "aws-us-gov" || variant.dual_stack);
    let fips = if named_fips { "-fips" } else { "" };
    format!("https://{service}{fips}.{region}.{suffix}/")
}

/// Says whether a host lies in one of the domains of AWS.
pub(crate) fn is_public_host(host: &str) -> bool {
    let is_below = |suffix: &str| {
        let front = host.strip_suffix(suffix);
        front.is_some_and(|front| front.ends_with('.'))
    };
    let suffixes = PARTITIONS
        .iter()
        .flat_map(|partition| [partition.suffix, partition.dual_stack_suffix]);
    suffixes.into_iter().any(is_below)
}

/// Which of a region's endpoints: the ordinary one unless something is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variant {
    /// Reachable over IPv6 as well.
    pub dual_stack: bool,
    /// Validated after FIPS 140.
    pub fips: bool,
}

/// Regions that share a domain and nothing with other regions.
struct Partition {
    name: &'static str,
    /// What the names of its regions begin with; the first partition takes all that are left.
    regions: &'static str,
    suffix: &'static str,
    dual_stack_suffix: &'static str,
}

impl Partition {
    fn of(region: &str) -> &'static Partition {
        PARTITIONS
            .iter()
            .rev()
            .find(|partition| region.starts_with(partition.regions))
            .expect("every name begins with the first one's prefix, which is empty")
    }

    const fn new(
        name: &'static str,
        regions: &'static str,
        suffix: &'static str,
        dual_stack_suffix: &'static str,
    ) -> Partition {
        Partition {
            name,
            regions,
            suffix,
            dual_stack_suffix,
        }
    }
}

const PARTITIONS: [Partition; 8] = [
    Partition::new("aws", "", "amazonaws.com", "api.aws"),
    Partition::new(
        "aws-cn",
        "cn-",
        "amazonaws.com.cn",
        "api.amazonwebservices.com.cn",
    ),
    Partition::new(
        "aws-eusc",
        "eusc-",
        "amazonaws.eu",
        "api.amazonwebservices.eu",
    ),
    Partition::new("aws-iso", "us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    Partition::new("aws-iso-b", "us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    Partition::new(
        "aws-iso-e",
        "eu-isoe-",
        "cloud.adc-e.uk",
        "api.cloud-aws.adc-e.uk",
    ),
    Partition::new(
        "aws-iso-f",
        "us-isof-",
        "csp.hci.ic.gov",
        "api.aws.hci.ic.gov",
    ),
    Partition::new("aws-us-gov", "us-gov-", "amazonaws.com", "api.aws"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_domains_of_its_own() {
        for (region, host, dual_stack, fips, both) in [
            (
                "us-east-1",
                "kinesis.us-east-1.amazonaws.com",
                "kinesis.us-east-1.api.aws",
                "kinesis-fips.us-east-1.amazonaws.com",
                "kinesis-fips.us-east-1.api.aws",
            ),
            (
                "cn-north-1",
                "kinesis.cn-north-1.amazonaws.com.cn",
                "kinesis.cn-north-1.api.amazonwebservices.com.cn",
                "kinesis-fips.cn-north-1.amazonaws.com.cn",
                "kinesis-fips.cn-north-1.api.amazonwebservices.com.cn",
            ),
            (
                "eusc-de-east-1",
                "kinesis.eusc-de-east-1.amazonaws.eu",
                "kinesis.eusc-de-east-1.api.amazonwebservices.eu",
                "kinesis-fips.eusc-de-east-1.amazonaws.eu",
                "kinesis-fips.eusc-de-east-1.api.amazonwebservices.eu",
            ),
            (
                "us-gov-west-1",
                "kinesis.us-gov-west-1.amazonaws.com",
                "kinesis.us-gov-west-1.api.aws",
                "kinesis.us-gov-west-1.amazonaws.com",
                "kinesis-fips.us-gov-west-1.api.aws",
            ),
            (
                "us-iso-east-1",
                "kinesis.us-iso-east-1.c2s.ic.gov",
                "kinesis.us-iso-east-1.api.aws.ic.gov",
                "kinesis-fips.us-iso-east-1.c2s.ic.gov",
                "kinesis-fips.us-iso-east-1.api.aws.ic.gov",
            ),
            (
                "us-isob-east-1",
                "kinesis.us-isob-east-1.sc2s.sgov.gov",
                "kinesis.us-isob-east-1.api.aws.scloud",
                "kinesis-fips.us-isob-east-1.sc2s.sgov.gov",
                "kinesis-fips.us-isob-east-1.api.aws.scloud",
            ),
            (
                "eu-isoe-west-1",
                "kinesis.eu-isoe-west-1.cloud.adc-e.uk",
                "kinesis.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
                "kinesis-fips.eu-isoe-west-1.cloud.adc-e.uk",
                "kinesis-fips.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
            ),
            (
                "us-isof-south-1",
                "kinesis.us-isof-south-1.csp.hci.ic.gov",
                "kinesis.us-isof-south-1.api.aws.hci.ic.gov",
                "kinesis-fips.us-isof-south-1.csp.hci.ic.gov",
                "kinesis-fips.us-isof-south-1.api.aws.hci.ic.gov",
            ),
        ] {
            let of = |dual_stack, fips| endpoint("kinesis", region, Variant { dual_stack, fips });
            let hosts = [(false, false), (true, false), (false, true), (true, true)]
                .map(|(dual_stack, fips)| of(dual_stack, fips));
            let expected = [host, dual_stack, fips, both].map(|host| format!("https://{host}/"));
            assert_eq!(hosts, expected);
        }
    }
}
