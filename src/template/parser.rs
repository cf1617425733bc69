//! Pieces to a tree.

use super::TemplateError;
use super::functions;
use super::lexer::{Kind, Piece, Token};
use super::value::{Data, Value};

/// How deep actions and parentheses may nest.
const MAX_DEPTH: usize = 50;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If {
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        value: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        list: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) offset: usize,
    /// The variables that get the value.
    pub(super) names: Vec<String>,
    /// Whether they are new.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// A value, or a function and its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) offset: usize,
    pub(super) operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) offset: usize,
    pub(super) base: Base,
    pub(super) fields: Vec<(String, usize)>,
}

#[derive(Debug, Clone)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Literal(Value),
    Function(String),
    Pipeline(Pipeline),
}

pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser {
        pieces: pieces.into_iter(),
        variables: vec![String::new()],
        loops: 0,
    };
    let (nodes, end) = parser.block(0)?;
    match end {
        None => Ok(nodes),
        Some((offset, end)) => {
            let message = format!("{{{{{}}}}} has no beginning", end.word());
            Err(TemplateError::new(offset, message))
        }
    }
}

/// What ends a block.
enum End {
    /// `end`
    Close,
    Else,
    /// `else if` or `else with`, whose tokens follow.
    ElseIf(bool, Vec<Token>),
}

/// What a block holds, and what ended it at which byte; nothing does at the end
/// of the text.
type Block = (Vec<Node>, Option<(usize, End)>);

