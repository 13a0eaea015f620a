//! The entropy-coded bytes of a JPEG scan as bits, and Huffman codes (T.81, annex F.2.2). Reading past the data gives
//! zeros and is seen afterwards, so that the loops above need no check a bit.

/// Bits that one look-up resolves; longer codes are rare.
const LOOKUP_BITS: u32 = 9;

/// A Huffman table, ready for decoding.
pub(super) struct Huffman {
    /// For every beginning of [`LOOKUP_BITS`] bits: length of its code times 256, and its symbol; 0 where codes are longer.
    lookup: Vec<u16>,
    /// Largest code of each length, left-aligned to 16 bits and one more; 0 where there is none.
    limits: [u32; 17],
    /// What added to a code of this length gives the place of its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// A table from how many codes of each length there are and the symbols in order of their codes; nothing when there
    /// are more codes than lengths allow.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table =
            Huffman { lookup: vec![0; 1 << LOOKUP_BITS], limits: [0; 17], offsets: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut place) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = usize::from(counts[length as usize - 1]);
            table.offsets[length as usize] = place as i32 - code as i32;
            for &symbol in symbols.get(place..place + count)? {
                if code >> length != 0 {
                    return None;
                }
                if length <= LOOKUP_BITS {
                    let start = (code << (LOOKUP_BITS - length)) as usize;
                    let entry = (length as u16) << 8 | u16::from(symbol);
                    table.lookup[start..start + (1 << (LOOKUP_BITS - length))].fill(entry);
                }
                code += 1;
            }
            place += count;
            table.limits[length as usize] = if count == 0 { 0 } else { code << (16 - length) };
            code <<= 1;
        }
        Some(table)
    }

    /// The symbol whose code is zeros alone.
    pub(super) fn zero(&self) -> Option<u8> {
        self.symbols.first().copied()
    }
}

/// Reads bits until a marker or the end of the file.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The next byte to be taken up.
    at: usize,
    /// The lowest `count` bits are those to be read next.
    held: u64,
    count: u32,
    /// How many of them, the last ones, stand in for data that is not there.
    made_up: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        Bits { data, at, held: 0, count: 0, made_up: 0 }
    }

    /// Brings at least 32 bits in.
    #[inline]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(&four) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<4>()) {
            let word = u32::from_be_bytes(four);
            // A byte of 0xff is one of zero in the complement, which borrows.
            let inverse = !word;
            if inverse.wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.held = self.held << 32 | u64::from(word);
                self.count += 32;
                self.at += 4;
                return;
            }
        }
        self.fill_bytewise();
    }

    #[cold]
    fn fill_bytewise(&mut self) {
        while self.count <= 48 {
            let byte = match self.data.get(self.at) {
                Some(0xff) if self.data.get(self.at + 1) == Some(&0) => {
                    self.at += 2;
                    0xff
                }
                // Fill bytes before a marker.
                Some(0xff) if self.data.get(self.at + 1) == Some(&0xff) => {
                    self.at += 1;
                    continue;
                }
                Some(0xff) | None => {
                    self.made_up += 8;
                    0
                }
                Some(&byte) => {
                    self.at += 1;
                    byte
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// The next symbol; nothing when no code begins like that. At least 16 bits are there to be read afterwards.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Huffman) -> Option<u8> {
        self.fill();
        let entry = table.lookup[(self.held >> (self.count - LOOKUP_BITS)) as usize & ((1 << LOOKUP_BITS) - 1)];
        if entry != 0 {
            self.count -= u32::from(entry >> 8);
            return Some(entry as u8);
        }
        let ahead = (self.held >> (self.count - 16)) as u32 & 0xffff;
        let length = (LOOKUP_BITS as usize + 1..=16).find(|&length| ahead < table.limits[length])?;
        self.count -= length as u32;
        let place = (ahead >> (16 - length)) as i32 + table.offsets[length];
        table.symbols.get(usize::try_from(place).ok()?).copied()
    }

    /// A number of `length` bits, at most 16; call it after [`Bits::symbol`], or it may find too few bits.
    #[inline]
    pub(super) fn number(&mut self, length: u32) -> u32 {
        self.count -= length;
        (self.held >> self.count) as u32 & ((1 << length) - 1)
    }

    /// The same where no symbol was read before.
    #[inline]
    pub(super) fn filled_number(&mut self, length: u32) -> u32 {
        self.fill();
        self.number(length)
    }

    /// A signed number of `length` bits (T.81, table F.1).
    #[inline]
    pub(super) fn signed(&mut self, length: u32) -> i32 {
        if length == 0 {
            return 0;
        }
        let value = self.number(length) as i32;
        if value < 1 << (length - 1) { value - (1 << length) + 1 } else { value }
    }

    /// Whether more was read than there was.
    #[inline]
    pub(super) fn overrun(&self) -> bool {
        self.count < self.made_up
    }

    /// About which byte is read next; stuffed bytes among those taken up put it a few too far.
    pub(super) fn position(&self) -> usize {
        self.at - (self.count.saturating_sub(self.made_up) / 8) as usize
    }

    /// Where the next marker stands (or the file ends), and how many whole bytes lie unread before it.
    pub(super) fn rest(&self) -> (usize, usize) {
        let marker = next_marker(self.data, self.at).unwrap_or(self.data.len());
        (marker, marker - self.position())
    }

    /// Goes on at this byte.
    pub(super) fn restart(&mut self, at: usize) {
        *self = Bits::new(self.data, at);
    }
}

/// The place of the first marker from `at` on: its last 0xff before its own byte.
pub(super) fn next_marker(data: &[u8], at: usize) -> Option<usize> {
    let pairs = data.get(at..)?.windows(2);
    pairs.into_iter().position(|pair| pair[0] == 0xff && pair[1] != 0 && pair[1] != 0xff).map(|place| at + place)
}
