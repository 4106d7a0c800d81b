//! OpenSSH key revocation lists (OpenSSH's `PROTOCOL.krl`, format 1), as far as the broker writes them.
//!
//! Certificates are revoked by serial number, which follows from the lease: the certificate itself is not needed. The
//! list also has to say until when each entry is kept, for which the format has no place; so the header's free comment
//! holds that, as `claviger 1 UNTIL*COUNT ...` over the serials in their order in the file. Servers ignore it.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::provider::ProviderError;
use crate::provider::revocation_file::{Format, KEEP_S};

const MAGIC: &[u8; 8] = b"SSHKRL\n\0";
const FORMAT: u32 = 1;
const SECTION_CERTIFICATES: u8 = 1;
const SERIAL_LIST: u8 = 0x20;
/// What our comment begins with.
const COMMENT: &str = "claviger 1";
/// Ends are rounded up to this, so that the comment stays short.
const STEP_S: i64 = 300;

/// A revoked certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revoked {
    /// Unix seconds from which it need not be listed any more.
    pub(crate) until: i64,
    /// Its serial number.
    pub(crate) serial: u64,
}

/// The revoked certificates of one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// The authority's public key, as on the wire.
    pub(crate) authority: Vec<u8>,
    /// Its revoked certificates.
    pub(crate) revoked: Vec<Revoked>,
}

/// A list of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Krl {
    /// Grows with each change.
    pub(crate) version: u64,
    /// When it was written, in Unix seconds.
    pub(crate) written: u64,
    /// One section for each authority.
    pub(crate) sections: Vec<Section>,
}

impl Krl {
    /// Reads a list. One that revokes nothing may be anybody's; what it says is complete.
    ///
    /// # Errors
    /// Not a list, or not one that the broker wrote; in words for the operator.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Krl, String> {
        let mut reader = Reader(bytes);
        let damaged = || "not a key revocation list, or a damaged one".to_owned();
        if reader.take(MAGIC.len()) != Some(MAGIC) || reader.u32() != Some(FORMAT) {
            return Err(damaged());
        }
        let mut header =
            || Some((reader.u64()?, reader.u64()?, reader.u64()?, reader.string()?, reader.string()?));
        let (version, written, _flags, _reserved, comment) = header().ok_or_else(damaged)?;
        let comment = std::str::from_utf8(comment).ok().and_then(|text| text.strip_prefix(COMMENT));
        let mut ends = Ends::new(comment.unwrap_or_default());
        let mut sections = Vec::new();
        while !reader.0.is_empty() {
            if comment.is_none() || reader.u8() != Some(SECTION_CERTIFICATES) {
                return Err("holds entries of somebody else; give the broker a list of its own".into());
            }
            let body = reader.string().ok_or_else(damaged)?;
            sections.push(Section::parse(body, &mut ends).ok_or_else(damaged)?);
        }
        if ends.next().is_some() {
            return Err(damaged());
        }
        Ok(Krl { version, written, sections })
    }

    /// The list as a server reads it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.written.to_be_bytes());
        out.extend_from_slice(&0_u64.to_be_bytes());
        put_string(&mut out, b"");
        put_string(&mut out, self.comment().as_bytes());
        for section in self.sections.iter().filter(|section| !section.revoked.is_empty()) {
            let mut serials = Vec::with_capacity(section.revoked.len() * 8);
            for revoked in &section.revoked {
                serials.extend_from_slice(&revoked.serial.to_be_bytes());
            }
            let mut body = Vec::with_capacity(serials.len() + section.authority.len() + 16);
            put_string(&mut body, &section.authority);
            put_string(&mut body, b"");
            body.push(SERIAL_LIST);
            put_string(&mut body, &serials);
            out.push(SECTION_CERTIFICATES);
            put_string(&mut out, &body);
        }
        out
    }

    /// The ends of all entries, in their order.
    fn comment(&self) -> String {
        let mut text = COMMENT.to_owned();
        let mut run: Option<(i64, u64)> = None;
        let push = |text: &mut String, run: Option<(i64, u64)>| {
            if let Some((until, count)) = run {
                text.push_str(&format!(" {until}*{count}"));
            }
        };
        for revoked in self.sections.iter().flat_map(|section| &section.revoked) {
            match &mut run {
                Some((until, count)) if *until == revoked.until => *count += 1,
                _ => push(&mut text, run.replace((revoked.until, 1))),
            }
        }
        push(&mut text, run);
        text
    }

    /// Adds entries; says whether any is new. One that is there already is kept for the longer of both times.
    fn add(&mut self, authority: &[u8], add: &[Revoked]) -> bool {
        let index = match self.sections.iter().position(|section| section.authority == authority) {
            Some(index) => index,
            None => {
                self.sections.push(Section { authority: authority.to_owned(), revoked: Vec::new() });
                self.sections.len() - 1
            }
        };
        let revoked = &mut self.sections[index].revoked;
        let mut places: HashMap<u64, usize> =
            revoked.iter().enumerate().map(|(place, known)| (known.serial, place)).collect();
        let mut changed = false;
        for new in add {
            match places.get(&new.serial) {
                Some(place) if revoked[*place].until >= new.until => continue,
                Some(place) => revoked[*place].until = new.until,
                None => {
                    places.insert(new.serial, revoked.len());
                    revoked.push(*new);
                }
            }
            changed = true;
        }
        changed
    }
}

