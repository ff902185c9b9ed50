use std::path::PathBuf;

use kinesis_blocking::{Client, Properties, Result};

/// Where the service is, and all that a file of properties may say.
#[derive(clap::Args)]
pub struct Service {
    /// Region to sign for [default: AWS_REGION]
    #[arg(long)]
    region: Option<String>,
    /// URL to call in place of the region's endpoint
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// File of Flink's properties and the KPL's; what is given here counts above it
    #[arg(long, value_name = "FILE")]
    properties: Option<PathBuf>,
}

impl Service {
    pub fn properties(&self) -> Result<Properties> {
        match &self.properties {
            Some(file) => Properties::load(file),
            None => Ok(Properties::new()),
        }
    }

    pub fn client(&self, properties: &Properties) -> Result<Client> {
        let mut client = Client::builder().properties(properties)?;
        if let Some(region) = &self.region {
            client = client.region(region);
        }
        if let Some(endpoint) = &self.endpoint {
            client = client.endpoint(endpoint);
        }
        client.build()
    }
}
