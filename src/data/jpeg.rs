//! Checks that a JPEG's coded data is complete. Decoders, such as the one in [`super::decode`], conceal damage: missing
//! or wrong bits silently become grey or noise. This module therefore follows the markers, the Huffman codes and their
//! number once, through all scans up to the end marker, without computing a pixel (ITU-T T.81, annexes B, F and G).

/// A defect in a JPEG's coded data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The file ends before its end marker.
    Truncated,
    Damaged(&'static str),
    /// A kind that no decoder here reads; the file may be complete.
    Unsupported(&'static str),
}

/// The structure of a JPEG, by which a decoder is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Progressive, or all components in one scan with the most finely sampled first.
    Usual,
    /// Not progressive, but with scans of single components or a first component sampled less finely than others.
    Rare,
}

type Checked<T> = Result<T, Flaw>;

const fn damaged<T>(what: &'static str) -> Checked<T> {
    Err(Flaw::Damaged(what))
}

/// The number of bits that select a Huffman code at once; longer codes are searched for.
const LOOK: u32 = 9;

/// A Huffman table in the form that decoders use.
#[derive(Clone)]
struct Table {
    /// Length and symbol by the next [`LOOK`] bits; length 0 if the code is longer.
    short: [(u8, u8); 1 << LOOK],
    /// By length: one past the last code, aligned to 16 bits, and the difference between a code and its index in
    /// `symbols`.
    ends: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Table {
    fn new(counts: &[u8], symbols: &[u8]) -> Checked<Table> {
        let mut table = Table { short: [(0, 0); 1 << LOOK], ends: [(0, 0); 17], symbols: symbols.to_vec() };
        let (mut code, mut index) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            let first = (code, index);
            for _ in 0..count {
                if code >= 1 << length {
                    return damaged("a Huffman table is wrong");
                }
                if length <= LOOK {
                    let start = (code << (LOOK - length)) as usize;
                    table.short[start..start + (1 << (LOOK - length))].fill((length as u8, symbols[index]));
                }
                (code, index) = (code + 1, index + 1);
            }
            table.ends[length as usize] = (code << (16 - length), first.1 as i32 - first.0 as i32);
            code <<= 1;
        }
        Ok(table)
    }
}

/// The bits of one scan, without stuffed bytes, up to the next marker.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            if byte == 0xff {
                let fills = self.bytes[self.at..].iter().take_while(|byte| **byte == 0xff).count();
                if self.bytes.get(self.at + fills) != Some(&0) {
                    return;
                }
                self.at += fills;
            }
            self.at += 1;
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// The error for a lack of bits.
    fn short<T>(&self) -> Checked<T> {
        if self.bytes[self.at..].iter().all(|byte| *byte == 0xff) {
            return Err(Flaw::Truncated);
        }
        damaged("its coded data ends early")
    }

    fn take(&mut self, count: u32) -> Checked<u32> {
        if self.count < count {
            self.fill();
            if self.count < count {
                return self.short();
            }
        }
        self.count -= count;
        Ok((self.held >> self.count) as u32 & ((1 << count) - 1))
    }

    fn symbol(&mut self, table: &Table) -> Checked<u8> {
        if self.count < 16 {
            self.fill();
        }
        // Padded with zeros after the end; a code that reaches into them is refused.
        let next = if self.count >= 16 { self.held >> (self.count - 16) } else { self.held << (16 - self.count) };
        let next = next as u32 & 0xffff;
        let (mut length, mut symbol) = table.short[(next >> (16 - LOOK)) as usize];
        if length == 0 {
            let Some(longer) = (LOOK + 1..=16).find(|length| next < table.ends[*length as usize].0) else {
                return if self.count < 16 { self.short() } else { damaged("a Huffman code in it does not exist") };
            };
            let index = (next >> (16 - longer)) as i32 + table.ends[longer as usize].1;
            let found = usize::try_from(index).ok().and_then(|index| table.symbols.get(index));
            let Some(&found) = found else { return damaged("a Huffman code in it does not exist") };
            (length, symbol) = (longer as u8, found);
        }
        match self.count.checked_sub(u32::from(length)) {
            Some(left) => self.count = left,
            None => return self.short(),
        }
        Ok(symbol)
    }

    /// Moves past the restart marker with this number, which must come next.
    fn restart(&mut self, number: usize) -> Checked<()> {
        if self.count >= 8 {
            return damaged("a restart marker is missing or in the wrong place");
        }
        self.fill();
        (self.held, self.count) = (0, 0);
        let fills = self.bytes[self.at..].iter().take_while(|byte| **byte == 0xff).count();
        match self.bytes.get(self.at + fills) {
            None => Err(Flaw::Truncated),
            Some(&marker) if fills > 0 && marker == 0xd0 + (number % 8) as u8 => {
                self.at += fills + 1;
                Ok(())
            }
            Some(_) => damaged("a restart marker is missing or in the wrong place"),
        }
    }
}

