//! Pickles as plain data. Nothing that a pickle names is imported or called: a call stays a name with arguments, in which we find the bytes,
//! truth values and NumPy arrays that lists of verification pairs are made of.

use std::collections::BTreeMap;

/// Position of a value among those of a pickle.
type Id = usize;

/// A value.
#[derive(Clone, Debug)]
enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Bytes(Vec<u8>),
    Text(String),
    /// A list, a tuple or a set.
    Items(Vec<Id>),
    Dict,
    /// The name of something that could be called, without its module.
    Global(String),
    /// What is called, its arguments, and what is then given to it.
    Call {
        callable: Id,
        arguments: Id,
        state: Option<Id>,
    },
}

/// The values of a pickle.
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

type Read<T> = Result<T, String>;

/// A pickle that is being read.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: BTreeMap<u64, Id>,
}

impl Pickle {
    /// Reads a pickle of protocol 0 to 5. Values are at most as many as its bytes.
    ///
    /// # Errors
    /// Text that says what is wrong with it.
    pub fn read(bytes: &[u8]) -> Read<Self> {
        let mut machine =
            Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: BTreeMap::new() };
        let root = machine.run()?;
        Ok(Self { nodes: machine.nodes, root })
    }

    /// The whole value.
    pub fn root(&self) -> Value<'_> {
        Value { pickle: self, id: self.root }
    }
}

/// A value of a pickle.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pickle: &'a Pickle,
    id: Id,
}

/// A NumPy array.
struct Array<'a> {
    /// Kind and bytes of an item: `u1`, `b1`, `O8`.
    dtype: String,
    dimensions: usize,
    data: Value<'a>,
}

impl<'a> Value<'a> {
    fn node(self) -> &'a Node {
        &self.pickle.nodes[self.id]
    }

    fn of(self, id: Id) -> Self {
        Self { id, ..self }
    }

    /// The items of a list, a tuple or an array of objects.
    pub fn items(self) -> Option<Vec<Self>> {
        self.listed().or_else(|| self.array().filter(|a| a.dtype.starts_with('O'))?.data.listed())
    }

    /// Its bytes: of a string of bytes, an array of bytes, or a list of one.
    pub fn bytes(self) -> Read<Vec<u8>> {
        if let Node::Text(_) = self.node() {
            return Err("it is text, not bytes".into());
        }
        if let Some(bytes) = self.raw(2) {
            return Ok(bytes);
        }
        let array = self.array().ok_or("it is no bytes and no array of bytes")?;
        match (array.dtype.as_str(), array.dimensions) {
            ("u1" | "i1", 1) => array.data.raw(2).ok_or_else(|| CUT.into()),
            ("u1", 2 | 3) => Err("it is an array of pixels: store the encoded files, JPEG or PNG".into()),
            (dtype, _) => Err(format!("it is an array of `{dtype}`, not of bytes (`uint8`)")),
        }
    }

    /// Bytes, or what stands for them in old protocols: text, or a call that makes bytes of it, `calls` deep.
    fn raw(self, calls: usize) -> Option<Vec<u8>> {
        match self.node() {
            Node::Bytes(bytes) => Some(bytes.clone()),
            Node::Text(text) => text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect(),
            Node::Call { .. } if calls > 0 => {
                let (name, arguments) = self.call()?;
                let makes_bytes = matches!(name.as_str(), "bytearray" | "bytes" | "encode");
                match arguments.first() {
                    Some(of) => of.raw(calls - 1).filter(|_| makes_bytes),
                    None => makes_bytes.then(Vec::new),
                }
            }
            _ => None,
        }
    }

    /// Truth values: a list of them, of 0 and 1, or an array.
    pub fn truths(self) -> Option<Vec<bool>> {
        if let Some(items) = self.items() {
            return items.into_iter().map(Self::truth).collect();
        }
        let array = self.array().filter(|a| a.dimensions == 1)?;
        numbers(&array.dtype, &array.data.raw(2)?)?.into_iter().map(as_truth).collect()
    }

    fn truth(self) -> Option<bool> {
        as_truth(self.whole()?)
    }

    /// A whole number, a truth value, or one of NumPy's.
    fn whole(self) -> Option<i64> {
        match self.node() {
            Node::Bool(b) => Some(i64::from(*b)),
            Node::Int(n) => Some(*n),
            Node::Call { .. } => {
                let (name, arguments) = self.call()?;
                let [dtype, data] = arguments[..] else { return None };
                if name != "scalar" {
                    return None;
                }
                numbers(&dtype.dtype()?, &data.raw(2)?)?.first().copied()
            }
            _ => None,
        }
    }

    /// The items of what is a list itself: calls are not followed, which might lead anywhere.
    fn listed(self) -> Option<Vec<Self>> {
        let Node::Items(items) = self.node() else { return None };
        Some(items.iter().map(|id| self.of(*id)).collect())
    }

    /// Name and arguments of a call.
    fn call(self) -> Option<(String, Vec<Self>)> {
        let Node::Call { callable, arguments, .. } = self.node() else { return None };
        let Node::Global(name) = self.of(*callable).node() else { return None };
        Some((name.clone(), self.of(*arguments).listed().unwrap_or_default()))
    }

    fn state(self) -> Option<Vec<Self>> {
        let Node::Call { state, .. } = self.node() else { return None };
        self.of((*state)?).listed()
    }

    fn array(self) -> Option<Array<'a>> {
        let (name, arguments) = self.call()?;
        match (name.as_str(), &arguments[..]) {
            ("_reconstruct", _) => {
                let state = self.state()?;
                let [_, shape, dtype, _, data] = state[..] else { return None };
                Some(Array { dtype: dtype.dtype()?, dimensions: shape.listed()?.len(), data })
            }
            ("_frombuffer", [data, dtype, shape, ..]) => {
                Some(Array { dtype: dtype.dtype()?, dimensions: shape.listed()?.len(), data: *data })
            }
            _ => None,
        }
    }

    /// The name of NumPy's type.
    fn dtype(self) -> Option<String> {
        let (name, arguments) = self.call()?;
        let code = arguments.first().filter(|_| name == "dtype")?.raw(0)?;
        let code = String::from_utf8(code).ok()?;
        Some(code.trim_start_matches(['<', '|', '=']).to_owned())
    }
}

