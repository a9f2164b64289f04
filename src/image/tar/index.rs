//! An index of the members of a tar file, built from one pass over the headers. Nothing is
//! unpacked.
//!
//! The headers are parsed by the `tar` crate, but its iterator is not used: it reads long names of
//! any length into memory, and does not tell how much of a truncated file is missing.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use tar::{EntryType, Header};

use super::header::{BLOCK, Extensions, has_no_bytes, is_checksum_valid, is_extension, normalize};
use crate::image::error::{SourceError, quoted};
use crate::image::files::{ByteRange, SourceFiles};

/// The maximum number of members. An image archive has a few for each of at most 127 layers and
/// each platform; a directory of a million files is not an image.
const MAX_MEMBERS: usize = 100_000;

/// The maximum size of a long name or a PAX header. It is far above `PATH_MAX`, and harmless.
const MAX_EXTENSION: u64 = 64 * 1024;

/// The maximum number of links that are followed to a member. It is the kernel's limit for symbolic
/// links.
const MAX_LINKS: usize = 40;

/// The maximum size of all names together, which are kept in memory.
const MAX_NAMES: usize = 32 * 1024 * 1024;

/// The members of a tar file, by name.
#[derive(Debug)]
pub(crate) struct TarIndex {
    file: Arc<File>,
    what: String,
    members: HashMap<String, Member>,
    /// The total length of the names in bytes.
    names: usize,
    /// Why it is refused if it is an image archive: the first link that is absolute or points
    /// outside of the archive, of which a file system has many, or a document that occurs twice.
    refused: Option<String>,
}

#[derive(Clone, Debug)]
enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

impl TarIndex {
    /// Reads the headers of `file`. `what` names it in messages.
    pub(crate) fn scan(file: Arc<File>, what: String) -> Result<Self, SourceError> {
        let length = file
            .metadata()
            .map_err(|cause| SourceError::read(&what, cause))?
            .len();
        let mut index = Self {
            file,
            what,
            members: HashMap::new(),
            names: 0,
            refused: None,
        };
        index.walk(length)?;
        Ok(index)
    }

    fn walk(&mut self, length: u64) -> Result<(), SourceError> {
        let mut position = 0;
        let mut extensions = Extensions::default();
        let mut extended = false;
        let mut headers = 0;
        let mut last = String::new();
        while position < length {
            let mut block = [0; BLOCK as usize];
            let here = &mut block[..BLOCK.min(length - position) as usize];
            self.read(here, position)?;
            if here.iter().all(|byte| *byte == 0) {
                // All readers take one block of zeros as the end of the archive, although writers
                // write two.
                return if extended {
                    Err(self.cut(BLOCK, after(&last)))
                } else {
                    Ok(())
                };
            }
            if (here.len() as u64) < BLOCK {
                return Err(self.cut(position + BLOCK - length, after(&last)));
            }
            headers += 1;
            if headers > MAX_MEMBERS {
                return Err(self.too_many(format!("{MAX_MEMBERS} members")));
            }
            let header = Header::from_byte_slice(&block);
            if !is_checksum_valid(header) {
                return Err(self.damaged(position, "the checksum of a header is wrong"));
            }
            let kind = header.entry_type();
            let stated = match (extensions.size, is_extension(kind)) {
                (Some(size), false) => size,
                _ => self.stated_size(header, position)?,
            };
            position += BLOCK;
            let next = stated
                .checked_next_multiple_of(BLOCK)
                .and_then(|padded| position.checked_add(padded))
                .ok_or_else(|| {
                    self.damaged(position - BLOCK, "the size of a member is impossible")
                })?;
            let end = position + stated;

            if is_extension(kind) {
                if end > length {
                    return Err(self.cut(end - length, after(&last)));
                }
                self.extend(&mut extensions, kind, position, stated)?;
                extended = true;
            } else {
                let extensions = std::mem::take(&mut extensions);
                extended = false;
                let raw = extensions
                    .name
                    .clone()
                    .unwrap_or_else(|| header.path_bytes().into_owned());
                last = String::from_utf8_lossy(&raw).into_owned();
                if end > length {
                    return Err(self.cut(end - length, format!("the member {}", quoted(&last))));
                }
                self.add(header, extensions, &last, position, stated)?;
            }
            position = next;
        }
        // Every writer ends its archive with zeros. Without them it is unknown what else is
        // missing.
        Err(self.cut(2 * BLOCK, "its end mark".to_owned()))
    }

