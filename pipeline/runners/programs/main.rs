//! A program that calls a model through its type in the kit's crate, and where that has no method for a function, through
//! `AnyModel`: answers what `pipeline/runners/wire.py` describes. Its argument is the prefix of the model. Arguments that
//! are parameters are left to the kit, which has them from the bundle; a model without any is loaded at once.

#![allow(dead_code, unused_imports, unused_variables)] // what calls.rs has no use for

use kit::{call_runtime, AnyModel, Element, Error, Object, Output, Tensor, Value};
use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, BufRead, Write};
use std::time::Instant;

/// An argument as it was read.
enum Given {
    Tensor(CString, Vec<i64>, Vec<u8>),
    Shape(Vec<i64>),
    Int(i64),
    Float(f64),
    Text(String),
    Held(i64),
}

/// A method of a model's type, as a function of what was read.
type Call = Box<dyn Fn(&[Given], &HashMap<i64, Object>) -> Result<Vec<Output>>>;

// `calls.rs` has `methods`: those of the model with a prefix by the names of their functions, none of a model without a type.
include!("calls.rs");

trait Taken: Sized {
    fn taken(given: &Given) -> Result<Self>;
}

impl<T: Element, const RANK: usize> Taken for Tensor<T, RANK> {
    fn taken(given: &Given) -> Result<Self> {
        let Given::Tensor(_, shape, data) = given else { return Err("its type takes a tensor for another argument".into()) };
        let extents: Vec<usize> = shape.iter().map(|extent| *extent as usize).collect();
        let extents = extents.try_into().map_err(|_| format!("its type takes a tensor of {RANK} dimensions for another"))?;
        let count = data.len() / std::mem::size_of::<T>();
        let mut values = Vec::<T>::with_capacity(count);
        // SAFETY: so many bytes are there, and any bits are an element.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), values.as_mut_ptr().cast(), count * std::mem::size_of::<T>());
            values.set_len(count);
        }
        Ok(Tensor::new(extents, values))
    }
}
impl<const RANK: usize> Taken for [i64; RANK] {
    fn taken(given: &Given) -> Result<Self> {
        let Given::Shape(shape) = given else { return Err("its type takes a shape for another argument".into()) };
        shape.clone().try_into().map_err(|_| format!("its type takes a shape of {RANK} extents for another").into())
    }
}
impl Taken for i64 {
    fn taken(given: &Given) -> Result<Self> {
        if let Given::Int(value) = given { Ok(*value) } else { Err("its type takes an int for another argument".into()) }
    }
}
impl Taken for f64 {
    fn taken(given: &Given) -> Result<Self> {
        if let Given::Float(value) = given { Ok(*value) } else { Err("its type takes a float for another argument".into()) }
    }
}

fn object<'a>(given: &Given, held: &'a HashMap<i64, Object>) -> Result<&'a Object> {
    if let Given::Held(number) = given { held.get(number).ok_or_else(|| "no such object".into()) } else { Err("its type takes an object for another argument".into()) }
}

trait Answer {
    fn output(self) -> Output;
}

impl<T: Element, const RANK: usize> Answer for Tensor<T, RANK> {
    fn output(self) -> Output {
        match Value::from(&self) {
            Value::Tensor { dtype, shape, data } => Output::Tensor { dtype: dtype.to_string_lossy().into_owned(), shape, data: data.to_vec() },
            _ => Output::None,
        }
    }
}
impl Answer for Object {
    fn output(self) -> Output {
        Output::Object(self)
    }
}
impl Answer for i64 {
    fn output(self) -> Output {
        Output::Int(self)
    }
}
impl Answer for f64 {
    fn output(self) -> Output {
        Output::Float(self)
    }
}

struct Program<In: BufRead, Out: Write> {
    input: In,
    output: Out,
    prefix: String,
    bundle: String,
    methods: HashMap<&'static str, Call>,
    model: Option<AnyModel>,
    held: HashMap<i64, Object>,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn parse<T: std::str::FromStr>(word: Option<&&str>) -> Result<T> {
    word.and_then(|word| word.parse().ok()).ok_or_else(|| "a malformed value".into())
}

impl<In: BufRead, Out: Write> Program<In, Out> {
    fn line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        Ok(if self.input.read_line(&mut line)? == 0 { None } else { Some(line.trim_end().to_string()) })
    }

    fn bytes(&mut self, size: usize) -> Result<Vec<u8>> {
        let mut data = vec![0; size];
        self.input.read_exact(&mut data)?;
        Ok(data)
    }

