use std::collections::BTreeMap;
use std::sync::Arc;

use crate::credentials::profile::file::{Profiles, Properties};
use crate::credentials::profile::files::Files;
use crate::credentials::profile::{DEFAULT, PLACE, name_in};
use crate::error::{Error, Result};
use crate::model::Variant;
use crate::sys::env::Env;

/// What the environment and the profile in use say about clients: where services are, and whom to believe.
///
/// The order is botocore's: a variable for one service, the variable for all, the profile's section of services, the
/// profile itself.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>
pub(crate) struct Settings {
    env: Arc<dyn Env>,
    profile: Properties,
    services: BTreeMap<String, Profiles>,
}

impl Settings {
    /// Reads the environment and the files.
    ///
    /// # Errors
    /// `Malformed`: a file is, or the profile that a variable names is in neither. `Config`: a variable is.
    pub fn load(env: Arc<dyn Env>) -> Result<Settings> {
        let files = Files::read(&*env, (None, None))?;
        let named = name_in(&*env)?;
        let name = named.as_deref().unwrap_or(DEFAULT);
        let profile = match files.profile(name) {
            None if named.is_some() => return Err(Error::malformed(PLACE, files.without(name))),
            profile => profile.unwrap_or_default(),
        };
        Ok(Settings {
            env,
            profile,
            services: files.config.services,
        })
    }

    /// A property of the profile; an empty one counts as not set.
    pub fn property(&self, name: &str) -> Option<&str> {
        let value = self.profile.get(name)?.as_str();
        Some(value).filter(|value| !value.is_empty())
    }

    /// The region: `AWS_REGION`, else `AWS_DEFAULT_REGION`, else the profile's.
    pub fn region(&self) -> Option<String> {
        let var = |name| self.env.var(name);
        let set = var("AWS_REGION").or_else(|| var("AWS_DEFAULT_REGION"));
        set.or_else(|| self.property("region").map(str::to_owned))
    }

    /// The URL of a service, if one is set.
    ///
    /// # Errors
    /// `Malformed`: the profile names a section of services that is not there. `Config`: whether to ignore URLs is neither
    /// true nor false.
    pub fn endpoint(&self, service: &str) -> Result<Option<String>> {
        if self.is_true(
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "ignore_configured_endpoint_urls",
        )? {
            return Ok(None);
        }
        let var = |name: &str| self.env.var(name);
        let own = var(&format!(
            "AWS_ENDPOINT_URL_{}",
            service.to_ascii_uppercase()
        ));
        if let Some(url) = own.or_else(|| var("AWS_ENDPOINT_URL")) {
            return Ok(Some(url));
        }
        let url = match self.property("services") {
            Some(section) => self.of_service(section, service)?,
            None => None,
        };
        let url = url.or_else(|| self.property("endpoint_url"));
        Ok(url.map(str::to_owned))
    }

    fn of_service(&self, section: &str, service: &str) -> Result<Option<&str>> {
        let services = self.services.get(section).ok_or_else(|| {
            let lack = format_args!("there is no [services {section}], which it names").to_string();
            Error::malformed(PLACE, lack)
        })?;
        let url = services
            .get(service)
            .and_then(|own| own.get("endpoint_url"));
        Ok(url.map(String::as_str).filter(|url| !url.is_empty()))
    }

    /// Which of a region's endpoints is asked for.
    ///
    /// # Errors
    /// `Config`: a value is neither true nor false. Taken for false, it would send data past a rule that somebody set.
    pub fn variant(&self) -> Result<Variant> {
        Ok(Variant {
            dual_stack: self.is_true("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")?,
            fips: self.is_true("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint")?,
        })
    }

    /// The file of certificate authorities to believe.
    pub fn ca_bundle(&self) -> Option<String> {
        let set = self.env.var("AWS_CA_BUNDLE");
        set.or_else(|| self.property("ca_bundle").map(str::to_owned))
    }

