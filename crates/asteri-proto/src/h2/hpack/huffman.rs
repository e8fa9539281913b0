//! The Huffman code for strings (RFC 7541 §5.2, Appendix B).
//!
//! The code is canonical: of two symbols the one with fewer bits comes first, then the one with the smaller number, and codes count up.
//! Thus the lengths say it all, and the tables here are made of them when the program is compiled.

use super::Malformed;

/// Symbols: all bytes, and EOS.
const SYMBOLS: usize = 257;
/// The symbol that ends a string, and must not be in one.
const EOS: u16 = 256;
/// Bits of the longest code.
const LONGEST: usize = 30;
/// Bits that [`SHORT`] looks at: two codes of what is frequent in fields, or one of nearly everything that stands in them.
const SHORT_BITS: usize = 12;

/// Bits of the code of each symbol.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

/// All symbols in the order of their codes.
const ORDER: [u16; SYMBOLS] = {
    let mut order = [0; SYMBOLS];
    let (mut length, mut at) = (1, 0);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                order[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    assert!(at == SYMBOLS);
    order
};

/// The code of each symbol, in its last bits.
const CODES: [u32; SYMBOLS] = {
    let mut codes = [0; SYMBOLS];
    let (mut next, mut length, mut at) = (0_u64, 0, 0);
    while at < SYMBOLS {
        let symbol = ORDER[at] as usize;
        while length < LENGTHS[symbol] {
            next <<= 1;
            length += 1;
        }
        codes[symbol] = next as u32;
        next += 1;
        at += 1;
    }
    // No sequence of bits is left without a meaning, so every one of them can be decoded.
    assert!(next == 1 << LONGEST);
    codes
};

/// What bits begin with: one symbol or two.
#[derive(Clone, Copy)]
struct Short {
    symbols: [u8; 2],
    /// Bits of the first symbol's code. 0: it is longer than what was looked at.
    first: u8,
    /// Bits of both codes. The same as `first`: the second is not there as a whole.
    both: u8,
}

/// By the next [`SHORT_BITS`] bits.
static SHORT: [Short; 1 << SHORT_BITS] = {
    let mut short = [Short { symbols: [0; 2], first: 0, both: 0 }; 1 << SHORT_BITS];
    let mut at = 0;
    while at < SYMBOLS && LENGTHS[ORDER[at] as usize] as usize <= SHORT_BITS {
        let one = ORDER[at] as usize;
        let room = SHORT_BITS - LENGTHS[one] as usize;
        let start = (CODES[one] as usize) << room;
        let mut more = 0;
        while more < 1 << room {
            short[start + more] = Short { symbols: [one as u8, 0], first: LENGTHS[one], both: LENGTHS[one] };
            more += 1;
        }
        let mut next = 0;
        while LENGTHS[ORDER[next] as usize] as usize <= room {
            let two = ORDER[next] as usize;
            let left = room - LENGTHS[two] as usize;
            let start = start + ((CODES[two] as usize) << left);
            let mut more = 0;
            while more < 1 << left {
                short[start + more].symbols[1] = two as u8;
                short[start + more].both = LENGTHS[one] + LENGTHS[two];
                more += 1;
            }
            next += 1;
        }
        at += 1;
    }
    short
};

/// All codes of one length.
#[derive(Clone, Copy)]
struct Group {
    length: u32,
    /// The first code behind them, as the first bits of 32.
    end: u64,
    /// Their first code.
    first: u32,
    /// The place of its symbol in [`ORDER`].
    place: usize,
}

/// How many lengths there are beyond what [`SHORT`] knows.
const LONG_LENGTHS: usize = {
    let mut lengths = 0;
    let mut at = 1;
    while at < SYMBOLS {
        let (before, length) = (LENGTHS[ORDER[at - 1] as usize], LENGTHS[ORDER[at] as usize]);
        if length as usize > SHORT_BITS && length != before {
            lengths += 1;
        }
        at += 1;
    }
    lengths
};

/// The codes that [`SHORT`] does not know, shorter ones first.
static LONG: [Group; LONG_LENGTHS] = {
    let mut groups = [Group { length: 0, end: 0, first: 0, place: 0 }; LONG_LENGTHS];
    let (mut found, mut at) = (0, 0);
    while at < SYMBOLS {
        let length = LENGTHS[ORDER[at] as usize];
        if length as usize > SHORT_BITS {
            let (first, place) = (CODES[ORDER[at] as usize], at);
            while at + 1 < SYMBOLS && LENGTHS[ORDER[at + 1] as usize] == length {
                at += 1;
            }
            let end = (CODES[ORDER[at] as usize] as u64 + 1) << (32 - length);
            groups[found] = Group { length: length as u32, end, first, place };
            found += 1;
        }
        at += 1;
    }
    assert!(found == LONG_LENGTHS);
    groups
};

/// Code and length of each byte.
static ENCODE: [(u32, u8); 256] = {
    let mut encode = [(0, 0); 256];
    let mut byte = 0;
    while byte < 256 {
        encode[byte] = (CODES[byte], LENGTHS[byte]);
        byte += 1;
    }
    encode
};

/// Bytes that a text takes when it is coded.
pub(super) fn length(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| usize::from(ENCODE[usize::from(*byte)].1)).sum();
    bits.div_ceil(8)
}