impl Section {
    fn parse(body: &[u8], ends: &mut Ends<'_>) -> Option<Section> {
        let mut reader = Reader(body);
        let authority = reader.string()?.to_owned();
        let _reserved = reader.string()?;
        if reader.u8()? != SERIAL_LIST {
            return None;
        }
        let mut list = Reader(reader.string()?);
        let mut revoked = Vec::with_capacity(list.0.len() / 8);
        while !list.0.is_empty() {
            revoked.push(Revoked { serial: list.u64()?, until: ends.next()? });
        }
        reader.0.is_empty().then_some(Section { authority, revoked })
    }
}

/// The ends that a comment lists.
struct Ends<'a> {
    words: std::str::SplitAsciiWhitespace<'a>,
    run: (i64, u64),
}

impl<'a> Ends<'a> {
    fn new(text: &'a str) -> Ends<'a> {
        Ends { words: text.split_ascii_whitespace(), run: (0, 0) }
    }
}

impl Iterator for Ends<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        while self.run.1 == 0 {
            let (until, count) = self.words.next()?.split_once('*')?;
            self.run = (until.parse().ok()?, count.parse().ok()?);
        }
        self.run.1 -= 1;
        Some(self.run.0)
    }
}

/// Reads the encoding of RFC 4251.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// # Panics
/// Longer than 4 GiB; a list is bounded far below.
fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("lists are far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The lists of one authority's certificates.
pub(crate) struct KrlFormat {
    /// The authority's public key, as on the wire.
    pub(crate) authority: Vec<u8>,
}

impl KrlFormat {
    /// The entry for a certificate that ends at `expires`.
    pub(crate) fn entry(serial: u64, expires: Timestamp) -> Revoked {
        let until = expires.as_second().saturating_add(KEEP_S);
        let rounded = until.saturating_add(STEP_S - 1).div_euclid(STEP_S).saturating_mul(STEP_S);
        Revoked { until: rounded, serial }
    }
}

impl Format for KrlFormat {
    type Entry = Revoked;

    fn update(
        &self,
        old: Option<&[u8]>,
        add: &[Revoked],
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, ProviderError> {
        let mut krl = match old {
            None => Krl::default(),
            Some(bytes) => Krl::parse(bytes)
                .map_err(|what| ProviderError::Misconfigured(format!("the revocation list: {what}")))?,
        };
        let changed = krl.add(&self.authority, add);
        if !changed && old.is_some() {
            return Ok(None);
        }
        let seconds = now.as_second();
        for section in &mut krl.sections {
            section.revoked.retain(|revoked| revoked.until > seconds);
            section.revoked.sort_unstable();
        }
        krl.sections.retain(|section| !section.revoked.is_empty());
        krl.written = u64::try_from(seconds).unwrap_or_default();
        // Grows also when the file was lost in between.
        krl.version = krl.version.saturating_add(1).max(krl.written);
        Ok(Some(krl.encode()))
    }

    fn verify(&self, list: &[u8]) -> Result<(), ProviderError> {
        let parsed = Krl::parse(list);
        parsed.map(drop).map_err(|what| ProviderError::Misconfigured(format!("the revocation list: {what}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sections() -> impl Strategy<Value = Vec<Section>> {
        let revoked = (0_i64..5000, any::<u64>()).prop_map(|(until, serial)| Revoked { until, serial });
        let section = (prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(revoked, 1..40))
            .prop_map(|(authority, revoked)| Section { authority, revoked });
        prop::collection::vec(section, 0..4)
    }

    proptest! {
        #[test]
        fn lists_read_back(version in any::<u64>(), written in any::<u64>(), sections in sections()) {
            let krl = Krl { version, written, sections };
            prop_assert_eq!(Krl::parse(&krl.encode()), Ok(krl));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Krl::parse(&bytes);
        }

        /// A damaged list is refused or read as another list; it never becomes an empty one by being cut.
        #[test]
        fn cut_lists_are_refused(sections in sections(), share in 0.0..1.0) {
            let whole = Krl { version: 1, written: 1, sections }.encode();
            let cut = (whole.len() as f64 * share) as usize;
            prop_assert!(Krl::parse(&whole[..cut]).is_err());
        }

        /// Entries stay until their end, whatever is added and whenever (CVE-2021-29653).
        #[test]
        fn entries_stay_until_their_end(
            steps in prop::collection::vec((0_i64..2000, any::<u64>(), 1_i64..20_000), 1..30),
        ) {
            let format = KrlFormat { authority: b"ca".to_vec() };
            let (mut file, mut clock, mut all) = (None::<Vec<u8>>, 1_000_000, Vec::new());
            for (wait, serial, life) in steps {
                clock += wait;
                let entry = KrlFormat::entry(serial, at(clock + life));
                all.push((serial, clock + life));
                if let Some(new) = format.update(file.as_deref(), &[entry], at(clock)).unwrap() {
                    file = Some(new);
                }
                let listed = Krl::parse(file.as_deref().unwrap()).unwrap();
                for (serial, end) in all.iter().filter(|(_, end)| *end > clock) {
                    prop_assert!(listed.sections[0].revoked.iter().any(|r| r.serial == *serial && r.until >= *end));
                }
            }
        }
    }

    #[test]
    fn entries_go_after_their_end_and_versions_grow() {
        let format = KrlFormat { authority: b"ca".to_vec() };
        let first = format.update(None, &[KrlFormat::entry(7, at(1000))], at(500)).unwrap().unwrap();
        let again = format.update(Some(&first), &[KrlFormat::entry(7, at(1000))], at(501)).unwrap();
        assert_eq!(again, None, "what is there already is not written again");
        let later = format.update(Some(&first), &[KrlFormat::entry(8, at(9000))], at(5000)).unwrap().unwrap();
        let (first, later) = (Krl::parse(&first).unwrap(), Krl::parse(&later).unwrap());
        assert_eq!(later.sections[0].revoked.iter().map(|r| r.serial).collect::<Vec<_>>(), [8]);
        assert!(later.version > first.version);
    }

    #[test]
    fn another_authoritys_entries_stay() {
        let (old, new) = (KrlFormat { authority: b"old".to_vec() }, KrlFormat { authority: b"new".to_vec() });
        let first = old.update(None, &[KrlFormat::entry(1, at(90_000))], at(1)).unwrap().unwrap();
        let second = new.update(Some(&first), &[KrlFormat::entry(2, at(90_000))], at(2)).unwrap().unwrap();
        let krl = Krl::parse(&second).unwrap();
        assert_eq!(krl.sections.iter().map(|s| s.authority.as_slice()).collect::<Vec<_>>(), [b"old", b"new"]);
    }
}
