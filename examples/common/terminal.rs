use std::env;
use std::io::{self, IsTerminal, Write};

use clap::ColorChoice;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Says whether to paint what goes to standard output: on a terminal that was not told not to.
pub fn paints(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        // https://no-color.org
        ColorChoice::Auto => io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none(),
    }
}

/// Writes one line of JSON, painted if that is wanted.
pub fn write_json(mut to: impl Write, value: &impl Serialize, painted: bool) -> io::Result<()> {
    if painted {
        value.serialize(&mut Serializer::with_formatter(
            &mut to,
            Painted(CompactFormatter),
        ))?;
    } else {
        serde_json::to_writer(&mut to, value)?;
    }
    to.write_all(b"\n")
}

/// JSON whose names are blue.
struct Painted(CompactFormatter);

impl Formatter for Painted {
    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(to, first)?;
        to.write_all(b"\x1b[34m")
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b"\x1b[0m")
    }
}