/// One component of the frame.
#[derive(Clone)]
struct Component {
    id: u8,
    /// Sampling factors, horizontally and vertically.
    sampling: [usize; 2],
    /// Blocks per row of the grid that interleaved scans fill.
    stride: usize,
    /// For progressive pictures, one bit per coefficient of each block: whether it is nonzero so far. Later scans have
    /// a bit for each nonzero coefficient.
    nonzero: Vec<u64>,
    /// The number of low bits of each coefficient that have not been sent; `None` if no scan had it.
    missing: [Option<u8>; 64],
}

struct Frame {
    progressive: bool,
    size: [usize; 2],
    /// The largest sampling factors of all components.
    most: [usize; 2],
    components: Vec<Component>,
}

impl Frame {
    fn read(marker: u8, body: &[u8]) -> Checked<Frame> {
        let &[_, h1, h0, w1, w0, count, ref rest @ ..] = body else { return damaged("its frame header is too short") };
        let size = [[w1, w0], [h1, h0]].map(|pair| usize::from(u16::from_be_bytes(pair)));
        let rest = rest.as_chunks::<3>().0;
        if rest.len() != usize::from(count) || rest.is_empty() || rest.len() > 4 || size.contains(&0) {
            return damaged("its frame header is wrong");
        }
        let sampling = |factors: u8| [usize::from(factors >> 4), usize::from(factors & 15)];
        let mut most = [0; 2];
        for [_, factors, _] in rest {
            let [h, v] = sampling(*factors);
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
                return damaged("its frame header is wrong");
            }
            if h == 3 || v == 3 {
                return Err(Flaw::Unsupported("a JPEG with a sampling factor of 3"));
            }
            most = [most[0].max(h), most[1].max(v)];
        }
        let progressive = marker == 0xc2;
        let units = [0, 1].map(|axis| size[axis].div_ceil(8 * most[axis]));
        let component = |&[id, factors, _]: &[u8; 3]| {
            let sampling = sampling(factors);
            let stride = units[0] * sampling[0];
            let blocks = if progressive { stride * units[1] * sampling[1] } else { 0 };
            Component { id, sampling, stride, nonzero: vec![0; blocks], missing: [None; 64] }
        };
        Ok(Frame { progressive, size, most, components: rest.iter().map(component).collect() })
    }

    /// Whether every component was sent, with all bits of its coefficients.
    fn is_whole(&self) -> bool {
        let whole = |c: &Component| c.missing[0] == Some(0) && c.missing.iter().flatten().all(|left| *left == 0);
        self.components.iter().all(whole)
    }
}

/// One component of a scan: its index in the frame, and its tables for the first coefficient and for the others.
struct Part<'a> {
    component: usize,
    tables: [Option<&'a Table>; 2],
}

/// The header of a scan: the coefficients, the bits sent before and the bits left for later.
struct Scan {
    first: usize,
    last: usize,
    high: u8,
    low: u8,
}

/// Width and height from the frame header; `None` if there is none.
pub(super) fn size(bytes: &[u8]) -> Option<[usize; 2]> {
    let mut at = 2;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        at += bytes[at..].iter().position(|byte| *byte != 0xff)?;
        let marker = bytes[at];
        at += 1;
        if matches!(marker, 0 | 1 | 0xd0..=0xd8) {
            continue;
        }
        let pair = |at: usize| bytes.get(at..at + 2).map(|pair| usize::from(pair[0]) << 8 | usize::from(pair[1]));
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            return Some([pair(at + 5)?, pair(at + 3)?]);
        }
        at += pair(at)?.max(2);
    }
}