fn as_truth(n: i64) -> Option<bool> {
    match n {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// The values of little-endian whole numbers or truth values of type `dtype`.
fn numbers(dtype: &str, data: &[u8]) -> Option<Vec<i64>> {
    let size: usize = dtype.strip_prefix(['b', 'i', 'u'])?.parse().ok().filter(|n| (1..=8).contains(n))?;
    let number = |bytes: &[u8]| {
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(bytes);
        i64::from_le_bytes(wide)
    };
    Some(data.chunks_exact(size).map(number).collect())
}

impl<'a> Machine<'a> {
    /// Follows the pickle to its end.
    fn run(&mut self) -> Read<Id> {
        loop {
            let code = self.byte()?;
            match code {
                b'.' => return self.pop(),
                0x80 => _ = self.byte()?,
                0x95 => _ = self.take(8)?,
                b'(' => self.marks.push(self.stack.len()),
                b'0' => _ = self.pop()?,
                b'1' | b'u' => _ = self.above_mark()?,
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
                }
                b'N' => self.push(Node::None),
                0x88 => self.push(Node::Bool(true)),
                0x89 => self.push(Node::Bool(false)),
                b'I' => {
                    let node = match self.line()? {
                        b"00" => Node::Bool(false),
                        b"01" => Node::Bool(true),
                        digits => Node::Int(parsed(digits)?),
                    };
                    self.push(node);
                }
                b'L' => {
                    let line = self.line()?;
                    let node = Node::Int(parsed(line.strip_suffix(b"L").unwrap_or(line))?);
                    self.push(node);
                }
                b'J' => {
                    let n = self.number(4)?;
                    self.push(Node::Int(i64::from(n as u32 as i32)));
                }
                b'K' => self.whole(1)?,
                b'M' => self.whole(2)?,
                0x8a => {
                    let n = usize::from(self.byte()?);
                    self.long(n)?;
                }
                0x8b => {
                    let n = self.length(4)?;
                    self.long(n)?;
                }
                b'F' => {
                    self.line()?;
                    self.push(Node::Float);
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Node::Float);
                }
                b'S' => {
                    let bytes = unquoted(self.line()?)?;
                    self.push(Node::Bytes(bytes));
                }
                b'V' => {
                    let text = unescaped(self.line()?)?;
                    self.push(Node::Text(text));
                }
                b'U' | b'C' => self.string(1)?,
                b'T' | b'B' => self.string(4)?,
                0x8e | 0x96 => self.string(8)?,
                0x8c => self.text(1)?,
                b'X' => self.text(4)?,
                0x8d => self.text(8)?,
                b']' | b')' | 0x8f => self.push(Node::Items(Vec::new())),
                b'}' => self.push(Node::Dict),
                b'l' | b't' | 0x91 => {
                    let items = self.above_mark()?;
                    self.push(Node::Items(items));
                }
                b'd' => {
                    self.above_mark()?;
                    self.push(Node::Dict);
                }
                0x85..=0x87 => {
                    let n = usize::from(code - 0x84);
                    let from = self.stack.len().checked_sub(n).ok_or(CUT)?;
                    let items = self.stack.split_off(from);
                    self.push(Node::Items(items));
                }
                b'a' => {
                    let item = self.pop()?;
                    self.extend(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.above_mark()?;
                    self.extend(items)?;
                }
                b's' => {
                    self.pop()?;
                    self.pop()?;
                }
                b'p' => {
                    let key = parsed(self.line()?)?;
                    self.put(key as u64)?;
                }
                b'q' => {
                    let key = self.number(1)?;
                    self.put(key)?;
                }
                b'r' => {
                    let key = self.number(4)?;
                    self.put(key)?;
                }
                0x94 => self.put(self.memo.len() as u64)?,
                b'g' => {
                    let key = parsed(self.line()?)?;
                    self.get(key as u64)?;
                }
                b'h' => {
                    let key = self.number(1)?;
                    self.get(key)?;
                }
                b'j' => {
                    let key = self.number(4)?;
                    self.get(key)?;
                }
                b'c' => {
                    self.line()?;
                    let name = String::from_utf8_lossy(self.line()?).into_owned();
                    self.push(Node::Global(name));
                }
                0x93 => {
                    let (name, _module) = (self.pop()?, self.pop()?);
                    let Node::Text(name) = &self.nodes[name] else {
                        return Err("it names a thing by what is no text".into());
                    };
                    let node = Node::Global(name.clone());
                    self.push(node);
                }
                b'R' | 0x81 => {
                    let (arguments, callable) = (self.pop()?, self.pop()?);
                    self.push(Node::Call { callable, arguments, state: None });
                }
                b'b' => {
                    let given = self.pop()?;
                    let top = self.top()?;
                    if let Node::Call { state, .. } = &mut self.nodes[top] {
                        *state = Some(given);
                    }
                }
                other => return Err(format!("it holds what no list of pairs needs (code {other:#04x})")),
            }
        }
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Read<Id> {
        // What lies below a mark is not there.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(CUT.into());
        }
        self.stack.pop().ok_or_else(|| CUT.into())
    }

    fn top(&self) -> Read<Id> {
        self.stack.last().copied().ok_or_else(|| CUT.into())
    }

    fn above_mark(&mut self) -> Read<Vec<Id>> {
        let mark = self.marks.pop().filter(|m| *m <= self.stack.len()).ok_or(CUT)?;
        Ok(self.stack.split_off(mark))
    }

    fn extend(&mut self, more: Vec<Id>) -> Read<()> {
        let list = self.top()?;
        match &mut self.nodes[list] {
            Node::Items(items) => {
                items.extend(more);
                Ok(())
            }
            _ => Err("it appends to what is no list".into()),
        }
    }

    fn put(&mut self, key: u64) -> Read<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn get(&mut self, key: u64) -> Read<()> {
        let id = *self.memo.get(&key).ok_or("it names a value that it does not hold")?;
        self.stack.push(id);
        Ok(())
    }

    fn take(&mut self, n: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len()).ok_or(CUT)?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    /// Bytes up to the end of a line.
    fn line(&mut self) -> Read<&'a [u8]> {
        let length = self.bytes[self.at..].iter().position(|b| *b == b'\n').ok_or(CUT)?;
        let line = self.take(length + 1)?;
        Ok(&line[..length])
    }

    /// A little-endian number of `n` bytes.
    fn number(&mut self, n: usize) -> Read<u64> {
        let mut wide = [0; 8];
        wide[..n].copy_from_slice(self.take(n)?);
        Ok(u64::from_le_bytes(wide))
    }

    fn length(&mut self, n: usize) -> Read<usize> {
        usize::try_from(self.number(n)?).map_err(|_| CUT.into())
    }

    fn whole(&mut self, n: usize) -> Read<()> {
        let value = self.number(n)?;
        self.push(Node::Int(value as i64));
        Ok(())
    }

    /// A signed number of `n` bytes; a larger one than we know is no number of ours.
    fn long(&mut self, n: usize) -> Read<()> {
        let bytes = self.take(n)?;
        let mut wide = [if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 }; 8];
        let node = if n <= 8 {
            wide[..n].copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(wide))
        } else {
            Node::Float
        };
        self.push(node);
        Ok(())
    }

    fn string(&mut self, n: usize) -> Read<()> {
        let length = self.length(n)?;
        let bytes = self.take(length)?.to_vec();
        self.push(Node::Bytes(bytes));
        Ok(())
    }

    fn text(&mut self, n: usize) -> Read<()> {
        let length = self.length(n)?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }
}

