//! An entry of a pack: its header and its packed bytes (gitformat-pack(5), "pack-*.pack files").

use libdeflater::Decompressor;

/// What an entry's header says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form<'a> {
    Whole(Kind),
    /// A delta; its base begins so many bytes before it.
    Offset(u64),
    /// A delta; the id of its base.
    Reference(&'a [u8]),
}

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
    /// It cannot be told from the pack alone: the base is elsewhere, or the entry is damaged.
    Unknown,
}

/// A header, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) form: Form<'a>,
    /// Bytes of what is packed: the object, or the delta.
    pub(super) size: u64,
    /// Bytes of the header itself.
    pub(super) length: usize,
}

/// Reads the header at the start of these bytes. `width` is that of an id.
pub(super) fn header(bytes: &[u8], width: usize) -> Option<Header<'_>> {
    let first = *bytes.first()?;
    let mut size = u64::from(first & 0x0f);
    let (mut at, mut shift, mut more) = (1, 4, first & 0x80 != 0);
    while more {
        let byte = *bytes.get(at)?;
        size |= u64::from(byte & 0x7f).checked_shl(shift).filter(|_| shift < 57)?;
        at += 1;
        shift += 7;
        more = byte & 0x80 != 0;
    }
    let form = match first >> 4 & 7 {
        1 => Form::Whole(Kind::Commit),
        2 => Form::Whole(Kind::Tree),
        3 => Form::Whole(Kind::Blob),
        4 => Form::Whole(Kind::Tag),
        6 => {
            let mut byte = *bytes.get(at)?;
            let mut back = u64::from(byte & 0x7f);
            at += 1;
            while byte & 0x80 != 0 {
                byte = *bytes.get(at)?;
                // Each further byte adds one, so that no distance can be written in two ways.
                back = back.checked_add(1).filter(|b| *b < 1 << 56)? << 7 | u64::from(byte & 0x7f);
                at += 1;
            }
            Form::Offset(back)
        }
        7 => {
            let id = bytes.get(at..at + width)?;
            at += width;
            Form::Reference(id)
        }
        _ => return None,
    };
    Some(Header { form, size, length: at })
}

/// Inflates into a buffer, whose content is replaced. `false` when the bytes are damaged or do not hold exactly
/// `size` bytes; the caller has checked that a buffer of this size is acceptable.
pub(super) fn inflate(zlib: &mut Decompressor, bytes: &[u8], size: usize, out: &mut Vec<u8>) -> bool {
    // What the buffer held is overwritten, so only what it grows by is cleared.
    out.resize(size, 0);
    zlib.zlib_decompress(bytes, out).is_ok_and(|written| written == size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let got = |bytes: &'static [u8]| header(bytes, 2).map(|h| (h.form, h.size, h.length));
        assert_eq!(got(&[0x35]), Some((Form::Whole(Kind::Blob), 5, 1)));
        assert_eq!(got(&[0xb5, 0x01]), Some((Form::Whole(Kind::Blob), 21, 2)));
        assert_eq!(got(&[0x61, 0x80, 0x00]), Some((Form::Offset(128), 1, 3)));
        assert_eq!(got(&[0x71, 7, 8]), Some((Form::Reference(&[7, 8]), 1, 3)));
    }

    #[test]
    fn what_is_no_header() {
        for bytes in [&[][..], &[0x00], &[0x50], &[0xb5], &[0x60], &[0x60, 0x80], &[0x70, 1]] {
            assert_eq!(header(bytes, 2), None, "{bytes:?}");
        }
        let endless = [0xff; 40];
        assert_eq!(header(&endless, 20), None);
        let far = [&[0x60][..], &[0xff; 40]].concat();
        assert_eq!(header(&far, 20), None);
    }
}