    /// Reads a value; `None` for one that the kit brings itself.
    fn read(&mut self) -> Result<Option<Given>> {
        let line = self.line()?.ok_or("the input ended early")?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let extents = |from: usize| words[from..].iter().map(|word| parse(Some(word))).collect::<Result<Vec<i64>>>();
        Ok(Some(match words.first().copied().unwrap_or("") {
            "tensor" => {
                let shape = extents(3)?;
                let bits: usize = words[1].trim_start_matches(|c: char| !c.is_ascii_digit()).split('_').next().unwrap_or("").parse().unwrap_or(8);
                let size = shape.iter().product::<i64>() as usize * bits / 8;
                Given::Tensor(CString::new(words[1])?, shape, self.bytes(size)?)
            }
            "shape" => Given::Shape(extents(2)?),
            "int" => Given::Int(parse(words.get(1))?),
            "float" => Given::Float(parse(words.get(1))?),
            "held" => Given::Held(parse(words.get(1))?),
            "text" => Given::Text(String::from_utf8(self.bytes(parse(words.get(1))?)?)?),
            "parameter" => {
                self.bytes(parse(words.get(1))?)?;
                return Ok(None);
            }
            "array" => {
                for _ in 0..parse::<usize>(words.get(1))? {
                    if self.read()?.is_some() {
                        return Err("a list of something else than parameters".into());
                    }
                }
                return Ok(None);
            }
            other => return Err(format!("cannot read {other:?}").into()),
        }))
    }

    fn run(&mut self, verb: &str, name: &str, given: &[Given]) -> Result<Vec<Output>> {
        if let ("parameters", [Given::Text(bundle)]) = (verb, given) {
            return self.open(bundle).map(|_| Vec::new());
        }
        if verb == "call" {
            if self.model.is_none() && self.methods.is_empty() {
                self.open("")?;
            }
            if let Some(method) = self.methods.get(name) {
                return method(given, &self.held).map_err(|error| format!("rust/lib.rs: {error}").into());
            }
            if self.model.is_none() {
                self.model = Some(AnyModel::open(&self.prefix, &self.bundle)?);
            }
        }
        let arguments = given.iter().map(|one| self.value(one)).collect::<Result<Vec<Value>>>()?;
        Ok(match &self.model {
            Some(model) if verb == "call" => model.call(name, &arguments)?,
            _ => call_runtime(name, &arguments)?,
        })
    }

    fn open(&mut self, bundle: &str) -> Result<()> {
        self.bundle = bundle.into();
        self.model = None;
        self.methods = HashMap::new();
        self.methods = methods(&self.prefix, bundle)?;
        if self.methods.is_empty() {
            self.model = Some(AnyModel::open(&self.prefix, bundle)?);
        }
        Ok(())
    }

    fn value<'a>(&'a self, given: &'a Given) -> Result<Value<'a>> {
        Ok(match given {
            Given::Tensor(dtype, shape, data) => Value::Tensor { dtype, shape: shape.clone(), data },
            Given::Shape(shape) => Value::Shape(shape.clone()),
            Given::Int(value) => Value::Int(*value),
            Given::Float(value) => Value::Float(*value),
            Given::Text(text) => Value::Text(CString::new(text.as_str())?),
            Given::Held(number) => Value::Object(self.held.get(number).ok_or_else(|| Error("no such object".into()))?),
        })
    }

    fn write(&mut self, output: Output) -> Result<()> {
        match output {
            Output::Tensor { dtype, shape, data } => {
                let extents: Vec<String> = shape.iter().map(i64::to_string).collect();
                writeln!(self.output, "tensor {dtype} {} {}", shape.len(), extents.join(" "))?;
                self.output.write_all(&data)?;
            }
            Output::Int(value) => writeln!(self.output, "int {value}")?,
            Output::Float(value) => writeln!(self.output, "float {value:?}")?,
            Output::None => writeln!(self.output, "none")?,
            Output::Object(object) => {
                let number = self.held.len() as i64 + 1;
                self.held.insert(number, object);
                writeln!(self.output, "held {number}")?;
            }
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<bool> {
        let Some(line) = self.line()? else { return Ok(false) };
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut given = Vec::new();
        for _ in 0..parse::<usize>(words.get(2))? {
            given.extend(self.read()?);
        }
        let begin = Instant::now();
        match self.run(words[0], words[1], &given) {
            Ok(results) => {
                writeln!(self.output, "done {}", begin.elapsed().as_nanos())?;
                match results.len() {
                    0 => writeln!(self.output, "none")?,
                    1 => {}
                    count => writeln!(self.output, "array {count}")?,
                }
                for one in results {
                    self.write(one)?;
                }
            }
            Err(error) => {
                let text = error.to_string();
                write!(self.output, "failed {}\n{text}", text.len())?;
            }
        }
        self.output.flush()?;
        Ok(true)
    }
}

fn main() -> Result<()> {
    let prefix = std::env::args().nth(1).ok_or("give a prefix")?;
    let (input, output, methods, held) = (io::stdin().lock(), io::stdout().lock(), HashMap::new(), HashMap::new());
    let mut program = Program { input, output, prefix, bundle: String::new(), methods, model: None, held };
    let _ = program.open(""); // with its parameters, or at its first call, it says why
    writeln!(program.output, "ready 1 0")?;
    program.output.flush()?;
    while program.answer()? {}
    Ok(())
}
