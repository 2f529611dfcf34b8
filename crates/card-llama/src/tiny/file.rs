//! A GGUF file that is made byte by byte.

use std::path::PathBuf;

/// Data begins at a multiple of this.
const ALIGNMENT: usize = 32;
const NUMBER: u32 = 4;
const SIGNED: u32 = 5;
const FLOAT: u32 = 6;
const FLAG: u32 = 7;
const TEXT: u32 = 8;
const LIST: u32 = 9;
const LONG: u32 = 10;
/// Types of tensors.
const F32: u32 = 0;
const I64: u32 = 27;

/// A value of the metadata, in the type that the file has it in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(u32),
    Float(f32),
    Flag(bool),
    Text(String),
    Numbers(Vec<u32>),
    Signed(Vec<i32>),
    Longs(Vec<u64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Number(value)
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Value::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Flag(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.into())
    }
}

impl From<Vec<u32>> for Value {
    fn from(values: Vec<u32>) -> Self {
        Value::Numbers(values)
    }
}

impl From<Vec<i32>> for Value {
    fn from(values: Vec<i32>) -> Self {
        Value::Signed(values)
    }
}

impl From<Vec<u64>> for Value {
    fn from(values: Vec<u64>) -> Self {
        Value::Longs(values)
    }
}

impl From<Vec<f32>> for Value {
    fn from(values: Vec<f32>) -> Self {
        Value::Floats(values)
    }
}

impl From<Vec<String>> for Value {
    fn from(values: Vec<String>) -> Self {
        Value::Texts(values)
    }
}

impl Value {
    /// The number of the type in the file.
    fn kind(&self) -> u32 {
        match self {
            Value::Number(_) => NUMBER,
            Value::Float(_) => FLOAT,
            Value::Flag(_) => FLAG,
            Value::Text(_) => TEXT,
            Value::Numbers(_)
            | Value::Signed(_)
            | Value::Longs(_)
            | Value::Floats(_)
            | Value::Texts(_) => LIST,
        }
    }

    /// Writes it, without its type.
    fn put(&self, into: &mut Vec<u8>) {
        match self {
            Value::Number(value) => into.extend(value.to_le_bytes()),
            Value::Float(value) => into.extend(value.to_le_bytes()),
            Value::Flag(value) => into.push(u8::from(*value)),
            Value::Text(value) => put(into, value),
            Value::Numbers(values) => list(into, NUMBER, values, |n| n.to_le_bytes()),
            Value::Signed(values) => list(into, SIGNED, values, |n| n.to_le_bytes()),
            Value::Longs(values) => list(into, LONG, values, |n| n.to_le_bytes()),
            Value::Floats(values) => list(into, FLOAT, values, |n| n.to_le_bytes()),
            Value::Texts(values) => {
                begin_list(into, TEXT, values.len());
                for value in values {
                    put(into, value);
                }
            }
        }
    }
}

/// A file that is being made.
///
/// Invariant: `data` ends at a multiple of [`ALIGNMENT`].
pub(crate) struct Tiny {
    name: String,
    keys: Vec<u8>,
    key_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

fn put(into: &mut Vec<u8>, text: &str) {
    into.extend((text.len() as u64).to_le_bytes());
    into.extend(text.as_bytes());
}

fn begin_list(into: &mut Vec<u8>, kind: u32, length: usize) {
    into.extend(kind.to_le_bytes());
    into.extend((length as u64).to_le_bytes());
}

fn list<T: Copy, const N: usize>(
    into: &mut Vec<u8>,
    kind: u32,
    values: &[T],
    bytes: fn(T) -> [u8; N],
) {
    begin_list(into, kind, values.len());
    for &value in values {
        into.extend(bytes(value));
    }
}

impl Tiny {
    /// One whose file will have `name` in its name.
    pub(crate) fn new(name: &str) -> Self {
        Tiny {
            name: name.into(),
            keys: Vec::new(),
            key_count: 0,
            tensors: Vec::new(),
            tensor_count: 0,
            data: Vec::new(),
        }
    }

    /// Adds a key of the metadata.
    pub(crate) fn value(mut self, key: &str, value: &Value) -> Self {
        put(&mut self.keys, key);
        self.keys.extend(value.kind().to_le_bytes());
        value.put(&mut self.keys);
        self.key_count += 1;
        self
    }

    /// Adds a tensor (F32) with these weights.
    pub(crate) fn weights(
        mut self,
        name: &str,
        shape: &[u64],
        weights: impl IntoIterator<Item = f32>,
    ) -> Self {
        self = self.missing_tensor(name, shape);
        for weight in weights {
            self.data.extend(weight.to_le_bytes());
        }
        self.aligned()
    }

    /// Adds a tensor of whole numbers (I64) in one row.
    pub(crate) fn whole_numbers(mut self, name: &str, numbers: &[i64]) -> Self {
        self = self.described(name, &[numbers.len() as u64], I64);
        for number in numbers {
            self.data.extend(number.to_le_bytes());
        }
        self.aligned()
    }

    /// The data up to a place where the next tensor may begin.
    fn aligned(mut self) -> Self {
        let end = self.data.len().next_multiple_of(ALIGNMENT);
        self.data.resize(end, 0);
        self
    }

    /// Adds a tensor (F32) without its weights: they are not in the file if it is the last one.
    pub(crate) fn missing_tensor(self, name: &str, shape: &[u64]) -> Self {
        self.described(name, shape, F32)
    }

    /// Adds the description of a tensor whose data comes next.
    fn described(mut self, name: &str, shape: &[u64], kind: u32) -> Self {
        put(&mut self.tensors, name);
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        for n in shape {
            self.tensors.extend(n.to_le_bytes());
        }
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend((self.data.len() as u64).to_le_bytes());
        self.tensor_count += 1;
        self
    }

    /// Bytes of data so far.
    #[cfg(test)]
    pub(super) fn data_length(&self) -> usize {
        self.data.len()
    }

    /// Writes it into the folder for temporary files; the path is this process's own.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn try_write(self) -> std::io::Result<PathBuf> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.key_count.to_le_bytes());
        bytes.extend(self.keys);
        bytes.extend(self.tensors);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(self.data);
        let name = format!("card-tiny-{}-{}.gguf", std::process::id(), self.name);
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes)?;
        Ok(path)
    }
}
