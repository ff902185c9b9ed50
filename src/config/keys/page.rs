use crate::config::keys::{Key, Setting, client, consumer, credentials, metrics, millis, producer};

/// A key that is known, for a program's own help; from [`Properties::known`](crate::Properties::known).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownKey {
    /// Its name.
    pub name: &'static str,
    /// Names that are no longer used, and still work.
    pub deprecated: &'static [&'static str],
    /// The values it takes; empty if it has no effect.
    pub takes: String,
    /// What it is when it is not set; empty if that is nothing.
    pub default: String,
    /// What it does, or why it has no effect.
    pub what: String,
}

/// Every key of one of the tables.
pub(in crate::config) fn known() -> [(&'static str, Vec<KnownKey>); 5] {
    [
        ("Calls", rows(client::KEYS)),
        ("Credentials", credentials::rows()),
        ("Consumer", rows(consumer::KEYS)),
        ("Producer", rows(producer::KEYS)),
        ("Upload of metrics", rows(metrics::KEYS)),
    ]
}

fn rows<T: Default>(table: &[Key<T>]) -> Vec<KnownKey> {
    let defaults = T::default();
    let row = |key: &Key<T>| KnownKey {
        name: key.name,
        deprecated: key.deprecated,
        takes: key.setting.takes(),
        default: key.setting.default(&defaults).unwrap_or_default(),
        what: match key.setting {
            Setting::Ignored { because } => format!("Has no effect: {because}."),
            Setting::Refused { because } => format!("Is refused: {because}."),
            _ => key.doc.to_owned(),
        },
    };
    table.iter().map(row).collect()
}

impl<T> Setting<T> {
    /// Writes the default as it would be set.
    fn default(&self, defaults: &T) -> Option<String> {
        match self {
            Setting::Integer { get, .. } => Some(get(defaults).to_string()),
            Setting::Millis { get, .. } => get(defaults).map(|time| millis(time).to_string()),
            Setting::Number { get, .. } => Some(get(defaults).to_string()),
            Setting::Retries { get, .. } => get(defaults).map(|retries| retries.to_string()),
            Setting::Switch { get, .. } => Some(get(defaults).to_string()),
            Setting::Text { default, .. } => Some((*default).to_owned()),
            Setting::Word { words, get, .. } => Some(words[get(defaults)].to_owned()),
            Setting::Ignored { .. } | Setting::Refused { .. } | Setting::Time { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write};
    use std::{env, fs};

    use super::*;

    /// The page as it has to be.
    fn page() -> String {
        let mut page = HEAD.to_owned();
        for (family, keys) in known() {
            let _ = write!(
                page,
                "\n# {family}\n\n| key | values | default | effect |\n| --- | --- | --- | --- |\n"
            );
            for key in keys {
                let default = match &key.default[..] {
                    "" => String::new(),
                    default => format!("`{default}`"),
                };
                let old: String = key
                    .deprecated
                    .iter()
                    .map(|old| format!(" Deprecated name: `{old}`."))
                    .collect();
                let (name, takes, what) = (key.name, &key.takes, key.what.replace('|', "\\|"));
                let _ = writeln!(page, "| `{name}` | {takes} | {default} | {what}{old} |");
            }
        }
        page
    }

    const HEAD: &str = "\
Lists every key that the library reads from [`Properties`](crate::Properties): the keys of Flink's connector and of the
KPL, the keys of Flink's newer source that mean the same, and keys of this library's own.

The library ignores a key that is not listed. If such a name has the form of a Flink or KPL key, the library logs a
warning. With [`Properties::strict`](crate::Properties::strict) it returns an error instead. If a file has a key and its
deprecated name, the value of the deprecated name applies, as in Flink. Each default is in the unit that the values
column names.

These tables are generated from the tables in the code by which the library reads the keys.
";

    #[test]
    fn the_page_has_every_key_as_it_is_read() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/configuration.md");
        if env::var_os("UPDATE_PAGES").is_some() {
            fs::write(path, page()).expect("the page is written");
        }
        let now = fs::read_to_string(path).expect("the page");
        assert!(now == page(), "run this test with UPDATE_PAGES=1");
    }

    fn assert_defaults<T: Clone + Debug + Default + PartialEq>(table: &[Key<T>], leave: &[&str]) {
        for key in table.iter().filter(|key| !leave.contains(&key.name)) {
            let defaults = T::default();
            let Some(default) = key
                .setting
                .default(&defaults)
                .filter(|text| !text.is_empty())
            else {
                continue;
            };
            let mut set = defaults.clone();
            key.apply(&mut set, key.name, &default).expect(key.name);
            assert_eq!(set, defaults, "{}", key.name);
        }
    }

    #[test]
    fn every_default_in_the_tables_is_the_default_in_the_code() {
        // Set or not set makes a difference in the draft, and none in what comes of it.
        let leave = &[
            "ProxyPort",
            "aws.clientconfig.maxConnections",
            "aws.clientconfig.proxyPort",
        ];
        assert_defaults(client::KEYS, leave);
        assert_defaults(
            consumer::KEYS,
            &["flink.stream.initpos", "source.init.position"],
        );
        assert_defaults(producer::KEYS, &[]);
        assert_defaults(metrics::KEYS, &[]);
    }
}
