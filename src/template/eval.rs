//! A tree and its data to text.

use super::functions::{self, Call};
use super::parser::{Base, Command, Node, Operand, Pipeline};
use super::print;
use super::time;
use super::value::{Data, Value};
use super::{Rendered, Surroundings, TemplateError};

/// How many bytes a template may make, in its text and on the way to it.
const MAX_MADE: usize = 1 << 20;

/// How many actions it may run.
const MAX_STEPS: usize = 100_000;

pub(super) fn render(
    nodes: &[Node],
    data: &Value,
    surroundings: &dyn Surroundings,
) -> Result<Rendered, TemplateError> {
    let mut eval = Eval {
        surroundings,
        out: String::new(),
        secret: data.secret,
        decided: false,
        variables: vec![(String::new(), data.clone())],
        made: 0,
        steps: 0,
    };
    eval.run(nodes, data)?;
    Ok(Rendered {
        text: eval.out,
        secret: eval.secret,
    })
}

struct Eval<'a> {
    surroundings: &'a dyn Surroundings,
    out: String,
    /// Whether something secret is in `out`.
    secret: bool,
    /// Whether a secret decided that what runs now runs.
    decided: bool,
    variables: Vec<(String, Value)>,
    made: usize,
    steps: usize,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

type Evaluated<T> = Result<T, TemplateError>;

