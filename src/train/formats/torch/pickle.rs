//! A reader of the pickles that `torch.save` writes for a state dict. Python's pickle is a program that may call anything;
//! this one knows the few calls that make named tensors, runs none of them, and refuses every other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::bad;
use crate::Result;

/// Containers that the pickles of a file may make: six times what a ResNet-18 takes. A bound on how deep they can be nested.
const MAX_CONTAINERS: usize = 4096;

/// What the pickles of a file made. A list or dict may contain itself, and would outlive everything: all are emptied when this
/// goes.
#[derive(Debug, Default)]
pub struct Made(Vec<Value>);

impl Drop for Made {
    fn drop(&mut self) {
        for value in &self.0 {
            match value {
                Value::List(list) => list.borrow_mut().clear(),
                Value::Dict(dict) => dict.borrow_mut().clear(),
                _ => {}
            }
        }
    }
}

/// Number format of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    F16,
    BF16,
    F32,
    F64,
    I64,
}

/// What a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Global {
    fn named(module: &str, name: &str) -> Result<Self> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", "HalfStorage") => Global::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Global::Storage(Dtype::BF16),
            ("torch", "FloatStorage") => Global::Storage(Dtype::F32),
            ("torch", "DoubleStorage") => Global::Storage(Dtype::F64),
            ("torch", "LongStorage") => Global::Storage(Dtype::I64),
            _ => {
                let found = format!("{module}.{name}").escape_debug().to_string();
                return Err(bad(format!("expected a state dict (tensors by name), found a pickle that calls {found}")));
            }
        })
    }
}

/// Numbers outside the pickle, found by `key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    pub dtype: Dtype,
    pub key: String,
}

/// A view of a storage; offset and strides in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorView {
    pub storage: Rc<Storage>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
}

/// An unpickled value. Containers are shared, as in Python, so that a small pickle cannot make a large value.
#[derive(Debug, Clone)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(Rc<str>),
    Tuple(Rc<[Value]>),
    List(Rc<RefCell<Vec<Value>>>),
    Dict(Rc<RefCell<Vec<(Value, Value)>>>),
    Global(Global),
    Storage(Rc<Storage>),
    Tensor(Rc<TensorView>),
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "an int",
            Value::Text(_) => "a text",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dict",
            Value::Global(_) => "a class or function",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }

    fn index(&self) -> Result<usize> {
        match self {
            Value::Int(value) => usize::try_from(*value).map_err(|_| bad(format!("expected an index, found {value}"))),
            other => Err(bad(format!("expected an index, found {}", other.kind()))),
        }
    }

    fn indices(&self) -> Result<Vec<usize>> {
        match self {
            Value::Tuple(values) => values.iter().map(Value::index).collect(),
            other => Err(bad(format!("expected a tuple of indices, found {}", other.kind()))),
        }
    }
}

/// Reads one pickle; returns its value, which lasts no longer than `made`, and the bytes after it.
///
/// # Errors
/// `BadWeights` for a cut-off pickle, and for an instruction or a call that no state dict needs.
pub fn load<'a>(bytes: &'a [u8], made: &mut Made) -> Result<(Value, &'a [u8])> {
    let mut machine = Machine { rest: bytes, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), made };
    loop {
        let code = machine.byte()?;
        if code == b'.' {
            return Ok((machine.pop()?, machine.rest));
        }
        machine.step(code)?;
    }
}

/// The pickle machine of protocol 2 (Python's `pickletools.py` documents the instructions).
struct Machine<'a, 'm> {
    rest: &'a [u8],
    stack: Vec<Value>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// Containers made so far.
    made: &'m mut Made,
}

