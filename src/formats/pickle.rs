//! Pickles as plain data. Nothing that a pickle names is imported or called: a call stays a name with arguments, in which we find the bytes,
//! truth values and NumPy arrays that lists of verification pairs are made of.

mod machine;

use machine::Machine;

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

const CUT: &str = "it is cut off or damaged";

impl Pickle {
    /// Reads a pickle of protocol 0 to 5. Values are at most as many as its bytes.
    ///
    /// # Errors
    /// Text that says what is wrong with it.
    pub fn read(bytes: &[u8]) -> Read<Self> {
        let mut machine = Machine::new(bytes);
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
