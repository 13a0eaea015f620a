//! State dicts as `torch.save` writes them (`.pth`, `.pt`): the zip form, and the form before PyTorch 1.6. Reads tensors and
//! runs nothing.

mod pickle;

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};

use crate::model::Tensors;
use crate::{Error, ErrorKind, Result};
use pickle::{Dtype, Made, TensorView, Value, load};

/// How a zip archive begins.
const ZIP: &[u8] = b"PK\x03\x04";
/// How the older form begins: the pickles of its magic number and of its version, 1001.
const OLD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";

/// Whether a file looks like one of `torch.save`.
pub fn is_torch(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || bytes.starts_with(OLD)
}

/// Reads a state dict: f16, bf16, f32 and f64 tensors by name, widened or rounded to f32. Integer tensors are counters and
/// left out.
///
/// # Errors
/// `BadWeights` for anything but tensors by name, naming what was found.
pub fn read_state_dict(bytes: &[u8]) -> Result<Tensors> {
    if bytes.starts_with(ZIP) { read_zip_form(bytes) } else { read_old_form(bytes) }
}

/// `NAME/data.pkl`, and each storage as `NAME/data/KEY`.
fn read_zip_form(bytes: &[u8]) -> Result<Tensors> {
    let files = stored_files(bytes)?;
    let (root, pickle) = files
        .iter()
        .find_map(|(name, data)| Some((name.strip_suffix("data.pkl")?, data)))
        .ok_or_else(|| bad("expected data.pkl in the zip archive of a state dict, found none"))?;
    match files.get(format!("{root}byteorder").as_str()).copied() {
        None | Some(b"little") => {}
        Some(_) => return Err(bad("expected little-endian numbers in a state dict, found others")),
    }
    let mut made = Made::default();
    let (dict, _) = load(pickle, &mut made)?;
    tensors(&dict, bytes.len(), &|key| files.get(format!("{root}data/{key}").as_str()).copied())
}

/// Pickles of magic number, version, system, state dict and storage keys; then, a storage, its length and its numbers.
fn read_old_form(bytes: &[u8]) -> Result<Tensors> {
    let rest = bytes.strip_prefix(OLD).ok_or_else(|| bad("expected a file of torch.save, found another"))?;
    let mut made = Made::default();
    let (system, rest) = load(rest, &mut made)?;
    let little =
        entries(&system)?.iter().any(|(name, value)| name == "little_endian" && matches!(value, Value::Bool(true)));
    if !little {
        return Err(bad("expected little-endian numbers in a state dict, found others"));
    }
    let (dict, rest) = load(rest, &mut made)?;
    let (keys, mut rest) = load(rest, &mut made)?;
    let Value::List(keys) = keys else {
        return Err(bad(format!("expected a list of storages, found {}", keys.kind())));
    };
    let dtypes: HashMap<String, Dtype> = entries(&dict)?
        .into_iter()
        .filter_map(|(_, value)| match value {
            Value::Tensor(view) => Some((view.storage.key.clone(), view.storage.dtype)),
            _ => None,
        })
        .collect();
    let mut storages = HashMap::new();
    for key in keys.borrow().iter() {
        let Value::Text(key) = key else {
            return Err(bad(format!("expected the name of a storage, found {}", key.kind())));
        };
        let dtype = dtypes.get(&**key).ok_or_else(|| bad(format!("expected a tensor of storage {key}, found none")))?;
        let cut = || bad(format!("expected storage {key}, found a cut-off file"));
        let (count, after) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(dtype.size()));
        let (data, after) = length.and_then(|length| after.split_at_checked(length)).ok_or_else(cut)?;
        storages.insert(key.to_string(), data);
        rest = after;
    }
    tensors(&dict, bytes.len(), &|key| storages.get(key).copied())
}

/// The entries of a dict with text keys.
fn entries(dict: &Value) -> Result<Vec<(String, Value)>> {
    let Value::Dict(dict) = dict else {
        return Err(bad(format!("expected a state dict (tensors by name), found {}", dict.kind())));
    };
    let entry = |(key, value): &(Value, Value)| match key {
        Value::Text(name) => Ok((name.to_string(), value.clone())),
        other => Err(bad(format!("expected a name in a state dict, found {}", other.kind()))),
    };
    dict.borrow().iter().map(entry).collect()
}