const CUT: &str = "it is cut off or damaged";

fn parsed(line: &[u8]) -> Read<i64> {
    std::str::from_utf8(line).ok().and_then(|t| t.trim().parse().ok()).ok_or_else(|| CUT.into())
}

/// The bytes of a quoted string of Python 2.
fn unquoted(line: &[u8]) -> Read<Vec<u8>> {
    let line = line.trim_ascii_end();
    let ([b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"']) = line else { return Err(CUT.into()) };
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match rest.next().ok_or(CUT)? {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'x' => out.push(hexadecimal(&mut rest, 2)? as u8),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// The text of a raw-unicode-escape string.
fn unescaped(line: &[u8]) -> Read<String> {
    let mut out = String::new();
    let mut rest = line.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match (byte, rest.peek()) {
            (b'\\', Some(kind @ (b'u' | b'U'))) => {
                let digits = if *kind == b'u' { 4 } else { 8 };
                rest.next();
                out.push(char::from_u32(hexadecimal(&mut rest, digits)?).ok_or(CUT)?);
            }
            _ => out.push(char::from(byte)),
        }
    }
    Ok(out)
}

fn hexadecimal(digits: &mut impl Iterator<Item = u8>, n: usize) -> Read<u32> {
    let mut value = 0;
    for _ in 0..n {
        value = value * 16 + digits.next().and_then(|d| char::from(d).to_digit(16)).ok_or(CUT)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(bytes: &[u8]) -> Read<(Vec<Vec<u8>>, Vec<bool>)> {
        let pickle = Pickle::read(bytes)?;
        let [images, same] = pickle.root().items().ok_or("no tuple")?[..] else { return Err("not two".into()) };
        let images = images.items().ok_or("no list")?.into_iter().map(Value::bytes).collect::<Read<_>>()?;
        Ok((images, same.truths().ok_or("no truths")?))
    }

    #[test]
    fn python_2_strings_are_bytes() {
        // ((['a\xff', 'b'], [True, 0])) by hand: protocol 0 and protocol 2.
        let text = b"((lp1\nS'a\\xff'\naS'b'\na(lp2\nI01\naI0\natp3\n.";
        let binary = b"\x80\x02](U\x02a\xffT\x01\x00\x00\x00be](\x88K\x00e\x86.";
        let expected = (vec![vec![b'a', 0xff], vec![b'b']], vec![true, false]);
        assert_eq!(pairs(text), Ok(expected.clone()));
        assert_eq!(pairs(binary), Ok(expected));
    }

    #[test]
    fn damaged_pickles_and_calls_do_nothing() {
        for bytes in [
            &b""[..],
            b".",
            b"\x80\x02",
            b"(",
            b"e.",
            b"\x80\x04C\xffab.",
            b"j\0\0\0\0.",
            b"U\x05ab",
            b"a.",
            b"(]e.",
            b"\x85.",
        ] {
            assert!(Pickle::read(bytes).is_err(), "{bytes:?}");
        }
        // A call is a name with arguments.
        let call = Pickle::read(b"cos\nsystem\n(S'ls'\ntR.").unwrap();
        assert!(call.root().items().is_none() && call.root().bytes().is_err() && call.root().truths().is_none());
        // A list that holds itself ends, too.
        let own = Pickle::read(b"]q\x00h\x00a.").unwrap();
        assert_eq!(own.root().items().unwrap().len(), 1);
        assert!(own.root().items().unwrap()[0].bytes().is_err());
        assert!(Pickle::read(b"}q\x00(U\x01aK\x01u.").is_ok());
        // Nor does an array whose state is the array, or calls of calls of calls.
        let own = Pickle::read(b"cnumpy.core.multiarray\n_reconstruct\n)Rq\x00h\x00b.").unwrap();
        assert!(own.root().items().is_none() && own.root().bytes().is_err() && own.root().truths().is_none());
        let deep = [&b"ca\nencode\nq\x00"[..], &b"h\x00".repeat(200_000), b")", &b"R".repeat(200_000), b"."].concat();
        let deep = Pickle::read(&deep).unwrap();
        assert!(deep.root().items().is_none() && deep.root().truths().is_none());
    }
}
