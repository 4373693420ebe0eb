//! The stack machine that a pickle is a program of, without the codes that would do anything.

use super::{CUT, Id, Node, Read};
use std::collections::BTreeMap;

/// A pickle that is being read.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The values so far.
    pub nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: BTreeMap<u64, Id>,
}

impl<'a> Machine<'a> {
    /// A machine at the beginning of a pickle.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: BTreeMap::new() }
    }

    /// Follows the pickle to its end: the position of its value.
    ///
    /// # Errors
    /// Text that says what is wrong with it.
    pub fn run(&mut self) -> Read<Id> {
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
