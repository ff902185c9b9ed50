//! The format of `~/.aws/config` and `~/.aws/credentials`, read and nothing else.
//!
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>

use std::collections::BTreeMap;

/// The properties of a section, by their names in lower case.
pub(crate) type Properties = BTreeMap<String, String>;

/// Sections of one kind, by name.
pub(crate) type Profiles = BTreeMap<String, Properties>;

/// What a file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sections {
    pub profiles: Profiles,
    /// The sections `[sso-session NAME]`.
    pub sso_sessions: Profiles,
    /// The sections `[services NAME]`: for each service its own properties.
    pub services: BTreeMap<String, Profiles>,
}

/// Which of the two files: they name their profiles differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Profiles are called `[profile name]`, and other sections are something else.
    Config,
    /// Every section is a profile.
    Credentials,
}

/// Reads a file's text.
///
/// # Errors
/// What is wrong and in which line. Never quotes the line: it may be a secret.
pub(crate) fn parse(text: &str, kind: Kind) -> Result<Sections, String> {
    let mut reader = Reader {
        kind,
        section: Section::None,
        service: None,
        sections: Sections::default(),
    };
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let read = reader.read(line);
        read.map_err(|wrong| format!("line {number} {wrong}"))?;
    }
    Ok(reader.sections)
}

struct Reader {
    kind: Kind,
    section: Section,
    /// Below a property without a value: what is indented there are settings of the service of that name.
    service: Option<String>,
    sections: Sections,
}

enum Section {
    None,
    Other,
    Profile(String),
    Services(String),
    SsoSession(String),
}

impl Reader {
    fn read(&mut self, line: &str) -> Result<(), &'static str> {
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return Ok(());
        }
        if let Some(header) = line.strip_prefix('[').filter(|_| !is_indented) {
            let (name, _) = header.split_once(']').ok_or("is a section without its ]")?;
            self.begin(name.trim());
            return Ok(());
        }
        let property = line.split_once('=').filter(|_| !line.starts_with('['));
        match (property, &self.service) {
            (property, Some(service)) if is_indented => {
                let service = service.clone();
                self.property_of_service(&service, property);
                Ok(())
            }
            (Some((name, value)), _) => self.property(name.trim(), without_comment(value)),
            // The rest of a value that goes over several lines; none of ours does.
            _ if is_indented => Ok(()),
            _ => Err("is neither a section nor a property nor a comment"),
        }
    }

    fn begin(&mut self, header: &str) {
        self.service = None;
        self.section = match (self.kind, header.split_once([' ', '\t'])) {
            (Kind::Credentials, _) => Section::Profile(header.to_owned()),
            (Kind::Config, None) if header == "default" => Section::Profile(header.to_owned()),
            (Kind::Config, Some(("profile", name))) => Section::Profile(unquoted(name)),
            (Kind::Config, Some(("services", name))) => Section::Services(unquoted(name)),
            (Kind::Config, Some(("sso-session", name))) => Section::SsoSession(unquoted(name)),
            _ => Section::Other,
        };
        // A section without properties is there all the same.
        let sections = &mut self.sections;
        match &self.section {
            Section::None | Section::Other => {}
            Section::Profile(name) => _ = sections.profiles.entry(name.clone()).or_default(),
            Section::Services(name) => _ = sections.services.entry(name.clone()).or_default(),
            Section::SsoSession(name) => _ = sections.sso_sessions.entry(name.clone()).or_default(),
        }
    }

    fn property(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let name = name.to_ascii_lowercase();
        self.service = value.is_empty().then(|| name.clone());
        let properties = match &self.section {
            Section::None => return Err("is a property outside of any section"),
            // Services have properties of their own, indented below their name.
            Section::Other | Section::Services(_) => return Ok(()),
            Section::Profile(profile) => self.sections.profiles.get_mut(profile),
            Section::SsoSession(session) => self.sections.sso_sessions.get_mut(session),
        };
        if let Some(properties) = properties {
            properties.insert(name, value.to_owned());
        }
        Ok(())
    }

    /// Takes an indented line. Only the sections of services have settings of services that are of use here.
    fn property_of_service(&mut self, service: &str, property: Option<(&str, &str)>) {
        let (Section::Services(section), Some((name, value))) = (&self.section, property) else {
            return;
        };
        let services = self.sections.services.entry(section.clone()).or_default();
        let properties = services.entry(service.to_owned()).or_default();
        let name = name.trim().to_ascii_lowercase();
        properties.insert(name, without_comment(value).to_owned());
    }
}

/// `aws configure --profile 'my work'` writes `[profile 'my work']`.
fn unquoted(name: &str) -> String {
    let name = name.trim();
    let inside = |quote: char| name.strip_prefix(quote)?.strip_suffix(quote);
    let inside = inside('\'').or_else(|| inside('"'));
    inside.unwrap_or(name).to_owned()
}

