//! Arbitrary bytes as the field blocks of one connection, one after the other.
//!
//! The first byte says what was announced and what the peer announces; then comes each block behind a byte with its length. Checked: nothing
//! panics; what a block means does not depend on who asks; what was understood survives the encoder, whatever is in its table.

#![no_main]

use asteri_proto::h2::hpack::{Decoder, Encoder, Malformed};
use libfuzzer_sys::fuzz_target;

/// What `SETTINGS_HEADER_TABLE_SIZE` can be, in bytes.
const LIMITS: [u32; 4] = [4096, 0, 200, 16_384];

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fuzz_target!(|input: &[u8]| {
    let Some((how, mut rest)) = input.split_first() else { return };
    let limit = |bits: u8| LIMITS[usize::from(bits % 4)];
    let mut decoders = [0; 2].map(|_| Decoder::new(limit(*how) as usize));
    let (mut encoder, mut peer) = (Encoder::new(), Decoder::new(4096));
    encoder.set_limit(limit(how >> 2));
    while let Some((length, behind)) = rest.split_first() {
        let (block, others) = behind.split_at(behind.len().min(usize::from(*length)));
        rest = others;
        let [fields, again] = decoders.each_mut().map(|decoder| decoded(decoder, block));
        assert_eq!(fields, again);
        let Ok(fields) = fields else { return };

        if *how & 0x10 != 0 {
            encoder.set_limit(limit(*length));
        }
        let mut out = Vec::new();
        encoder.begin(&mut out);
        for (name, value) in &fields {
            encoder.field(&mut out, name, value);
        }
        assert_eq!(decoded(&mut peer, &out), Ok(fields));
    }
});

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Malformed> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| fields.push((name.to_vec(), value.to_vec())))?;
    Ok(fields)
}
