//! A program that calls a model through its kit's crate: answers what `pipeline/runners/wire.py` describes. Its argument is
//! the prefix of the model. Arguments that are parameters are left to the kit, which has them from the bundle; a model
//! without any is loaded at once.

use kit::{call_runtime, AnyModel, Error, Object, Output, Value};
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

struct Program<In: BufRead, Out: Write> {
    input: In,
    output: Out,
    prefix: String,
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
            self.model = None;
            self.model = Some(AnyModel::open(&self.prefix, bundle)?);
            return Ok(Vec::new());
        }
        if self.model.is_none() && verb == "call" {
            self.model = Some(AnyModel::open(&self.prefix, "")?);
        }
        let arguments = given.iter().map(|one| self.value(one)).collect::<Result<Vec<Value>>>()?;
        Ok(match &self.model {
            Some(model) if verb == "call" => model.call(name, &arguments)?,
            _ => call_runtime(name, &arguments)?,
        })
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
    let model = AnyModel::open(&prefix, "").ok();
    let mut program = Program { input: io::stdin().lock(), output: io::stdout().lock(), prefix, model, held: HashMap::new() };
    writeln!(program.output, "ready 1 0")?;
    program.output.flush()?;
    while program.answer()? {}
    Ok(())
}