impl End {
    fn word(&self) -> &'static str {
        match self {
            Self::Close => "end",
            Self::Else | Self::ElseIf(..) => "else",
        }
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    /// The variables that are known, `$` among them as the empty name.
    variables: Vec<String>,
    loops: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Control {
    If,
    With,
    Range,
}

type Parsed<T> = Result<T, TemplateError>;

impl Parser {
    /// Nodes up to what ends them; `None` for the end of the text.
    fn block(&mut self, depth: usize) -> Parsed<Block> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (offset, tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { offset, tokens } => (offset, tokens),
            };
            if depth > MAX_DEPTH {
                let message = format!("actions nest deeper than {MAX_DEPTH}");
                return Err(TemplateError::new(offset, message));
            }
            let word = match tokens.first().map(|token| &token.kind) {
                Some(Kind::Word(word)) => word.as_str(),
                _ => "",
            };
            let alone = |tokens: &[Token]| match tokens.get(1) {
                Some(more) => Err(TemplateError::new(more.offset, "nothing may stand here")),
                None => Ok(()),
            };
            match word {
                "if" | "with" | "range" => {
                    let control = match word {
                        "if" => Control::If,
                        "with" => Control::With,
                        _ => Control::Range,
                    };
                    nodes.push(self.control(control, offset, &tokens[1..], depth)?);
                }
                "end" => {
                    alone(&tokens)?;
                    return Ok((nodes, Some((offset, End::Close))));
                }
                "else" => {
                    let next = tokens.get(1).map(|token| &token.kind);
                    let end = match next {
                        None => End::Else,
                        Some(Kind::Word(word)) if word == "if" || word == "with" => {
                            End::ElseIf(word == "with", tokens[2..].to_vec())
                        }
                        Some(_) => {
                            let message = "`else` stands alone, or before `if` or `with`";
                            return Err(TemplateError::new(offset, message));
                        }
                    };
                    return Ok((nodes, Some((offset, end))));
                }
                "break" | "continue" if self.loops > 0 => {
                    alone(&tokens)?;
                    nodes.push(if word == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    });
                }
                "break" | "continue" => {
                    let message = format!("`{word}` stands in a `range`");
                    return Err(TemplateError::new(offset, message));
                }
                "define" | "template" | "block" => {
                    let message =
                        format!("`{word}` is not offered: write its text where it is wanted");
                    return Err(TemplateError::new(offset, message));
                }
                _ => nodes.push(Node::Print(self.whole(offset, &tokens, depth)?)),
            }
        }
        Ok((nodes, None))
    }

    fn control(
        &mut self,
        control: Control,
        offset: usize,
        tokens: &[Token],
        depth: usize,
    ) -> Parsed<Node> {
        let scope = self.variables.len();
        let pipeline = self.whole(offset, tokens, depth)?;
        if pipeline.names.len() > 1 && control != Control::Range {
            return Err(TemplateError::new(
                offset,
                "one variable is all that gets the value",
            ));
        }
        self.loops += usize::from(control == Control::Range);
        let (then, end) = self.block(depth + 1)?;
        self.loops -= usize::from(control == Control::Range);
        let unclosed = || {
            let word = match control {
                Control::If => "if",
                Control::With => "with",
                Control::Range => "range",
            };
            TemplateError::new(offset, format!("`{word}` has no `{{{{end}}}}`"))
        };
        let otherwise = match end {
            None => return Err(unclosed()),
            Some((_, End::Close)) => Vec::new(),
            Some((_, End::Else)) => match self.block(depth + 1)? {
                (nodes, Some((_, End::Close))) => nodes,
                (_, Some((offset, _))) => {
                    return Err(TemplateError::new(offset, "there is an `else` already"));
                }
                (_, None) => return Err(unclosed()),
            },
            Some((offset, End::ElseIf(..))) if control == Control::Range => {
                return Err(TemplateError::new(
                    offset,
                    "`range` has a plain `else` only",
                ));
            }
            // What is within shares the outer `end`.
            Some((offset, End::ElseIf(with, tokens))) => {
                let control = if with { Control::With } else { Control::If };
                if depth > MAX_DEPTH {
                    let message = format!("actions nest deeper than {MAX_DEPTH}");
                    return Err(TemplateError::new(offset, message));
                }
                vec![self.control(control, offset, &tokens, depth + 1)?]
            }
        };
        self.variables.truncate(scope);
        Ok(match control {
            Control::If => Node::If {
                condition: pipeline,
                then,
                otherwise,
            },
            Control::With => Node::With {
                value: pipeline,
                then,
                otherwise,
            },
            Control::Range => Node::Range {
                list: pipeline,
                body: then,
                otherwise,
            },
        })
    }

    /// An action that is all pipeline.
    fn whole(&mut self, offset: usize, tokens: &[Token], depth: usize) -> Parsed<Pipeline> {
        let mut tokens = Tokens { tokens, at: 0 };
        let pipeline = self.pipeline(offset, &mut tokens, depth)?;
        match tokens.peek() {
            None => Ok(pipeline),
            Some(token) => Err(TemplateError::new(token.offset, "a `)` without its `(`")),
        }
    }

    fn pipeline(
        &mut self,
        offset: usize,
        tokens: &mut Tokens<'_>,
        depth: usize,
    ) -> Parsed<Pipeline> {
        if depth > MAX_DEPTH {
            let message = format!("parentheses nest deeper than {MAX_DEPTH}");
            return Err(TemplateError::new(offset, message));
        }
        let (names, declares) = self.targets(tokens)?;
        let mut commands = Vec::new();
        loop {
            commands.push(self.command(offset, tokens, depth)?);
            match tokens.peek().map(|token| &token.kind) {
                Some(Kind::Pipe) => tokens.at += 1,
                _ => break,
            }
        }
        // Not before: a variable is not known in what it is made of.
        if declares {
            self.variables.extend(names.iter().cloned());
        }
        Ok(Pipeline {
            offset,
            names,
            declares,
            commands,
        })
    }

    /// `$x :=`, `$i, $x :=` or `$x =`.
    fn targets(&mut self, tokens: &mut Tokens<'_>) -> Parsed<(Vec<String>, bool)> {
        let kind = |at: usize| tokens.tokens.get(tokens.at + at).map(|token| &token.kind);
        let names = match (kind(0), kind(1), kind(2), kind(3)) {
            (Some(Kind::Variable(one)), Some(Kind::Declare | Kind::Assign), ..) => {
                vec![one.clone()]
            }
            (
                Some(Kind::Variable(one)),
                Some(Kind::Comma),
                Some(Kind::Variable(two)),
                Some(Kind::Declare | Kind::Assign),
            ) => vec![one.clone(), two.clone()],
            _ => return Ok((Vec::new(), false)),
        };
        let declares = kind(2 * names.len() - 1) == Some(&Kind::Declare);
        let offset = tokens.tokens[tokens.at].offset;
        if !declares {
            for name in &names {
                self.known(name, offset)?;
            }
        }
        tokens.at += 2 * names.len();
        Ok((names, declares))
    }

    fn command(&mut self, offset: usize, tokens: &mut Tokens<'_>, depth: usize) -> Parsed<Command> {
        let offset = tokens.peek().map_or(offset, |token| token.offset);
        let mut operands: Vec<Operand> = Vec::new();
        while let Some(token) = tokens.peek() {
            if matches!(token.kind, Kind::Pipe | Kind::Close) {
                break;
            }
            tokens.at += 1;
            if let (Kind::Field(name), false, Some(last)) =
                (&token.kind, token.spaced, operands.last_mut())
            {
                last.fields.push((name.clone(), token.offset));
                continue;
            }
            operands.push(self.operand(token, tokens, depth)?);
        }
        match operands.is_empty() {
            true => Err(TemplateError::new(
                offset,
                "a value or a function is missing here",
            )),
            false => Ok(Command { offset, operands }),
        }
    }

    fn operand(&mut self, token: &Token, tokens: &mut Tokens<'_>, depth: usize) -> Parsed<Operand> {
        let mut fields = Vec::new();
        let base = match &token.kind {
            Kind::Dot => Base::Dot,
            Kind::Field(name) => {
                fields.push((name.clone(), token.offset));
                Base::Dot
            }
            Kind::Variable(name) => {
                self.known(name, token.offset)?;
                Base::Variable(name.clone())
            }
            Kind::Text(text) => Base::Literal(text.as_str().into()),
            Kind::Int(number) => Base::Literal((*number).into()),
            Kind::Float(number) => Base::Literal(Data::Float(*number).into()),
            Kind::Word(word) => match word.as_str() {
                "true" => Base::Literal(true.into()),
                "false" => Base::Literal(false.into()),
                "nil" => Base::Literal(Value::NIL),
                _ => {
                    functions::known(word)
                        .map_err(|message| TemplateError::new(token.offset, message))?;
                    Base::Function(word.clone())
                }
            },
            Kind::Open => {
                let pipeline = self.pipeline(token.offset, tokens, depth + 1)?;
                match tokens.peek().map(|token| &token.kind) {
                    Some(Kind::Close) => tokens.at += 1,
                    _ => {
                        return Err(TemplateError::new(
                            token.offset,
                            "`(` is not closed with `)`",
                        ));
                    }
                }
                Base::Pipeline(pipeline)
            }
            Kind::Pipe | Kind::Close | Kind::Declare | Kind::Assign | Kind::Comma => {
                return Err(TemplateError::new(token.offset, "a value is missing here"));
            }
        };
        Ok(Operand {
            offset: token.offset,
            base,
            fields,
        })
    }

    fn known(&self, name: &str, offset: usize) -> Parsed<()> {
        match self.variables.iter().any(|known| known == name) {
            true => Ok(()),
            false => {
                let message =
                    format!("there is no variable `${name}`: declare it with `${name} := …`");
                Err(TemplateError::new(offset, message))
            }
        }
    }
}

struct Tokens<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }
}