/// Appends a text, coded; `length` is what it takes.
pub(super) fn encode(text: &[u8], length: usize, out: &mut Vec<u8>) {
    out.reserve(length);
    // The last `have` bits are still to be written.
    let (mut bits, mut have) = (0_u64, 0_u32);
    for byte in text {
        let (code, length) = ENCODE[usize::from(*byte)];
        bits = (bits << length) | u64::from(code);
        have += u32::from(length);
        if have >= 32 {
            have -= 32;
            out.extend_from_slice(&((bits >> have) as u32).to_be_bytes());
        }
    }
    while have >= 8 {
        have -= 8;
        out.push((bits >> have) as u8);
    }
    if have > 0 {
        // Padded with the first bits of EOS, which are ones.
        out.push((bits << (8 - have)) as u8 | (0xff >> have));
    }
}

/// Appends the text that `coded` means.
///
/// # Errors
/// It has EOS in it, or does not end with less than eight bits of the beginning of EOS. What was appended then is of no use.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    // No code has less than five bits. Symbols are written two at a time, whether there is a second or not.
    out.resize(start + coded.len() * 8 / 5 + 2, 0);
    let length = decode_into(coded, &mut out[start..])?;
    out.truncate(start + length);
    Ok(())
}

/// Returns how much of `out` is the text.
fn decode_into(coded: &[u8], out: &mut [u8]) -> Result<usize, Malformed> {
    let mut length = 0;
    let mut put = |symbols: [u8; 2], number: usize| {
        if let Some(place) = out.get_mut(length..length + 2) {
            place.copy_from_slice(&symbols);
        }
        length += number;
    };
    let mut rest = coded;
    // The first `have` bits are still to be understood.
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        if let Some(word) = rest.first_chunk::<8>() {
            // What does not fit as a whole byte comes once more in the next turn, at the same place.
            bits |= u64::from_be_bytes(*word) >> have;
            let bytes = (63 - have) / 8;
            have += 8 * bytes;
            rest = &rest[bytes as usize..];
        } else {
            while have <= 56
                && let Some((byte, others)) = rest.split_first()
            {
                bits |= u64::from(*byte) << (56 - have);
                have += 8;
                rest = others;
            }
        }
        while have >= SHORT_BITS as u32 {
            let short = SHORT[(bits >> (64 - SHORT_BITS)) as usize];
            let taken = if short.first > 0 {
                put(short.symbols, 1 + usize::from(short.both > short.first));
                u32::from(short.both)
            } else if have < LONGEST as u32 && !rest.is_empty() {
                break;
            } else {
                let (symbol, taken) = long(bits)?;
                if taken > have {
                    return Err(Malformed::Huffman);
                }
                put([symbol, 0], 1);
                taken
            };
            bits <<= taken;
            have -= taken;
        }
        if rest.is_empty() && have < SHORT_BITS as u32 {
            break;
        }
    }
    loop {
        let short = SHORT[(bits >> (64 - SHORT_BITS)) as usize];
        if short.first == 0 || u32::from(short.first) > have {
            break;
        }
        put([short.symbols[0], 0], 1);
        bits <<= short.first;
        have -= u32::from(short.first);
    }
    // As nothing is behind them, the other bits are zeros.
    if have < 8 && bits == !(u64::MAX >> have) { Ok(length) } else { Err(Malformed::Huffman) }
}

