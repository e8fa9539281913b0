//! Understands the field blocks of a peer (RFC 7541 §3.2, §6).

use super::dynamic_table::DynamicTable;
use super::primitives::{Text, integer, text};
use super::{INITIAL_LIMIT, Malformed, static_table};
use std::fmt;

/// Bytes of scratch space that are kept from one block to the next.
const KEPT_SCRATCH: usize = 4096;

/// One direction of a connection, on the side that receives.
pub struct Decoder {
    pub(super) table: DynamicTable,
    /// What we have announced.
    limit: usize,
    /// The strings of one field line that were Huffman-coded, and the name of one that is about to be added to the table.
    pub(super) scratch: Vec<u8>,
}

/// Without what peers have sent.
impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("table", &self.table).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Decoder {
    /// `limit` is the `SETTINGS_HEADER_TABLE_SIZE` that we have announced, in bytes; without that setting it is 4096.
    ///
    /// The table itself starts at 4096 bytes in any case: that is what a peer uses until it has seen our settings and said so
    /// (RFC 7541 §4.2).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { table: DynamicTable::new(INITIAL_LIMIT), limit, scratch: Vec::new() }
    }

    /// Understands a whole field block, all fragments of it put together, and calls `each` with name and value of every field line in
    /// order. The table is kept up to date whatever the caller thinks of the fields, so `each` cannot fail.
    ///
    /// One byte can stand for a field as large as the table. Whoever keeps the fields has to count what they take.
    ///
    /// # Errors
    /// It cannot be understood. No block that comes later can be either: the decoder must not be used again.
    pub fn decode(&mut self, block: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Malformed> {
        let mut rest = block;
        let mut begun = false;
        while let Some((first, others)) = rest.split_first() {
            rest = others;
            match first {
                0x80.. => {
                    let index = integer(*first, 7, &mut rest)?;
                    let (name, value) = entry(&self.table, index)?;
                    each(name, value);
                }
                0x40.. => self.added(integer(*first, 6, &mut rest)?, &mut rest, &mut each)?,
                0x20.. => {
                    let limit = integer(*first, 5, &mut rest)?;
                    if begun || limit > self.limit {
                        return Err(Malformed::SizeUpdate);
                    }
                    self.table.set_limit(limit);
                    continue;
                }
                // Whether it may be indexed by others (RFC 7541 §6.2.2, §6.2.3) is of no interest here.
                _ => self.passing(integer(*first, 4, &mut rest)?, &mut rest, &mut each)?,
            }
            begun = true;
        }
        if self.scratch.capacity() > KEPT_SCRATCH {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    /// A literal that becomes an entry (RFC 7541 §6.2.1). `index` is that of its name, or 0.
    fn added(&mut self, index: usize, rest: &mut &[u8], each: &mut impl FnMut(&[u8], &[u8])) -> Result<(), Malformed> {
        self.scratch.clear();
        let name = if index == 0 {
            text(rest, &mut self.scratch)?
        } else if let Some((name, _)) = static_table::get(index) {
            Text::Plain(name)
        } else {
            // The entry that has the name may have to leave for the new one (RFC 7541 §4.4).
            self.scratch.extend_from_slice(entry(&self.table, index)?.0);
            Text::Decoded(0..self.scratch.len())
        };
        let value = text(rest, &mut self.scratch)?;
        let (name, value) = (name.of(&self.scratch), value.of(&self.scratch));
        each(name, value);
        self.table.add(name, value);
        Ok(())
    }

    /// A literal that does not become an entry (RFC 7541 §6.2.2, §6.2.3). `index` is that of its name, or 0.
    fn passing(
        &mut self,
        index: usize,
        rest: &mut &[u8],
        each: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        self.scratch.clear();
        let name = if index == 0 { text(rest, &mut self.scratch)? } else { Text::Plain(entry(&self.table, index)?.0) };
        let value = text(rest, &mut self.scratch)?;
        each(name.of(&self.scratch), value.of(&self.scratch));
        Ok(())
    }
}

/// Name and value of the entry with this index: those of the static table come first (RFC 7541 §2.3.3).
fn entry(table: &DynamicTable, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
    match static_table::get(index) {
        Some(entry) => Ok(entry),
        None => table.get(index.wrapping_sub(static_table::LENGTH + 1)).ok_or(Malformed::Index),
    }
}
