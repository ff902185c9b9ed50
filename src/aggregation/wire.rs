//! The part of protobuf's wire format that an aggregate needs, read in place.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. What is left open there is settled
//! as in protobuf-java, which the KCL uses: unknown fields and known fields of another wire type are
//! stepped over, groups nest to 100.

/// What is wrong with a message, for an error's text.
pub(super) type Problem = &'static str;

/// A field's value, as far as this format has a use for it.
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A fixed-width number or a group: no field of an aggregate is one.
    Skipped,
}

/// One field of a message.
pub(super) struct Field<'a> {
    pub(super) number: u64,
    pub(super) value: Value<'a>,
}

/// Iterates over the fields of a message.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl<'a> Fields<'a> {
    /// Starts at the first field of a message that lies `depth` messages deep.
    pub(super) fn new(message: &'a [u8], depth: usize) -> Fields<'a> {
        Fields {
            rest: message,
            depth,
        }
    }

    /// Returns what is still to be read.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline(always)]
    fn bytes_field(&mut self, number: u64, rest: &'a [u8]) -> Result<Field<'a>, Problem> {
        self.rest = rest;
        let value = Value::Bytes(self.bytes()?);
        Ok(Field { number, value })
    }

    fn read_field(&mut self) -> Result<Field<'a>, Problem> {
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            WIRE_VARINT => Value::Varint(self.varint()?),
            WIRE_BYTES => Value::Bytes(self.bytes()?),
            WIRE_END_GROUP => return Err("a group ends that never began"),
            other => self.skip(number, other, self.depth)?,
        };
        Ok(Field { number, value })
    }

    #[inline(always)]
    fn tag(&mut self) -> Result<(u64, u64), Problem> {
        match self.rest {
            [tag @ 0x08..0x80, rest @ ..] => {
                self.rest = rest;
                Ok((u64::from(*tag >> 3), u64::from(*tag & 7)))
            }
            _ => self.long_tag(),
        }
    }

    #[cold]
    fn long_tag(&mut self) -> Result<(u64, u64), Problem> {
        let tag = self.varint()?;
        match tag >> 3 {
            0 => Err("a field has the number 0"),
            MAX_FIELD_NUMBER.. => Err("a field number is too high"),
            number => Ok((number, tag & 7)),
        }
    }

    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64, Problem> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Problem> {
        let mut number = 0;
        for (at, &byte) in self.rest.iter().enumerate().take(MAX_VARINT_LEN) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                let overflows = at == MAX_VARINT_LEN - 1 && byte > 1;
                return if overflows {
                    Err(VARINT_TOO_LONG)
                } else {
                    Ok(number)
                };
            }
        }
        Err(if self.rest.len() < MAX_VARINT_LEN {
            "a number is cut off"
        } else {
            VARINT_TOO_LONG
        })
    }

    #[inline(always)]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Problem> {
        let len = self.varint()?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    #[inline(always)]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or("a length runs past the end")?;
        self.rest = rest;
        Ok(taken)
    }

    fn skip(&mut self, number: u64, wire_type: u64, depth: usize) -> Result<Value<'a>, Problem> {
        match wire_type {
            WIRE_VARINT => self.varint().map(drop)?,
            WIRE_FIXED_64 => self.take(8).map(drop)?,
            WIRE_BYTES => self.bytes().map(drop)?,
            WIRE_START_GROUP => self.skip_group(number, depth + 1)?,
            WIRE_FIXED_32 => self.take(4).map(drop)?,
            _ => return Err("a wire type is unknown"),
        }
        Ok(Value::Skipped)
    }

    /// Steps over the rest of a group; the limit on `depth` bounds the recursion.
    fn skip_group(&mut self, group: u64, depth: usize) -> Result<(), Problem> {
        if depth > MAX_DEPTH {
            return Err("groups are nested too deeply");
        }
        loop {
            match self.tag()? {
                (number, WIRE_END_GROUP) if number == group => return Ok(()),
                (_, WIRE_END_GROUP) => return Err("a group ends that never began"),
                (number, wire_type) => self.skip(number, wire_type, depth).map(drop)?,
            }
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Problem>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        match self.rest {
            [] => None,
            // The fields of the outer message, told at once: nearly all that there are.
            [TAG_RECORD, rest @ ..] => Some(self.bytes_field(3, rest)),
            [TAG_PARTITION_KEY, rest @ ..] => Some(self.bytes_field(1, rest)),
            _ => Some(self.read_field()),
        }
    }
}