/// Follows the file to its end marker and ignores everything after it.
pub(super) fn check(bytes: &[u8]) -> Checked<Coding> {
    let mut tables: [[Option<Table>; 4]; 2] = Default::default();
    let (mut frame, mut interval, mut scans) = (None::<Frame>, 0, 0);
    let mut at = 2;
    loop {
        // Bytes between segments are skipped, as in all decoders.
        at += bytes[at..].iter().position(|byte| *byte == 0xff).ok_or(Flaw::Truncated)?;
        at += bytes[at..].iter().position(|byte| *byte != 0xff).ok_or(Flaw::Truncated)?;
        let marker = bytes[at];
        at += 1;
        if matches!(marker, 0 | 1 | 0xd0..=0xd8) {
            continue;
        }
        if marker < 0xc0 {
            return damaged("a marker in it does not exist");
        }
        if marker == 0xd9 {
            return match frame {
                Some(frame) if frame.is_whole() => {
                    let usual = frame.components[0].sampling == frame.most && (frame.progressive || scans == 1);
                    Ok(if usual { Coding::Usual } else { Coding::Rare })
                }
                _ => damaged("parts of its coded data are missing"),
            };
        }
        let length = bytes.get(at..at + 2).map(|pair| usize::from(pair[0]) << 8 | usize::from(pair[1]));
        let end = at + length.ok_or(Flaw::Truncated)?;
        if end < at + 2 {
            return damaged("a segment's length is wrong");
        }
        let body = bytes.get(at + 2..end).ok_or(Flaw::Truncated)?;
        at = end;
        match marker {
            0xc4 => read_tables(body, &mut tables)?,
            0xdd => interval = body.iter().take(2).fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            0xc0..=0xc2 if frame.is_none() => frame = Some(Frame::read(marker, body)?),
            0xc0..=0xcf if !matches!(marker, 0xc8 | 0xcc) => return damaged("it has a second frame"),
            0xda => {
                let Some(frame) = &mut frame else { return damaged("its coded data comes before the frame header") };
                let (parts, scan) = scan_header(body, frame, &tables)?;
                let mut bits = Bits { bytes, at, held: 0, count: 0 };
                follow(frame, &parts, &scan, interval, &mut bits)?;
                (at, scans) = (bits.at, scans + 1);
            }
            _ => {}
        }
    }
}

fn read_tables(mut body: &[u8], tables: &mut [[Option<Table>; 4]; 2]) -> Checked<()> {
    while let Some((&name, rest)) = body.split_first() {
        let (kind, place) = (usize::from(name >> 4), usize::from(name & 15));
        let Some((counts, rest)) = rest.split_at_checked(16) else { return damaged("a Huffman table is wrong") };
        let count = counts.iter().map(|count| usize::from(*count)).sum();
        let Some((symbols, rest)) = rest.split_at_checked(count) else { return damaged("a Huffman table is wrong") };
        let Some(table) = tables.get_mut(kind).and_then(|tables| tables.get_mut(place)) else {
            return damaged("a Huffman table is wrong");
        };
        (*table, body) = (Some(Table::new(counts, symbols)?), rest);
    }
    Ok(())
}

fn scan_header<'a>(
    body: &[u8],
    frame: &mut Frame,
    tables: &'a [[Option<Table>; 4]; 2],
) -> Checked<(Vec<Part<'a>>, Scan)> {
    const WRONG: &str = "a scan's header is wrong";
    let Some((&count, rest)) = body.split_first() else { return damaged(WRONG) };
    let Some((names, &[first, last, bits])) =
        rest.split_at_checked(2 * usize::from(count)).and_then(|(names, rest)| Some((names, rest.first_chunk::<3>()?)))
    else {
        return damaged(WRONG);
    };
    let scan = match frame.progressive {
        true => Scan { first: usize::from(first), last: usize::from(last), high: bits >> 4, low: bits & 15 },
        // Some encoders leave these fields empty.
        false => Scan { first: 0, last: 63, high: 0, low: 0 },
    };
    let mixed = frame.progressive && (scan.first == 0) != (scan.last == 0);
    if scan.first > scan.last || scan.last > 63 || scan.low > 13 || mixed || (scan.first > 0 && count != 1) {
        return damaged(WRONG);
    }
    let mut parts: Vec<Part> = Vec::new();
    for [id, place] in names.as_chunks::<2>().0 {
        let Some(component) = frame.components.iter().position(|component| component.id == *id) else {
            return damaged(WRONG);
        };
        if parts.iter().any(|part| part.component == component) {
            return damaged(WRONG);
        }
        let table = |kind: usize, place: u8| tables[kind].get(usize::from(place)).and_then(Option::as_ref);
        parts.push(Part { component, tables: [table(0, place >> 4), table(1, place & 15)] });
        frame.components[component].missing[scan.first..=scan.last].fill(Some(scan.low));
    }
    if parts.is_empty() { damaged(WRONG) } else { Ok((parts, scan)) }
}