/// The byte whose code these bits begin with, and the length of the code. It is not one of those in [`SHORT`].
fn long(bits: u64) -> Result<(u8, u32), Malformed> {
    let word = bits >> 32;
    let group = LONG.iter().find(|group| word < group.end).ok_or(Malformed::Huffman)?;
    let place = group.place + ((word >> (32 - group.length)) as u32).wrapping_sub(group.first) as usize;
    match ORDER.get(place) {
        Some(symbol) if *symbol < EOS => Ok((*symbol as u8, group.length)),
        _ => Err(Malformed::Huffman),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut out = b"-".to_vec();
        encode(text, length(text), &mut out);
        assert_eq!(out.len(), 1 + length(text));
        out.split_off(1)
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = b"-".to_vec();
        decode(coded, &mut out)?;
        Ok(out.split_off(1))
    }

    /// Bits as text; what is missing to the last byte is filled with ones.
    fn bits(text: &str) -> Vec<u8> {
        let bits: Vec<u8> = text.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
        let byte = |bits: &[u8]| (0..8).fold(0, |byte, at| byte << 1 | bits.get(at).unwrap_or(&1));
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn the_first_and_the_last_code_of_each_length_are_those_of_appendix_b() {
        for (length, first, last) in [
            (5, (48, 0x0), (116, 0x9)),
            (6, (32, 0x14), (117, 0x2d)),
            (7, (58, 0x5c), (122, 0x7b)),
            (8, (38, 0xf8), (90, 0xfd)),
            (10, (33, 0x3f8), (63, 0x3fc)),
            (11, (39, 0x7fa), (124, 0x7fc)),
            (12, (35, 0xffa), (62, 0xffb)),
            (13, (0, 0x1ff8), (126, 0x1ffd)),
            (14, (94, 0x3ffc), (125, 0x3ffd)),
            (15, (60, 0x7ffc), (123, 0x7ffe)),
            (19, (92, 0x7_fff0), (208, 0x7_fff2)),
            (20, (128, 0xf_ffe6), (226, 0xf_ffed)),
            (21, (153, 0x1f_ffdc), (230, 0x1f_ffe8)),
            (22, (129, 0x3f_ffd2), (233, 0x3f_ffeb)),
            (23, (1, 0x7f_ffd8), (239, 0x7f_fff4)),
            (24, (9, 0xff_ffea), (237, 0xff_fff5)),
            (25, (199, 0x1ff_ffec), (235, 0x1ff_ffef)),
            (26, (192, 0x3ff_ffe0), (255, 0x3ff_ffee)),
            (27, (203, 0x7ff_ffde), (254, 0x7ff_fff0)),
            (28, (2, 0xfff_ffe2), (249, 0xfff_fffe)),
            (30, (10, 0x3fff_fffc), (256, 0x3fff_ffff)),
        ] {
            for (symbol, code) in [first, last] {
                assert_eq!((LENGTHS[symbol], CODES[symbol]), (length, code), "symbol {symbol}");
            }
        }
    }

    #[test]
    fn all_codes_are_those_of_appendix_b() {
        // The digest of all codes in a row, as another implementation of the table writes them.
        let all: Vec<u8> = (0..=255).collect();
        let digest = sha1_smol::Sha1::from(coded(&all)).digest().to_string();
        assert_eq!(digest, "128a9e97f330928f20ba2b22571b3cba056bbb13");
    }

    #[test]
    fn all_pairs_of_bytes_survive_at_every_bit() {
        for one in 0..=255 {
            for two in 0..=255 {
                // As "0" takes five bits, they begin at each bit of a byte, with much or nothing behind them.
                let before = usize::from(one ^ two) % 8;
                for behind in [0, 20] {
                    let text = [&b"0".repeat(before)[..], &[one, two], &b"0".repeat(behind)].concat();
                    assert_eq!(decoded(&coded(&text)), Ok(text));
                }
            }
        }
        assert_eq!((coded(b""), decoded(b"")), (Vec::new(), Ok(Vec::new())));
    }

    #[test]
    fn less_than_a_byte_of_ones_ends_a_string() {
        for zeros in 0..16 {
            // "00000" is the code of 0.
            let text = "00000".repeat(zeros);
            let ones = text.len().next_multiple_of(8) - text.len();
            let plain = b"0".repeat(zeros);
            assert_eq!(decoded(&bits(&text)), Ok(plain.clone()), "{ones} ones");
            for more in 1..5 {
                let ones = "1".repeat(ones + 8 * more);
                assert_eq!(decoded(&bits(&format!("{text}{ones}"))), Err(Malformed::Huffman), "{} ones", ones.len());
            }
            for wrong in 0..ones {
                let mut padding = "1".repeat(ones);
                padding.replace_range(wrong..=wrong, "0");
                let found = decoded(&bits(&format!("{text}{padding}")));
                // Five bits can be another symbol.
                assert!(
                    found == Err(Malformed::Huffman)
                        || (ones >= 5 && found.is_ok_and(|found| found.len() == zeros + 1))
                );
            }
        }
    }

    #[test]
    fn no_string_has_eos_in_it_or_ends_within_a_code() {
        let eos = "1".repeat(30);
        for text in [format!("{eos}11"), format!("00000{eos}"), format!("{eos}00000"), format!("11111000{eos}00000")] {
            assert_eq!(decoded(&bits(&text)), Err(Malformed::Huffman), "{text}");
        }
        for byte in (0..=255_u8).filter(|byte| LENGTHS[usize::from(*byte)] > 15) {
            let whole = coded(&[byte]);
            for cut in 1..whole.len() {
                assert_eq!(decoded(&whole[..cut]), Err(Malformed::Huffman), "{byte}");
            }
        }
    }
}
