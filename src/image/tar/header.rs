//! Parses headers of a tar file and the extension headers before them: the ustar and pax formats of
//! POSIX, and GNU's long names.

use tar::{EntryType, Header};

/// The block size of a tar file.
pub(crate) const BLOCK: u64 = 512;

/// The values in the extension headers before a member.
#[derive(Default)]
pub(crate) struct Extensions {
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) sparse: bool,
}

/// True if `block` is the header of the first member of a tar file.
pub(crate) fn is_tar(block: &[u8]) -> bool {
    block.len() >= BLOCK as usize && {
        let block = &block[..BLOCK as usize];
        block.iter().any(|byte| *byte != 0) && is_checksum_valid(Header::from_byte_slice(block))
    }
}

/// True if the checksum in the header is correct.
pub(crate) fn is_checksum_valid(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let sum = |of: &dyn Fn(u8) -> i64| -> i64 {
        let outside: i64 = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .map(|b| of(*b))
            .sum();
        outside + 8 * i64::from(b' ')
    };
    match header.cksum() {
        // Some historic programs summed the bytes as signed numbers.
        Ok(stated) => {
            let stated = i64::from(stated);
            stated == sum(&i64::from) || stated == sum(&|byte| i64::from(byte as i8))
        }
        Err(_) => false,
    }
}

/// True for a header that describes the next one.
pub(crate) fn is_extension(kind: EntryType) -> bool {
    kind.is_gnu_longname()
        || kind.is_gnu_longlink()
        || kind.is_pax_local_extensions()
        || kind.is_pax_global_extensions()
}

/// True for a member that has no content, whatever its size field states.
pub(crate) fn has_no_bytes(kind: EntryType) -> bool {
    kind.is_hard_link()
        || kind.is_symlink()
        || kind.is_dir()
        || kind.is_fifo()
        || kind.is_character_special()
        || kind.is_block_special()
}

impl Extensions {
    /// Parses the content of an extension header. `None` if it is malformed.
    pub(crate) fn extend(&mut self, kind: EntryType, bytes: &[u8]) -> Option<()> {
        let until_nul = bytes.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
        if kind.is_gnu_longname() {
            self.name = until_nul;
        } else if kind.is_gnu_longlink() {
            self.link = until_nul;
        } else if kind.is_pax_local_extensions() {
            return parse_pax(bytes, self);
        }
        // Global PAX headers contain comments and times (`git archive` writes one). No reader takes
        // names from them.
        Some(())
    }
}

/// Parses PAX records, `LENGTH KEY=VALUE\n`. Their lengths delimit them, because values may contain
/// line ends (POSIX, `pax`, "pax Extended Header"). `None` if they are malformed.
fn parse_pax(mut bytes: &[u8], extensions: &mut Extensions) -> Option<()> {
    while !bytes.is_empty() && bytes[0] != 0 {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => extensions.name = Some(value.to_vec()),
            b"linkpath" => extensions.link = Some(value.to_vec()),
            b"size" => extensions.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
            _ if key.starts_with(b"GNU.sparse.") => extensions.sparse = true,
            _ => {}
        }
        bytes = &bytes[length..];
    }
    Some(())
}

/// Resolves `name` against `folder`, without `.`, `..` and doubled slashes. The error says why the
/// name is refused.
pub(crate) fn normalize(name: &str, folder: &str) -> Result<String, &'static str> {
    if name.starts_with('/') {
        return Err("its name is absolute");
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or("its name leads out of the archive")?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_normalized_and_refused_if_outside() {
        for (name, folder, expected) in [
            ("./a//b/", "", "a/b"),
            ("../other/layer.tar", "one", "other/layer.tar"),
            ("a/../b", "", "b"),
            ("", "", ""),
        ] {
            assert_eq!(normalize(name, folder).as_deref(), Ok(expected), "{name}");
        }
        for (name, folder) in [("/a", ""), ("..", ""), ("a/../../b", ""), ("../../b", "a")] {
            assert!(normalize(name, folder).is_err(), "{name}");
        }
    }

    #[test]
    fn pax_records_use_their_length_and_last_key_wins() {
        let mut extensions = Extensions::default();
        let bytes = b"9 path=a\n14 comment=\nx\n12 path=b/c\n11 size=12\n\0\0";
        extensions.extend(EntryType::XHeader, bytes).unwrap();
        assert_eq!(extensions.name.unwrap(), b"b/c");
        assert_eq!(extensions.size, Some(12));
        for bad in [
            &b"x"[..],
            b"8 path=a\n",
            b"99 path=a\n",
            b"0 \n",
            b"11 size=xy\n",
        ] {
            let mut extensions = Extensions::default();
            assert!(extensions.extend(EntryType::XHeader, bad).is_none());
        }
    }

    proptest! {
        #[test]
        fn plain_names_stay_inside(name in "[a./]{0,12}", folder in "[ab]{0,2}(/[ab]{1,2})?") {
            if let Ok(normalize) = normalize(&name, &folder) {
                prop_assert!(!normalize.starts_with('/'));
                prop_assert!(normalize.split('/').all(|part| part != ".." && part != "."));
            }
        }

        #[test]
        fn random_header_causes_no_panic(
            bytes in proptest::collection::vec(any::<u8>(), 512),
            kind in any::<u8>(),
        ) {
            let _ = Extensions::default().extend(EntryType::new(kind), &bytes);
            is_tar(&bytes);
        }
    }
}
