//! What the targets share.

/// A PNG file with the checksums that its chunks should have, so that mutations of a chunk's body are read; other bytes as
/// they are.
pub fn with_png_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let mut at = 8;
    while bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        let Some(length) = bytes.get(at..at + 4) else { break };
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = at + 8 + length;
        let Some(checked) = bytes.get(at + 4..end) else { break };
        let Some(place) = mended.get_mut(end..end + 4) else { break };
        place.copy_from_slice(&crc32fast::hash(checked).to_be_bytes());
        at = end + 4;
    }
    mended
}
