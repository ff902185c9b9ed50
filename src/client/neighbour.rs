//! Calls to other services of AWS, by the way that this client's own calls take.

use bytes::Bytes;
use http::{Request, Response, Uri};

use crate::client::{Client, endpoint};
use crate::credentials::{CredentialsProvider, Settings, sts};
use crate::error::{Error, Result, Verdict};
use crate::http::encoding_refused;
use crate::model::{self, Variant};
use crate::sign::sign;
use crate::sys::clock::Clock;

impl Client {
    /// Where a service is: as the environment or the profile says, else the region's public endpoint. `id` is its name in
    /// settings, `host` the one in URLs.
    ///
    /// # Errors
    /// A setting is malformed.
    pub(crate) fn endpoint_of(&self, id: &str, host: &str) -> Result<String> {
        let settings = Settings::load(self.shared.sys.env.clone())?;
        Ok(match settings.endpoint(id)? {
            Some(url) => url,
            None => model::endpoint(host, &self.shared.region, Variant::default()),
        })
    }

    /// Posts a form of the query protocol, once unless the clock has to be corrected; with other
    /// credentials than the client's if given.
    ///
    /// # Errors
    /// `Service`, `Transport`, whatever the provider says; `Config` for an endpoint that is no URL.
    pub(crate) fn post_form(
        &self,
        service: &str,
        url: &str,
        body: Bytes,
        provider: Option<&dyn CredentialsProvider>,
    ) -> Result<Response<Bytes>> {
        let shared = &*self.shared;
        let provider = provider.unwrap_or(&shared.credentials);
        let (uri, credentials) = (endpoint::parse(url)?, provider.credentials()?);
        let send = |signed_at| {
            let mut request = form_to(&uri, body.clone())?;
            sign(
                &mut request,
                &credentials,
                &shared.region,
                service,
                signed_at,
            )?;
            let answered = shared.transport.round_trip(request, shared.request_timeout);
            answered.map_err(Error::from)
        };
        let clock = &shared.signing_clock;
        let signed_at = clock.wall();
        let response = send(signed_at)?;
        let Some(error) = refusal(&response) else {
            return Ok(response);
        };
        if error.verdict() == Verdict::RefreshCredentials {
            provider.refused(&credentials);
        }
        if !clock.is_corrected_by(error.kind(), response.headers(), signed_at) {
            return Err(error);
        }
        let response = send(clock.wall())?;
        refusal(&response).map_or(Ok(response), Err)
    }
}

fn refusal(response: &Response<Bytes>) -> Option<Error> {
    let status = response.status();
    let refused = || sts::refusal(status.as_u16(), response.body());
    encoding_refused(response).or_else(|| (!status.is_success()).then(refused))
}

fn form_to(uri: &Uri, body: Bytes) -> Result<Request<Bytes>> {
    let host = uri.authority().map_or("", |authority| authority.as_str());
    Request::post(uri)
        .header("host", host)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .map_err(|error| Error::malformed("request", error))
}