/// Follows the codes of one scan block by block.
fn follow(frame: &mut Frame, parts: &[Part], scan: &Scan, interval: usize, bits: &mut Bits) -> Checked<()> {
    let (size, most, progressive) = (frame.size, frame.most, frame.progressive);
    // A scan of one component has only the blocks that overlap the picture.
    let units = match parts {
        [part] => {
            let sampling = frame.components[part.component].sampling;
            [0, 1].map(|axis| (size[axis] * sampling[axis]).div_ceil(8 * most[axis]))
        }
        _ => [0, 1].map(|axis| size[axis].div_ceil(8 * most[axis])),
    };
    let mut skip = 0;
    for unit in 0..units[0] * units[1] {
        if interval > 0 && unit > 0 && unit % interval == 0 {
            bits.restart(unit / interval - 1)?;
            skip = 0;
        }
        let place = [unit % units[0], unit / units[0]];
        for part in parts {
            let component = &mut frame.components[part.component];
            let [across, down] = if parts.len() == 1 { [1, 1] } else { component.sampling };
            for block in 0..across * down {
                if !progressive {
                    sequential(part, bits)?;
                    continue;
                }
                let row = place[1] * down + block / across;
                let index = row * component.stride + place[0] * across + block % across;
                let Some(nonzero) = component.nonzero.get_mut(index) else { return damaged("a scan is too large") };
                match (scan.first, scan.high) {
                    (0, 0) => difference(part, bits)?,
                    (0, _) => drop(bits.take(1)?),
                    (_, 0) => band(part, scan, bits, nonzero, &mut skip)?,
                    _ => refined(part, scan, bits, nonzero, &mut skip)?,
                }
            }
        }
    }
    Ok(())
}

const NO_TABLE: &str = "a Huffman table is missing";
const TOO_MANY: &str = "a block in it has too many coefficients";

/// Follows the first coefficient of a block, coded as its difference from the previous block's.
fn difference(part: &Part, bits: &mut Bits) -> Checked<()> {
    let Some(table) = part.tables[0] else { return damaged(NO_TABLE) };
    let size = bits.symbol(table)?;
    if size > 15 {
        return damaged("a Huffman code in it does not exist");
    }
    bits.take(size.into()).map(drop)
}

/// Reads the next code of a block: the zeros before a coefficient, and the coefficient's size in bits.
fn zeros_and_size(part: &Part, bits: &mut Bits) -> Checked<(usize, u8)> {
    let Some(table) = part.tables[1] else { return damaged(NO_TABLE) };
    let symbol = bits.symbol(table)?;
    Ok((usize::from(symbol >> 4), symbol & 15))
}

fn sequential(part: &Part, bits: &mut Bits) -> Checked<()> {
    difference(part, bits)?;
    let mut place = 1;
    while place < 64 {
        let (zeros, size) = zeros_and_size(part, bits)?;
        if size == 0 {
            if zeros < 15 {
                break;
            }
            place += 16;
            continue;
        }
        place += zeros + 1;
        if place > 64 {
            return damaged(TOO_MANY);
        }
        bits.take(size.into())?;
    }
    Ok(())
}

/// Follows a band of coefficients in its first scan; `skip` counts blocks without any.
fn band(part: &Part, scan: &Scan, bits: &mut Bits, nonzero: &mut u64, skip: &mut u32) -> Checked<()> {
    if *skip > 0 {
        *skip -= 1;
        return Ok(());
    }
    let mut place = scan.first;
    while place <= scan.last {
        let (zeros, size) = zeros_and_size(part, bits)?;
        if size == 0 {
            if zeros < 15 {
                *skip = (1 << zeros) - 1 + bits.take(zeros as u32)?;
                break;
            }
            place += 16;
            continue;
        }
        place += zeros;
        if place > scan.last {
            return damaged(TOO_MANY);
        }
        bits.take(size.into())?;
        *nonzero |= 1 << place;
        place += 1;
    }
    Ok(())
}

/// Follows one more bit of a band: one for each nonzero coefficient, and those that become nonzero.
fn refined(part: &Part, scan: &Scan, bits: &mut Bits, nonzero: &mut u64, skip: &mut u32) -> Checked<()> {
    let Some(table) = part.tables[1] else { return damaged(NO_TABLE) };
    let mut place = scan.first;
    while *skip == 0 && place <= scan.last {
        let symbol = bits.symbol(table)?;
        let (mut zeros, size) = (symbol >> 4, symbol & 15);
        if size > 1 {
            return damaged("a Huffman code in it does not exist");
        }
        if size == 0 && zeros < 15 {
            *skip = (1 << zeros) + bits.take(zeros.into())?;
            break;
        }
        bits.take(size.into())?;
        while place <= scan.last {
            if *nonzero >> place & 1 == 1 {
                bits.take(1)?;
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            place += 1;
        }
        if size == 1 {
            if place > scan.last {
                return damaged(TOO_MANY);
            }
            *nonzero |= 1 << place;
        }
        place += 1;
    }
    if *skip > 0 {
        for place in place..=scan.last {
            bits.take((*nonzero >> place & 1) as u32)?;
        }
        *skip -= 1;
    }
    Ok(())
}
