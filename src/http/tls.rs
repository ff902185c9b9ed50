//! What is wrong with a TLS connection, in the words of who has to mend it. Only the text of the layer below says so.

use crate::error::Utc;
use crate::model::Timestamp;

/// Says whether a handshake will end the same the next time; the rest may be a peer in trouble.
pub(super) fn is_final(reason: &str) -> bool {
    reason.starts_with(CERTIFICATE) || reason == NO_TLS
}

/// Explains a failed handshake with this host.
pub(super) fn explained(reason: &str, host: &str) -> String {
    if reason == NO_TLS {
        return format!(
            "{host} does not speak TLS: what it answers is no TLS, plain http perhaps; use a URL with http://, or the \
             port at which it speaks TLS"
        );
    }
    let Some(fault) = reason.strip_prefix(CERTIFICATE) else {
        return format!("{host}: {reason}");
    };
    let dates = || {
        dates(fault)
            .map(|dates| format!(" ({dates})"))
            .unwrap_or_default()
    };
    if fault.contains("CaUsedAsEndEntity") {
        format!(
            "the certificate of {host} is that of an authority (CA:TRUE), as `openssl req -x509` makes it, and no server \
             may use one, although a file of authorities may hold it: make the server's certificate with \
             basicConstraints=CA:FALSE, signed by the authority or by itself, and name the authority's file, or this one, \
             in {WHERE}"
        )
    } else if fault.starts_with("UnknownIssuer") || fault.starts_with("BadSignature") {
        // A signature is bad if an authority of the same name and another key is believed.
        format!(
            "no authority that is believed has signed the certificate of {host}: if it is a company's or an emulator's, \
             name a file with its authority's certificate, in the PEM format, in {WHERE}"
        )
    } else if let Some(names) = fault.strip_prefix("certificate not valid for name ") {
        format!(
            "the certificate of {host} is for another name: not for {names}; use a name in the endpoint's URL that the \
             certificate has"
        )
    } else if fault.starts_with("certificate expired") {
        format!(
            "the certificate of {host} has expired, or this machine's clock is ahead{}: renew the certificate, or set the \
             clock",
            dates()
        )
    } else if fault.starts_with("certificate not valid yet") {
        format!(
            "the certificate of {host} is not valid yet, or this machine's clock is behind{}: set the clock, or wait",
            dates()
        )
    } else {
        format!("the certificate of {host} is refused: {fault}")
    }
}

/// The two times in a text such as `verification time 7 (UNIX), but certificate is not valid after 5 (2 seconds ago)`.
fn dates(fault: &str) -> Option<String> {
    let mut numbers = fault.split(' ').filter_map(|word| word.parse().ok());
    let (now, limit): (i64, i64) = (numbers.next()?, numbers.next()?);
    let utc = |seconds: i64| Utc(Timestamp::from_millis(seconds.saturating_mul(1_000)));
    let bound = match fault.contains("not valid before") {
        true => "from",
        false => "until",
    };
    Some(format!(
        "valid {bound} {}, the clock says {}",
        utc(limit),
        utc(now)
    ))
}

const CERTIFICATE: &str = "invalid peer certificate: ";

/// The first bytes of an answer are no record of TLS.
const NO_TLS: &str = "received corrupt message of type InvalidContentType";

const WHERE: &str = "AWS_CA_BUNDLE, the profile's ca_bundle or ClientBuilder::tls_roots";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_a_certificate_is_explained() {
        for (fault, words) in [
            ("Other(OtherError(CaUsedAsEndEntity))", "CA:FALSE"),
            ("UnknownIssuer", "AWS_CA_BUNDLE"),
            (
                "certificate not valid for name \"127.0.0.1\"; certificate is only valid for DnsName(\"localhost\")",
                "not for \"127.0.0.1\"; certificate is only valid for DnsName(\"localhost\"); use a name",
            ),
            (
                "certificate expired: verification time 1764525600 (UNIX), but certificate is not valid after 1764518400 \
                 (7200 seconds ago)",
                "(valid until 2025-11-30T16:00:00Z, the clock says 2025-11-30T18:00:00Z): renew",
            ),
            (
                "certificate not valid yet: verification time 1764518400 (UNIX), but certificate is not valid before \
                 1764525600 (7200 seconds in future)",
                "(valid from 2025-11-30T18:00:00Z, the clock says 2025-11-30T16:00:00Z): set",
            ),
            ("certificate expired", "clock is ahead: renew"),
            ("BadSignature", "AWS_CA_BUNDLE"),
            ("Revoked", "is refused: Revoked"),
        ] {
            let reason = format!("{CERTIFICATE}{fault}");
            let told = explained(&reason, "localhost:4567");
            assert!(is_final(&reason) && told.contains(words), "{told}");
            assert!(told.contains("of localhost:4567"), "{told}");
        }
        let told = explained(NO_TLS, "localhost:4567");
        assert!(
            is_final(NO_TLS) && told.contains("use a URL with http://"),
            "{told}"
        );
        let alert = "received fatal alert: InternalError";
        assert_eq!(explained(alert, "host"), format!("host: {alert}"));
        assert!(!is_final(alert));
    }
}
