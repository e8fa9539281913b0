//! The static table (RFC 7541 §2.3.1, Appendix A), and how the encoder finds names in it.

use super::dynamic_table::digest;

/// The entries. The index of the first is 1.
pub(super) static ENTRIES: [(&[u8], &[u8]); LENGTH] = TABLE;

/// The number of entries.
pub(super) const LENGTH: usize = 61;
/// The index of the first `:status`.
pub(super) const STATUS: usize = 8;

/// Entries with one name stand side by side.
#[rustfmt::skip]
pub(super) const TABLE: [(&[u8], &[u8]); LENGTH] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// Places for names, by the first bits of their digests: more than twice as many as there are names.
const PLACES: usize = 128;

/// The index of the first entry with a name, at the place of its digest or at one of the next. 0: nothing is there.
static INDEXES: [u8; PLACES] = {
    let mut indexes = [0; PLACES];
    let mut index = 1;
    while index <= LENGTH {
        let name = TABLE[index - 1].0;
        if index == 1 || !same(name, TABLE[index - 2].0) {
            let mut place = place(digest(name));
            while indexes[place] != 0 {
                place = (place + 1) % PLACES;
            }
            indexes[place] = index as u8;
        }
        index += 1;
    }
    indexes
};

/// The last index whose entry has the name of the one before.
const LAST_REPEATED: usize = {
    let mut index = LENGTH;
    while !same(TABLE[index - 1].0, TABLE[index - 2].0) {
        index -= 1;
    }
    index
};

const fn place(digest: u64) -> usize {
    (digest >> (64 - PLACES.ilog2())) as usize
}

/// Equality when the program is compiled.
pub(super) const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The entry with this index.
pub(super) fn get(index: usize) -> Option<(&'static [u8], &'static [u8])> {
    ENTRIES.get(index.wrapping_sub(1)).copied()
}

/// The index of the first entry with this name, whose digest is given.
pub(super) fn find_name(name: &[u8], digest: u64) -> Option<usize> {
    let mut place = place(digest);
    loop {
        let index = usize::from(INDEXES[place]);
        // A third of the places and more are empty, so there is an end.
        if get(index)?.0 == name {
            return Some(index);
        }
        place = (place + 1) % PLACES;
    }
}

/// The index of the entry with this name and this value, where `first` is the index of the first entry with the name.
pub(super) fn find_value(first: usize, name: &[u8], value: &[u8]) -> Option<usize> {
    if first > LAST_REPEATED {
        return (get(first)?.1 == value).then_some(first);
    }
    let same_name = ENTRIES.get(first.wrapping_sub(1)..)?.iter().take_while(|entry| entry.0 == name);
    same_name.map(|entry| entry.1).position(|known| known == value).map(|behind| first + behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_and_nothing_else() {
        for (at, (name, value)) in ENTRIES.iter().enumerate() {
            assert_eq!(get(at + 1), Some((*name, *value)));
            let first = find_name(name, digest(name)).expect("it is there");
            assert_eq!(ENTRIES.iter().position(|entry| entry.0 == *name), Some(first - 1));
            assert_eq!(find_value(first, name, value), Some(at + 1));
            assert_eq!(find_value(first, name, b"another"), None);
            for stranger in
                [&name[1..], &name[..name.len() - 1], &[name, &b"s"[..]].concat(), &name.to_ascii_uppercase()]
            {
                assert_eq!(find_name(stranger, digest(stranger)), None);
            }
        }
        assert_eq!((get(0), get(LENGTH + 1), get(usize::MAX)), (None, None, None));
        assert_eq!(get(STATUS), Some((&b":status"[..], &b"200"[..])));
        for stranger in [&b""[..], b"x", b"x-request-id", &[0xff; 1000]] {
            assert_eq!(find_name(stranger, digest(stranger)), None);
        }
    }
}
