//! A template's text to what stands between and within its actions.

use super::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action { offset: usize, tokens: Vec<Token> },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) offset: usize,
    /// Whether a space is before it: `a.b` is one thing, `a .b` are two.
    pub(super) spaced: bool,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Word(String),
    /// `.name`
    Field(String),
    /// `$name`, or `$` alone.
    Variable(String),
    Dot,
    Text(String),
    Int(i64),
    Float(f64),
    Pipe,
    Open,
    Close,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    Comma,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

pub(super) fn lex(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim = false;
    while let Some(found) = text[at..].find(OPEN) {
        let open = at + found;
        let inner = open + OPEN.len();
        let marked = text[inner..]
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(SPACES));
        plain(&text[at..open], trim, marked, &mut pieces);
        let start = if marked { inner + 1 } else { inner };
        let unclosed = || TemplateError::new(open, "`{{` is not closed with `}}`");
        let body = text[start..].trim_start_matches(SPACES);
        let after = if let Some(comment) = body.strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(unclosed)?;
            comment[end + 2..].trim_start_matches(SPACES)
        } else {
            let mut lexer = Lexer { text, at: start };
            let tokens = lexer.action().ok_or_else(unclosed)??;
            pieces.push(Piece::Action {
                offset: open,
                tokens,
            });
            at = lexer.at;
            &text[at..]
        };
        let rest = after.strip_prefix('-').unwrap_or(after);
        trim = rest.len() < after.len();
        at = text.len() - rest.strip_prefix(CLOSE).ok_or_else(unclosed)?.len();
    }
    plain(&text[at..], trim, false, &mut pieces);
    Ok(pieces)
}

fn plain(text: &str, trim_start: bool, trim_end: bool, pieces: &mut Vec<Piece>) {
    let text = if trim_start {
        text.trim_start_matches(SPACES)
    } else {
        text
    };
    let text = if trim_end {
        text.trim_end_matches(SPACES)
    } else {
        text
    };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

type Lexed<T> = Result<T, TemplateError>;

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Everything up to the end of the action. `None` when it has none.
    fn action(&mut self) -> Option<Lexed<Vec<Token>>> {
        let mut tokens = Vec::new();
        loop {
            let trimmed = self.rest().trim_start_matches(SPACES);
            let spaced = trimmed.len() < self.rest().len();
            self.at = self.text.len() - trimmed.len();
            if trimmed.is_empty() {
                return None;
            }
            if trimmed.starts_with(CLOSE) || (spaced && trimmed.starts_with("-}}")) {
                return Some(Ok(tokens));
            }
            let offset = self.at;
            match self.kind() {
                Ok(kind) => tokens.push(Token {
                    offset,
                    spaced,
                    kind,
                }),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn take(&mut self, length: usize, kind: Kind) -> Lexed<Kind> {
        self.at += length;
        Ok(kind)
    }

    fn kind(&mut self) -> Lexed<Kind> {
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or_default();
        let numeric = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        match first {
            '|' => self.take(1, Kind::Pipe),
            '(' => self.take(1, Kind::Open),
            ')' => self.take(1, Kind::Close),
            ',' => self.take(1, Kind::Comma),
            ':' if rest.starts_with(":=") => self.take(2, Kind::Declare),
            '=' => self.take(1, Kind::Assign),
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.character(),
            '$' => {
                let name = name(&rest[1..]).to_owned();
                self.take(1 + name.len(), Kind::Variable(name))
            }
            '.' if !numeric(&rest[1..]) => {
                let name = name(&rest[1..]).to_owned();
                match name.is_empty() {
                    true => self.take(1, Kind::Dot),
                    false => self.take(1 + name.len(), Kind::Field(name)),
                }
            }
            '+' | '-' | '.' | '0'..='9' => self.number(),
            _ => {
                let name = name(rest).to_owned();
                match name.is_empty() {
                    true => Err(TemplateError::new(
                        self.at,
                        format!("{first:?} has no meaning here"),
                    )),
                    false => self.take(name.len(), Kind::Word(name)),
                }
            }
        }
    }

    fn number(&mut self) -> Lexed<Kind> {
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|(at, c)| {
                let sign =
                    matches!(c, '+' | '-') && (*at == 0 || rest[..*at].ends_with(['e', 'E']));
                !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || sign)
            })
            .map_or(rest.len(), |(at, _)| at);
        let text = rest[..end].replace('_', "");
        let error = TemplateError::new(self.at, format!("`{text}` is no number"));
        let hexadecimal = text
            .strip_prefix("0x")
            .map(|hex| i64::from_str_radix(hex, 16));
        if let Some(Ok(number)) = hexadecimal {
            return self.take(end, Kind::Int(number));
        }
        if let Ok(number) = text.parse() {
            return self.take(end, Kind::Int(number));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => self.take(end, Kind::Float(number)),
            _ => Err(error),
        }
    }

    fn raw(&mut self) -> Lexed<Kind> {
        let rest = &self.rest()[1..];
        let Some(end) = rest.find('`') else {
            return Err(TemplateError::new(
                self.at,
                "a raw text is not closed with a backquote",
            ));
        };
        let text = rest[..end].to_owned();
        self.take(end + 2, Kind::Text(text))
    }

    fn quoted(&mut self) -> Lexed<Kind> {
        let text = self.until('"')?;
        Ok(Kind::Text(text))
    }

    fn character(&mut self) -> Lexed<Kind> {
        let start = self.at;
        let text = self.until('\'')?;
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) => Ok(Kind::Int(i64::from(u32::from(character)))),
            _ => Err(TemplateError::new(
                start,
                "single quotes hold one character: use double quotes for text",
            )),
        }
    }

    /// A text with escapes, from its quote to the next.
    fn until(&mut self, quote: char) -> Lexed<String> {
        let start = self.at;
        let unclosed = || TemplateError::new(start, format!("a text is not closed with {quote}"));
        let mut text = String::new();
        self.at += 1;
        loop {
            let mut characters = self.rest().chars();
            let Some(character) = characters.next().filter(|c| *c != '\n') else {
                return Err(unclosed());
            };
            self.at += character.len_utf8();
            if character == quote {
                return Ok(text);
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            let escape = characters.next().ok_or_else(unclosed)?;
            self.at += escape.len_utf8();
            text.push(match escape {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '\\' | '"' | '\'' => escape,
                'x' => self.hexadecimal(2)?,
                'u' => self.hexadecimal(4)?,
                'U' => self.hexadecimal(8)?,
                _ => {
                    let message = format!("`\\{escape}` is no escape");
                    return Err(TemplateError::new(self.at - 1, message));
                }
            });
        }
    }

    fn hexadecimal(&mut self, digits: usize) -> Lexed<char> {
        let error = TemplateError::new(self.at, format!("{digits} hexadecimal digits are missing"));
        let code = self.rest().get(..digits).ok_or(error.clone())?;
        let code = u32::from_str_radix(code, 16).map_err(|_| error.clone())?;
        self.at += digits;
        char::from_u32(code).ok_or(error)
    }
}

/// The name that `text` begins with.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| c != '_' && !c.is_alphanumeric());
    let name = &text[..end.unwrap_or(text.len())];
    match name.starts_with(|c: char| c.is_ascii_digit()) {
        true => "",
        false => name,
    }
}