fn tensors<'a>(dict: &Value, file_bytes: usize, storage: &dyn Fn(&str) -> Option<&'a [u8]>) -> Result<Tensors> {
    let mut found = BTreeMap::new();
    let mut elements = 0usize;
    for (name, value) in entries(dict)? {
        let Value::Tensor(view) = &value else {
            let advice = "save model.state_dict() itself";
            return Err(bad(format!("expected a tensor under {name}, found {}; {advice}", value.kind())));
        };
        if view.storage.dtype == Dtype::I64 {
            continue;
        }
        let key = &view.storage.key;
        let data = storage(key).ok_or_else(|| bad(format!("tensor {name}: expected storage {key}, found none")))?;
        // Views can repeat numbers without end; a state dict's take at least two bytes each.
        elements = view
            .shape
            .iter()
            .try_fold(1usize, |n, side| n.checked_mul(*side))
            .map_or(usize::MAX, |n| elements.saturating_add(n));
        if elements > file_bytes {
            return Err(bad(format!(
                "tensor {name}: expected as many numbers as the file holds, found {:?}",
                view.shape
            )));
        }
        let values = gather(view, data).ok_or_else(|| {
            let (offset, shape, stride) = (view.offset, &view.shape, &view.stride);
            let count = data.len() / view.storage.dtype.size();
            bad(format!("tensor {name}: expected a view of {count} numbers, found {shape:?} by {stride:?} at {offset}"))
        })?;
        found.insert(name, (view.shape.clone(), values));
    }
    Ok(Tensors::new(found))
}

/// The numbers of a view in row-major order; `None` where it leaves the storage.
fn gather(view: &TensorView, data: &[u8]) -> Option<Vec<f32>> {
    let count: usize = view.shape.iter().product();
    let mut index = vec![0usize; view.shape.len()];
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let steps = index.iter().zip(&view.stride).map(|(place, stride)| place.checked_mul(*stride));
        let position = steps.into_iter().try_fold(view.offset, |sum, step| sum.checked_add(step?))?;
        values.push(view.storage.dtype.read(data, position)?);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < view.shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(values)
}

impl Dtype {
    fn size(self) -> usize {
        match self {
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::F32 => 4,
            Dtype::F64 | Dtype::I64 => 8,
        }
    }

    /// The number at a position.
    fn read(self, data: &[u8], position: usize) -> Option<f32> {
        let start = position.checked_mul(self.size())?;
        let bytes = data.get(start..start.checked_add(self.size())?)?;
        Some(match self {
            Dtype::F16 => f16::from_le_bytes(bytes.try_into().ok()?).to_f32(),
            Dtype::BF16 => bf16::from_le_bytes(bytes.try_into().ok()?).to_f32(),
            Dtype::F32 => f32::from_le_bytes(bytes.try_into().ok()?),
            Dtype::F64 => f64::from_le_bytes(bytes.try_into().ok()?) as f32,
            Dtype::I64 => i64::from_le_bytes(bytes.try_into().ok()?) as f32,
        })
    }
}

/// The files of a zip archive, by name; only stored ones, as PyTorch writes them (PKWARE's APPNOTE, 4.3).
fn stored_files(bytes: &[u8]) -> Result<BTreeMap<&str, &[u8]>> {
    let cut = || bad("expected a whole zip archive, found a cut-off one");
    let number = |at: usize, size: usize| -> Result<usize> {
        let field = at.checked_add(size).and_then(|end| bytes.get(at..end)).ok_or_else(cut)?;
        Ok(field.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    };
    let slice = |at: usize, length: usize| at.checked_add(length).and_then(|end| bytes.get(at..end)).ok_or_else(cut);
    // The end record is 22 bytes and a comment, which PyTorch leaves empty.
    let end = bytes.windows(4).rposition(|window| window == b"PK\x05\x06").ok_or_else(cut)?;
    slice(end, 22)?;
    let (count, mut entry) = (number(end + 10, 2)?, number(end + 16, 4)?);
    let mut files = BTreeMap::new();
    for _ in 0..count {
        if slice(entry, 4)? != b"PK\x01\x02" {
            return Err(cut());
        }
        let lengths = [28, 30, 32].map(|field| number(entry + field, 2));
        let [name, extra, comment] = lengths;
        let (name_length, extra, comment) = (name?, extra?, comment?);
        let name = std::str::from_utf8(slice(entry + 46, name_length)?)
            .map_err(|_| bad("expected UTF-8 names in a zip archive"))?;
        if number(entry + 10, 2)? != 0 {
            return Err(bad(format!("expected stored files in a state dict, found {name} compressed")));
        }
        let (size, local) = (number(entry + 24, 4)?, number(entry + 42, 4)?);
        let start = local + 30 + number(local + 26, 2)? + number(local + 28, 2)?;
        files.insert(name, slice(start, size)?);
        entry += 46 + name_length + extra + comment;
    }
    Ok(files)
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadWeights, message)
}
