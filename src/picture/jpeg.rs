//! JPEG: the headers of a file, for whoever looks into them, and below the decoder.

mod bits;
mod frame;
mod idct;
mod rows;
mod scan;

pub(crate) use frame::Frame;

/// One segment of a JPEG file's headers.
pub(crate) struct JpegSegment<'a> {
    /// Second byte of its marker.
    pub marker: u8,
    /// What follows the length field.
    pub body: &'a [u8],
}

/// The segments of a JPEG file up to and including the head of its first scan; ends early where the file is broken.
pub(crate) fn jpeg_segments(bytes: &[u8]) -> impl Iterator<Item = JpegSegment<'_>> {
    const START_OF_IMAGE: [u8; 2] = [0xff, 0xd8];
    const START_OF_SCAN: u8 = 0xda;
    let mut at = if bytes.starts_with(&START_OF_IMAGE) { Some(2) } else { None };
    std::iter::from_fn(move || {
        // A marker is 0xff, any number of times, and its own byte.
        let start = at.take()?;
        let fill = bytes.get(start..)?.iter().take_while(|&&byte| byte == 0xff).count();
        let marker = *bytes.get(start + fill).filter(|_| fill > 0)?;
        let length_at = start + fill + 1;
        let length = bytes.get(length_at..length_at + 2)?;
        let end = length_at + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let body = bytes.get(length_at + 2..end)?;
        at = (marker != START_OF_SCAN).then_some(end);
        Some(JpegSegment { marker, body })
    })
}