    /// Adds a member, with its name and link target normalized.
    fn add(
        &mut self,
        header: &Header,
        extensions: Extensions,
        raw: &str,
        offset: u64,
        size: u64,
    ) -> Result<(), SourceError> {
        let name = match normalize(raw, "") {
            Ok(name) => name,
            Err(why) => {
                let member = quoted(raw);
                return Err(self.hostile(format!("it contains the member {member}: {why}")));
            }
        };
        self.names += name.len();
        if self.names > MAX_NAMES {
            return Err(self.too_many(format!("{MAX_NAMES} bytes of names")));
        }
        let kind = header.entry_type();
        if kind == EntryType::GNUSparse || extensions.sparse {
            return Err(SourceError::Sparse {
                what: self.what.clone(),
                member: quoted(&name),
            });
        }
        if has_no_bytes(kind) && size > 0 {
            // Some readers would skip that many bytes and others would not, so they would see
            // different archives.
            return Err(self.damaged(offset - BLOCK, "a link or directory has a size"));
        }
        let member = if kind.is_hard_link() || kind.is_symlink() {
            let target = extensions
                .link
                .or_else(|| header.link_name_bytes().map(|link| link.into_owned()))
                .unwrap_or_default();
            let target = String::from_utf8_lossy(&target).into_owned();
            let folder = if kind.is_symlink() {
                name.rsplit_once('/').map_or("", |(folder, _)| folder)
            } else {
                ""
            };
            match normalize(&target, folder) {
                Ok(target) => Member::Link(target),
                Err(_) => {
                    let (name, target) = (quoted(&name), quoted(&target));
                    let why = format!("its {name} is a link to {target}");
                    self.refused.get_or_insert(why);
                    return Ok(());
                }
            }
        } else if kind.is_file() || kind == EntryType::Continuous {
            // Before POSIX a directory was a file whose name ends in a slash.
            if raw.ends_with('/') {
                return Ok(());
            }
            Member::File { offset, size }
        } else {
            return Ok(());
        };
        // The later of two members of the same name wins, as in `tar -x` and `docker load`. The
        // content of a blob is checked against the digest in its name later. The documents that
        // identify the image must be unique, because readers disagree on which of two counts.
        if self.members.insert(name.clone(), member).is_some()
            && ["manifest.json", "index.json", "oci-layout"].contains(&name.as_str())
        {
            self.refused.get_or_insert(format!(
                "it contains `{name}` twice, and programs do not agree which one to use"
            ));
        }
        Ok(())
    }

    fn extend(
        &self,
        extensions: &mut Extensions,
        kind: EntryType,
        offset: u64,
        size: u64,
    ) -> Result<(), SourceError> {
        if size > MAX_EXTENSION {
            return Err(self.damaged(offset - BLOCK, "the name of a member is too long"));
        }
        let mut bytes = vec![0; size as usize];
        self.read(&mut bytes, offset)?;
        extensions.extend(kind, &bytes).ok_or_else(|| {
            self.damaged(offset - BLOCK, "the PAX records of a member are malformed")
        })?;
        Ok(())
    }

    /// Returns the size field. It is ignored for links and directories, and some writers leave it
    /// blank there.
    fn stated_size(&self, header: &Header, position: u64) -> Result<u64, SourceError> {
        match header.entry_size() {
            Ok(size) => Ok(size),
            Err(_) if has_no_bytes(header.entry_type()) => Ok(0),
            Err(_) => Err(self.damaged(position, "the size of a member is not a number")),
        }
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|cause| SourceError::read(&self.what, cause))
    }

    fn too_many(&self, limit: String) -> SourceError {
        SourceError::TooManyMembers {
            what: self.what.clone(),
            limit,
        }
    }

    fn cut(&self, missing: u64, at: String) -> SourceError {
        SourceError::Cut {
            what: self.what.clone(),
            missing,
            at,
        }
    }

    fn hostile(&self, why: String) -> SourceError {
        SourceError::Hostile {
            what: self.what.clone(),
            why,
        }
    }

    fn damaged(&self, position: u64, why: &'static str) -> SourceError {
        SourceError::Damaged {
            what: self.what.clone(),
            position,
            why,
        }
    }

    /// Refuses an archive with a hostile link or a repeated document. It is called once the archive
    /// is known to be an image.
    pub(crate) fn refuse_hostile(&self) -> Result<(), SourceError> {
        let refused = self.refused.clone();
        refused.map_or(Ok(()), |why| Err(self.hostile(why)))
    }

    /// The names of all members with content, in no particular order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }
}

impl SourceFiles for TarIndex {
    fn what(&self) -> &str {
        &self.what
    }

    fn is_directory(&self) -> bool {
        false
    }

    /// Resolves hard and symbolic links between members.
    fn find(&self, name: &str) -> Result<Option<ByteRange>, SourceError> {
        let Ok(mut name) = normalize(name, "") else {
            let member = quoted(name);
            let why = format!("it contains the member {member}: it leads out of the archive");
            return Err(self.hostile(why));
        };
        for _ in 0..MAX_LINKS {
            match self.members.get(&name) {
                Some(Member::File { offset, size }) => {
                    return Ok(Some(ByteRange::within(&self.file, *offset, *size)));
                }
                Some(Member::Link(target)) => name.clone_from(target),
                None => return Ok(None),
            }
        }
        Err(self.hostile(format!("its {} is a link to itself", quoted(&name))))
    }
}

fn after(last: &str) -> String {
    if last.is_empty() {
        "its first header".to_owned()
    } else {
        format!("the header after {}", quoted(last))
    }
}
