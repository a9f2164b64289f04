//! The bytes of a blob.

use bytes::Bytes;
use futures_util::stream::BoxStream;

/// The bytes of a blob, in chunks as they are read.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;
