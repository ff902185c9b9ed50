//! The format of `~/.aws/config` and `~/.aws/credentials`, read and nothing else.
//!
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>

use std::collections::BTreeMap;

/// The profiles of a file: for each its properties, by their names in lower case.
pub(crate) type Profiles = BTreeMap<String, BTreeMap<String, String>>;

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
pub(crate) fn parse(text: &str, kind: Kind) -> Result<Profiles, String> {
    let mut reader = Reader {
        kind,
        section: Section::None,
        in_settings_of_a_service: false,
        profiles: Profiles::new(),
    };
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let read = reader.read(line);
        read.map_err(|wrong| format!("line {number} {wrong}"))?;
    }
    Ok(reader.profiles)
}

struct Reader {
    kind: Kind,
    section: Section,
    /// Below a property without a value: what is indented there are settings of one service.
    in_settings_of_a_service: bool,
    profiles: Profiles,
}

enum Section {
    None,
    Other,
    Profile(String),
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
        if is_indented && self.in_settings_of_a_service {
            return Ok(());
        }
        match line.split_once('=') {
            Some((name, value)) => self.property(name.trim(), without_comment(value)),
            // The rest of a value that goes over several lines; none of ours does.
            None if is_indented => Ok(()),
            None => Err("is neither a section nor a property nor a comment"),
        }
    }

    fn begin(&mut self, name: &str) {
        let profile = match self.kind {
            Kind::Config if name == "default" => Some(name),
            Kind::Config => name
                .strip_prefix("profile")
                .filter(|rest| rest.starts_with([' ', '\t']))
                .map(str::trim),
            Kind::Credentials => Some(name),
        };
        self.in_settings_of_a_service = false;
        self.section = match profile {
            Some(profile) => {
                self.profiles.entry(profile.to_owned()).or_default();
                Section::Profile(profile.to_owned())
            }
            None => Section::Other,
        };
    }

    fn property(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        self.in_settings_of_a_service = value.is_empty();
        match &self.section {
            Section::None => return Err("is a property outside of any section"),
            Section::Other => {}
            Section::Profile(profile) => {
                let properties = self.profiles.entry(profile.clone()).or_default();
                properties.insert(name.to_ascii_lowercase(), value.to_owned());
            }
        }
        Ok(())
    }
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
        let profiles = parse(text, kind)?;
        let listed = profiles
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
                    s3 =\n  region = x\n  other = y\nregion = z\n  continued\n  role_arn = r\n";
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
}