/// A comment behind a value begins with a blank and one of two signs.
fn without_comment(value: &str) -> &str {
    let signs = [" #", " ;", "\t#", "\t;"];
    let end = signs.iter().filter_map(|sign| value.find(sign)).min();
    value[..end.unwrap_or(value.len())].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Listed = Vec<(String, Vec<(String, String)>)>;

    fn read(text: &str, kind: Kind) -> Result<Listed, String> {
        let listed = parse(text, kind)?
            .profiles
            .into_iter()
            .map(|(name, properties)| (name, properties.into_iter().collect()));
        Ok(listed.collect())
    }

    fn expected(profiles: &[(&str, &[(&str, &str)])]) -> Listed {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        profiles
            .iter()
            .map(|(name, properties)| ((*name).to_owned(), properties.iter().map(owned).collect()))
            .collect()
    }

    #[test]
    fn each_file_names_its_profiles_in_its_own_way() {
        let text = "\u{feff}[default]\nregion=us-east-1\n[profile  dev ] # comment\nRegion = eu-west-1 ; comment\r\n\
                    [dev]\nregion = x\n[sso-session s]\nsso_region = y\n[profile empty]\n";
        let config: &[(&str, &[(&str, &str)])] = &[
            ("default", &[("region", "us-east-1")]),
            ("dev", &[("region", "eu-west-1")]),
            ("empty", &[]),
        ];
        assert_eq!(read(text, Kind::Config), Ok(expected(config)));
        let credentials: &[(&str, &[(&str, &str)])] = &[
            ("default", &[("region", "us-east-1")]),
            ("dev", &[("region", "x")]),
            ("profile  dev", &[("region", "eu-west-1")]),
            ("profile empty", &[]),
            ("sso-session s", &[("sso_region", "y")]),
        ];
        assert_eq!(read(text, Kind::Credentials), Ok(expected(credentials)));
    }

    #[test]
    fn values_keep_what_is_theirs_and_settings_of_services_are_passed_over() {
        let text = "# comment\n; comment\n[a]\n  aws_secret_access_key = a=b#c;d/+ #e\n\
                    s3 =\n  region = x\n  other = y\nregion = z\n  continued\n  [x = y\n  role_arn = r\n";
        let profile: &[(&str, &[(&str, &str)])] = &[(
            "a",
            &[
                ("aws_secret_access_key", "a=b#c;d/+"),
                ("region", "z"),
                ("role_arn", "r"),
                ("s3", ""),
            ],
        )];
        assert_eq!(read(text, Kind::Credentials), Ok(expected(profile)));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_never_quoted() {
        for (text, wrong) in [
            ("hidden = x", "line 1 is a property outside of any section"),
            ("[a\nhidden = x", "line 1 is a section without its ]"),
            (
                "[a]\n\nhidden",
                "line 3 is neither a section nor a property nor a comment",
            ),
        ] {
            assert_eq!(read(text, Kind::Config), Err(wrong.to_owned()));
        }
        assert_eq!(read("", Kind::Config), Ok(Vec::new()));
    }

    #[test]
    fn a_name_in_quotes_is_the_name_without_them() {
        for (header, name) in [
            ("profile 'my work'", "my work"),
            ("profile \"my work\"", "my work"),
            ("profile my work", "my work"),
            ("profile\t'plain'", "plain"),
            ("profile 'odd", "'odd"),
            ("profile '", "'"),
        ] {
            let profiles = read(&format!("[{header}]\n"), Kind::Config).expect("sound");
            assert_eq!(profiles, expected(&[(name, &[])]), "{header}");
        }
    }

    #[test]
    fn sections_of_services_and_of_single_sign_on_have_names_of_their_own() {
        let text = "[services mine]\nkinesis =\n  endpoint_url = http://127.0.0.1:1 # here\n  Other=x\n\
                    sts=\n\tendpoint_url=http://127.0.0.1:2\nignored = x\n[profile a]\nservices = mine\n\
                    [sso-session \"corp\"]\nsso_region = eu-west-1\n";
        let sections = parse(text, Kind::Config).expect("sound");
        let mine = &sections.services["mine"];
        assert_eq!(mine["kinesis"]["endpoint_url"], "http://127.0.0.1:1");
        assert_eq!(mine["kinesis"]["other"], "x");
        assert_eq!(mine["sts"]["endpoint_url"], "http://127.0.0.1:2");
        assert_eq!(
            (mine.len(), &*sections.profiles["a"]["services"]),
            (2, "mine")
        );
        assert_eq!(sections.sso_sessions["corp"]["sso_region"], "eu-west-1");
    }
}