impl Eval<'_> {
    fn run(&mut self, nodes: &[Node], dot: &Value) -> Evaluated<Flow> {
        for node in nodes {
            match node {
                Node::Text(text) => self.write(text, false, 0)?,
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.names.is_empty() {
                        self.write(&print::plain(&value), value.secret, pipeline.offset)?;
                    }
                }
                Node::If {
                    condition,
                    then,
                    otherwise,
                } => {
                    let scope = self.variables.len();
                    let value = self.pipeline(condition, dot)?;
                    let nodes = if value.truth() { then } else { otherwise };
                    match self.decided_by(&value, |eval| eval.run(nodes, dot))? {
                        Flow::On => self.variables.truncate(scope),
                        flow => return Ok(flow),
                    }
                }
                Node::With {
                    value,
                    then,
                    otherwise,
                } => {
                    let scope = self.variables.len();
                    let value = self.pipeline(value, dot)?;
                    let flow = match value.truth() {
                        true => self.decided_by(&value, |eval| eval.run(then, &value))?,
                        false => self.decided_by(&value, |eval| eval.run(otherwise, dot))?,
                    };
                    match flow {
                        Flow::On => self.variables.truncate(scope),
                        flow => return Ok(flow),
                    }
                }
                Node::Range {
                    list,
                    body,
                    otherwise,
                } => {
                    let scope = self.variables.len();
                    self.range(list, body, otherwise, dot)?;
                    self.variables.truncate(scope);
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    /// Runs what `value` decided: what it writes or keeps tells of the value.
    fn decided_by<T>(&mut self, value: &Value, run: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.decided;
        self.decided |= value.secret;
        // Even if it writes nothing.
        self.secret |= self.decided;
        let result = run(self);
        self.decided = before;
        result
    }

    fn range(
        &mut self,
        list: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Evaluated<()> {
        let names = &list.names;
        let scope = self.variables.len();
        let value = self.commands(list, dot)?;
        let items: Vec<(Value, Value)> = match &value.data {
            Data::List(items) => {
                let items = items.iter().enumerate();
                let numbered = items.map(|(number, item)| {
                    (
                        i64::try_from(number).unwrap_or(i64::MAX).into(),
                        item.clone(),
                    )
                });
                numbered.collect()
            }
            Data::Map(entries) => {
                let entries = entries.iter();
                entries
                    .map(|(key, value)| (key.as_str().into(), value.clone()))
                    .collect()
            }
            Data::Int(count) => (0..(*count).clamp(0, 1 << 17))
                .map(|n| (n.into(), n.into()))
                .collect(),
            Data::Nil => Vec::new(),
            _ => {
                let message = format!(
                    "`range` goes over a list or a map, and this is {}",
                    value.kind()
                );
                return Err(TemplateError::new(list.offset, message));
            }
        };
        self.decided_by(&value, |eval| {
            if items.is_empty() {
                eval.run(otherwise, dot)?;
                return Ok(());
            }
            for (key, item) in items {
                let item = item.tainted(value.secret);
                if list.declares {
                    eval.variables.truncate(scope);
                    match names.as_slice() {
                        [one] => eval.variables.push((one.clone(), item.clone())),
                        [one, two] => {
                            eval.variables
                                .push((one.clone(), key.tainted(value.secret)));
                            eval.variables.push((two.clone(), item.clone()));
                        }
                        _ => {}
                    }
                } else if let [.., last] = names.as_slice() {
                    if let [first, _] = names.as_slice() {
                        eval.assign(first, key.tainted(value.secret));
                    }
                    eval.assign(last, item.clone());
                }
                eval.step(list.offset)?;
                let inner = eval.variables.len();
                let flow = eval.run(body, &item)?;
                eval.variables.truncate(inner);
                if flow == Flow::Break {
                    break;
                }
            }
            Ok(())
        })
    }

    fn write(&mut self, text: &str, secret: bool, offset: usize) -> Evaluated<()> {
        self.step(offset)?;
        self.make(text.len(), offset)?;
        self.secret |= secret;
        self.out.push_str(text);
        Ok(())
    }

    fn step(&mut self, offset: usize) -> Evaluated<()> {
        self.steps += 1;
        match self.steps > MAX_STEPS {
            true => Err(TemplateError::new(
                offset,
                format!("it takes more than {MAX_STEPS} steps"),
            )),
            false => Ok(()),
        }
    }

    /// Counts bytes that were made, so that no template fills the memory.
    fn make(&mut self, bytes: usize, offset: usize) -> Evaluated<()> {
        self.made = self.made.saturating_add(bytes);
        match self.made > MAX_MADE {
            true => Err(TemplateError::new(
                offset,
                "it makes more than 1 MiB of text",
            )),
            false => Ok(()),
        }
    }

    /// A pipeline's value, which its variables get.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Evaluated<Value> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.names {
            match pipeline.declares {
                true => self.variables.push((name.clone(), value.clone())),
                false => self.assign(name, value.clone()),
            }
        }
        Ok(value)
    }

    fn assign(&mut self, name: &str, value: Value) {
        let decided = self.decided;
        let known = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name);
        if let Some((_, old)) = known {
            *old = value.tainted(decided);
        }
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Evaluated<Value> {
        let mut piped = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, piped, dot)?);
        }
        let value = piped.unwrap_or(Value::NIL);
        let decided = self.decided;
        Ok(value.tainted(decided))
    }

    fn command(
        &mut self,
        command: &Command,
        piped: Option<Value>,
        dot: &Value,
    ) -> Evaluated<Value> {
        self.step(command.offset)?;
        let Some((first, rest)) = command.operands.split_first() else {
            return Ok(Value::NIL);
        };
        if let (Base::Function(name), true) = (&first.base, first.fields.is_empty())
            && let "and" | "or" = name.as_str()
        {
            return self.logic(name == "or", command.offset, rest, piped, dot);
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, Vec::new(), dot)?);
        }
        arguments.extend(piped);
        self.operand(first, arguments, dot)
    }

    /// `and` and `or` look no further than they must.
    fn logic(
        &mut self,
        any: bool,
        offset: usize,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Evaluated<Value> {
        let mut last = None;
        let mut secret = false;
        for operand in operands {
            let value = self.operand(operand, Vec::new(), dot)?;
            secret |= value.secret;
            if value.truth() == any {
                return Ok(value.tainted(secret));
            }
            last = Some(value);
        }
        match piped.or(last) {
            Some(value) => Ok(value.tainted(secret)),
            None => Err(TemplateError::new(offset, "`and` and `or` need a value")),
        }
    }

    /// An operand's value; the last of its fields, or its function, gets the
    /// arguments.
    fn operand(
        &mut self,
        operand: &Operand,
        arguments: Vec<Value>,
        dot: &Value,
    ) -> Evaluated<Value> {
        let Operand {
            offset,
            base,
            fields,
        } = operand;
        let mut arguments = Some(arguments);
        let last = fields.len();
        let mut value = match base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map_or(Value::NIL, |(_, value)| value.clone())
            }
            Base::Literal(value) => value.clone(),
            Base::Pipeline(pipeline) => self.pipeline(pipeline, dot)?,
            Base::Function(name) => {
                let arguments = match last {
                    0 => arguments.take().unwrap_or_default(),
                    _ => Vec::new(),
                };
                let call = Call {
                    name,
                    offset: *offset,
                    surroundings: self.surroundings,
                };
                let value = functions::call(&call, &arguments)?;
                self.make(print::size(&value), *offset)?;
                value
            }
        };
        for (number, (field, offset)) in fields.iter().enumerate() {
            let arguments = match number + 1 == last {
                true => arguments.take().unwrap_or_default(),
                false => Vec::new(),
            };
            value = self.field(&value, field, &arguments, *offset)?;
        }
        match arguments {
            Some(given) if !given.is_empty() => Err(TemplateError::new(
                *offset,
                "this is no function, and gets no arguments",
            )),
            _ => Ok(value),
        }
    }

    fn field(
        &mut self,
        value: &Value,
        name: &str,
        arguments: &[Value],
        offset: usize,
    ) -> Evaluated<Value> {
        let secret = value.secret || arguments.iter().any(|argument| argument.secret);
        let error = |message: String| TemplateError::new(offset, message);
        let found = match &value.data {
            Data::Map(entries) => match entries.get(name) {
                Some(_) if !arguments.is_empty() => {
                    return Err(error(format!(
                        "`.{name}` is no function, and gets no arguments"
                    )));
                }
                Some(found) => found.clone(),
                None => {
                    let names = entries.keys().map(String::as_str);
                    let hint = functions::suggestion(name, names);
                    return Err(error(format!("there is no `.{name}` here{hint}")));
                }
            },
            Data::Clock => time::clock(name, arguments, self.surroundings).map_err(error)?,
            Data::Time(at) => time::method(at, name, arguments).map_err(error)?,
            Data::Nil => return Err(error(format!("there is no `.{name}` here"))),
            _ => {
                let message = format!(
                    "`.{name}` is asked of {}, which has no fields",
                    value.kind()
                );
                return Err(error(message));
            }
        };
        self.make(print::size(&found), offset)?;
        Ok(found.tainted(secret))
    }
}