/// Appends a number as a varint.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        // The low seven bits, with the mark that more follow.
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Returns the bytes that a number takes as a varint, 1 to 10.
#[inline]
pub(super) fn varint_len(number: u64) -> usize {
    match number {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        // One byte for each started seven bits.
        _ => (70 - number.leading_zeros() as usize) / 7,
    }
}

/// `AggregatedRecord.partition_key_table = 1`, length-delimited.
pub(super) const TAG_PARTITION_KEY: u8 = 0x0a;
/// `AggregatedRecord.explicit_hash_key_table = 2`, length-delimited.
pub(super) const TAG_EXPLICIT_HASH_KEY: u8 = 0x12;
/// `AggregatedRecord.records = 3`, length-delimited.
pub(super) const TAG_RECORD: u8 = 0x1a;
/// `Record.partition_key_index = 1`, a varint; written also when it is 0, being `required`.
pub(super) const TAG_PARTITION_KEY_INDEX: u8 = 0x08;
/// `Record.explicit_hash_key_index = 2`, a varint.
pub(super) const TAG_EXPLICIT_HASH_KEY_INDEX: u8 = 0x10;
/// `Record.data = 3`, length-delimited; written also when it is empty, being `required`.
pub(super) const TAG_DATA: u8 = 0x1a;
/// `Record.tags = 4`, length-delimited.
#[cfg(feature = "client")]
pub(super) const TAG_TAGS: u8 = 0x22;
/// `Tag.key = 1`, length-delimited.
#[cfg(feature = "client")]
pub(super) const TAG_TAG_KEY: u8 = 0x0a;
/// `Tag.value = 2`, length-delimited.
#[cfg(feature = "client")]
pub(super) const TAG_TAG_VALUE: u8 = 0x12;

const VARINT_TOO_LONG: Problem = "a number is longer than 64 bits";
const WIRE_VARINT: u64 = 0;
const WIRE_FIXED_64: u64 = 1;
const WIRE_BYTES: u64 = 2;
const WIRE_START_GROUP: u64 = 3;
const WIRE_END_GROUP: u64 = 4;
const WIRE_FIXED_32: u64 = 5;

/// A varint's bytes at most: 64 bits, seven to a byte.
const MAX_VARINT_LEN: usize = 10;

/// Field numbers end below 2^29: <https://protobuf.dev/programming-guides/proto2/#assigning>.
const MAX_FIELD_NUMBER: u64 = 1 << 29;

/// Messages and groups within each other, as `CodedInputStream` of protobuf-java has it.
const MAX_DEPTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_is_read_as_it_was_written_and_its_length_is_known() {
        let edges = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for number in edges.chain([u64::MAX]) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(bytes.len(), varint_len(number), "{number}");
            let mut fields = Fields::new(&bytes, 0);
            assert_eq!(fields.varint(), Ok(number));
            assert_eq!(fields.rest().len(), 0);
            let mut cut = Fields::new(&bytes[..bytes.len() - 1], 0);
            assert_eq!(cut.varint(), Err("a number is cut off"), "{number}");
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        for (last, read) in [
            (&[1][..], Ok(1 << 63)),
            (&[2], Err(VARINT_TOO_LONG)),
            (&[0x80, 0], Err(VARINT_TOO_LONG)),
        ] {
            let bytes = [&[0x80; 9][..], last].concat();
            assert_eq!(Fields::new(&bytes, 0).varint(), read, "{last:?}");
        }
    }

    #[test]
    fn groups_nest_to_a_hundred() {
        for (depth, problem) in [
            (100, None),
            (101, Some("groups are nested too deeply")),
            (100_000, Some("groups are nested too deeply")),
        ] {
            let message = [vec![0x4b; depth], vec![0x4c; depth]].concat();
            let read: Result<Vec<_>, _> = Fields::new(&message, 0).collect();
            assert_eq!(read.err(), problem, "{depth}");
        }
    }

    #[test]
    fn what_is_no_message_is_told_by_its_problem() {
        for (message, problem) in [
            (&[0x00][..], "a field has the number 0"),
            (&[0x0a, 5, 1], "a length runs past the end"),
            (&[0x0a, 0xff], "a number is cut off"),
            (&[0x0b, 0x14], "a group ends that never began"),
            (&[0x0c], "a group ends that never began"),
            (&[0x0e], "a wire type is unknown"),
            (
                &[0x80, 0x80, 0x80, 0x80, 0x10],
                "a field number is too high",
            ),
        ] {
            let read: Result<Vec<_>, _> = Fields::new(message, 0).collect();
            assert_eq!(read.err(), Some(problem), "{message:x?}");
        }
    }
}