    fn is_true(&self, variable: &str, property: &str) -> Result<bool> {
        let (name, value) = match self.env.var(variable) {
            Some(value) => (variable, value),
            None => (
                property,
                self.property(property).unwrap_or("false").to_owned(),
            ),
        };
        match value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Error::config(name, value, "true or false")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::canned::outside;

    const CONFIG: &str = "[default]\nregion = us-east-1\nendpoint_url = http://all\nservices = mine\nca_bundle = /ca\n\
                          use_fips_endpoint = TRUE\n[services mine]\nkinesis =\n  endpoint_url = http://kinesis\n\
                          [profile bare]\n[profile dangling]\nservices = none\n\
                          [profile ignoring]\nendpoint_url = http://all\nignore_configured_endpoint_urls = true\n\
                          [profile odd]\nuse_dualstack_endpoint = 1\n";

    fn settings(more: &[(&'static str, &'static str)]) -> Result<Settings> {
        let files = [("HOME", "/home"), ("/home/.aws/config", CONFIG)];
        Settings::load(outside(&[&files[..], more].concat(), []).0.env)
    }

    #[test]
    fn an_endpoint_is_looked_for_from_the_narrowest_place_to_the_widest() {
        let own = ("AWS_ENDPOINT_URL_KINESIS", "http://own");
        let all = ("AWS_ENDPOINT_URL", "http://env");
        let bare = ("AWS_PROFILE", "bare");
        for (env, kinesis, sts) in [
            (vec![], Some("http://kinesis"), Some("http://all")),
            (vec![all], Some("http://env"), Some("http://env")),
            (vec![all, own], Some("http://own"), Some("http://env")),
            (vec![own], Some("http://own"), Some("http://all")),
            (vec![bare], None, None),
            (vec![("AWS_PROFILE", "ignoring")], None, None),
            (
                vec![all, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True")],
                None,
                None,
            ),
            (
                vec![
                    ("AWS_PROFILE", "ignoring"),
                    all,
                    ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false"),
                ],
                Some("http://env"),
                Some("http://env"),
            ),
        ] {
            let settings = settings(&env).expect("sound");
            let found = ["kinesis", "sts"].map(|name| settings.endpoint(name).expect("sound"));
            assert_eq!(
                found.each_ref().map(Option::as_deref),
                [kinesis, sts],
                "{env:?}"
            );
        }
    }

    #[test]
    fn other_settings_come_from_the_environment_before_the_profile() {
        let all = settings(&[]).expect("sound");
        assert_eq!(all.region().as_deref(), Some("us-east-1"));
        assert_eq!(all.ca_bundle().as_deref(), Some("/ca"));
        assert_eq!(
            all.variant().expect("sound"),
            Variant {
                dual_stack: false,
                fips: true
            }
        );
        let env = [
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_CA_BUNDLE", "/other"),
            ("AWS_USE_FIPS_ENDPOINT", "false"),
        ];
        let all = settings(&env).expect("sound");
        assert_eq!(all.region().as_deref(), Some("eu-west-1"));
        assert_eq!(all.ca_bundle().as_deref(), Some("/other"));
        assert_eq!(all.variant().expect("sound"), Variant::default());
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_that_names_it() {
        let error = |env: &[(&'static str, &'static str)]| match settings(env) {
            Err(error) => error.to_string(),
            Ok(settings) => {
                let endpoint = settings.endpoint("kinesis").map(drop);
                endpoint
                    .and(settings.variant().map(drop))
                    .expect_err("wrong")
                    .to_string()
            }
        };
        for (env, wrong) in [
            (
                vec![("AWS_PROFILE", "none")],
                "profile is malformed: ~/.aws/config has no [none] (but [bare], [dangling], [default], [ignoring], [odd])",
            ),
            (
                vec![("AWS_PROFILE", "dangling")],
                "profile is malformed: there is no [services none], which it names",
            ),
            (
                vec![("AWS_PROFILE", "odd")],
                "use_dualstack_endpoint: \"1\" is not true or false",
            ),
            (
                vec![("AWS_USE_FIPS_ENDPOINT", "yes")],
                "AWS_USE_FIPS_ENDPOINT: \"yes\" is not true or false",
            ),
            (
                vec![("AWS_PROFILE", " ")],
                "AWS_PROFILE is not set: it has to be the name of a profile; unset it to use [default]",
            ),
            (
                vec![("AWS_PROFILE", "bare"), ("AWS_DEFAULT_PROFILE", "odd")],
                "AWS_PROFILE: \"bare\" is not that of AWS_DEFAULT_PROFILE: set one of the two",
            ),
        ] {
            assert_eq!(error(&env), wrong);
        }
    }
}