impl<'a> Machine<'a, '_> {
    fn step(&mut self, code: u8) -> Result<()> {
        match code {
            0x80 => match self.byte()? {
                2 => {}
                other => return Err(bad(format!("expected pickle protocol 2, found {other}"))),
            },
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool(code == 0x88)),
            b'K' => self.integer(1)?,
            b'M' => self.integer(2)?,
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(value.into()));
            }
            0x8a => {
                let length = self.byte()?;
                self.integer(length.into())?;
            }
            b'U' => {
                let length = self.byte()?;
                self.text(length.into())?;
            }
            b'X' => {
                let length = self.u32()?;
                self.text(length as usize)?;
            }
            b'q' => {
                let place = self.byte()?;
                self.keep(place.into())?;
            }
            b'r' => {
                let place = self.u32()?;
                self.keep(place)?;
            }
            b'h' => {
                let place = self.byte()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = self.u32()?;
                self.recall(place)?;
            }
            b']' => self.container(Value::List(Rc::default()))?,
            b'}' => self.container(Value::Dict(Rc::default()))?,
            b')' => self.container(Value::Tuple(Rc::new([])))?,
            b't' => {
                let items = self.items()?;
                self.container(Value::Tuple(items.into()))?;
            }
            0x85..=0x87 => {
                let mut items = (0x85..=code).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
                items.reverse();
                self.container(Value::Tuple(items.into()))?;
            }
            b'a' | b'e' => {
                let items = if code == b'a' { vec![self.pop()?] } else { self.items()? };
                match self.top()? {
                    Value::List(list) => list.borrow_mut().extend(items),
                    other => return Err(bad(format!("expected a list to append to, found {}", other.kind()))),
                }
            }
            b's' | b'u' => {
                let items = if code == b's' { self.last(2)? } else { self.items()? };
                let Value::Dict(dict) = self.top()? else {
                    return Err(bad(format!("expected a dict to fill, found {}", self.top()?.kind())));
                };
                let pairs = items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
                dict.borrow_mut().extend(pairs);
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(Global::named(module, name)?));
            }
            b'R' => {
                let [callee, arguments] = self.last_two()?;
                let made = call(&callee, &arguments)?;
                self.container(made)?;
            }
            b'Q' => {
                let storage = storage(&self.pop()?)?;
                self.container(Value::Storage(Rc::new(storage)))?;
            }
            // Attributes: those of a state dict tell versions of layers, and nothing is made of them.
            b'b' => match self.last_two()? {
                [Value::Dict(dict), _] => self.stack.push(Value::Dict(dict)),
                [other, _] => {
                    return Err(bad(format!("expected attributes of a dict, found those of {}", other.kind())));
                }
            },
            other => return Err(bad(format!("expected a state dict, found a pickle with instruction {other:#04x}"))),
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| bad("expected more, found a cut-off pickle"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many bytes were taken"))
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A little-endian integer; one of eight bytes is signed, shorter ones count as positive.
    fn integer(&mut self, length: usize) -> Result<()> {
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(bad(format!("expected an integer of at most 8 bytes, found {length}")));
        }
        let mut wide = [0; 8];
        wide[..length].copy_from_slice(bytes);
        self.stack.push(Value::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn text(&mut self, length: usize) -> Result<()> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| bad("expected UTF-8 in a pickle's text"))?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str> {
        let length = self.rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(length.ok_or_else(|| bad("expected a name in a pickle, found no end of line"))?)?;
        self.byte()?;
        std::str::from_utf8(line).map_err(|_| bad("expected UTF-8 in a pickle's name"))
    }

    fn container(&mut self, value: Value) -> Result<()> {
        self.made.0.push(value.clone());
        if self.made.0.len() > MAX_CONTAINERS {
            return Err(bad(format!("expected a state dict, found a pickle of more than {MAX_CONTAINERS} objects")));
        }
        self.stack.push(value);
        Ok(())
    }

    fn top(&self) -> Result<&Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().ok_or_else(|| bad("expected a value on the pickle's stack, found none"))
    }

    fn pop(&mut self) -> Result<Value> {
        let value = self.top()?.clone();
        self.stack.pop();
        Ok(value)
    }

    /// The last values, in the order in which they were pushed.
    fn last(&mut self, count: usize) -> Result<Vec<Value>> {
        let mut values = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        values.reverse();
        Ok(values)
    }

    fn last_two(&mut self) -> Result<[Value; 2]> {
        let second = self.pop()?;
        Ok([self.pop()?, second])
    }

    /// All values since the last mark.
    fn items(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or_else(|| bad("expected a mark in the pickle, found none"))?;
        Ok(self.stack.split_off(mark))
    }

    fn keep(&mut self, place: u32) -> Result<()> {
        let value = self.top()?.clone();
        self.memo.insert(place, value);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<()> {
        let value = self.memo.get(&place).ok_or_else(|| bad("expected a value in the pickle's memo, found none"))?;
        self.stack.push(value.clone());
        Ok(())
    }
}

/// What one of the known calls would have made.
fn call(callee: &Value, arguments: &Value) -> Result<Value> {
    let (Value::Global(global), Value::Tuple(arguments)) = (callee, arguments) else {
        return Err(bad(format!("expected a call, found {} with {}", callee.kind(), arguments.kind())));
    };
    match (global, &arguments[..]) {
        (Global::OrderedDict, []) => Ok(Value::Dict(Rc::default())),
        (Global::RebuildTensor, [Value::Storage(storage), offset, shape, stride, ..]) => {
            let (offset, shape, stride) = (offset.index()?, shape.indices()?, stride.indices()?);
            if shape.len() != stride.len() {
                return Err(bad(format!("expected a stride a side, found {} for {}", stride.len(), shape.len())));
            }
            Ok(Value::Tensor(Rc::new(TensorView { storage: storage.clone(), offset, shape, stride })))
        }
        (Global::RebuildParameter, [Value::Tensor(tensor), ..]) => Ok(Value::Tensor(tensor.clone())),
        (global, arguments) => {
            let kinds: Vec<&str> = arguments.iter().map(Value::kind).collect();
            Err(bad(format!("expected the arguments of {global:?}, found {}", kinds.join(", "))))
        }
    }
}

/// `("storage", class, key, device, elements)`; the length is that of the stored bytes.
fn storage(id: &Value) -> Result<Storage> {
    if let Value::Tuple(parts) = id
        && let [Value::Text(kind), Value::Global(Global::Storage(dtype)), Value::Text(key), ..] = &parts[..]
        && &**kind == "storage"
    {
        return Ok(Storage { dtype: *dtype, key: key.to_string() });
    }
    Err(bad("expected a reference to a storage in the pickle, found another"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_in_themselves_are_given_back() {
        let mut made = Made::default();
        let (value, rest) = load(b"\x80\x02]q\x00h\x00a.and more", &mut made).expect("a list in itself");
        let Value::List(list) = value else { panic!("expected a list, found {}", value.kind()) };
        assert!(matches!(&list.borrow()[..], [Value::List(inner)] if Rc::ptr_eq(inner, &list)));
        assert_eq!(rest, b"and more");
        let last = Rc::downgrade(&list);
        drop((list, made));
        assert!(last.upgrade().is_none(), "a list that is in itself stays in memory");
    }
}
