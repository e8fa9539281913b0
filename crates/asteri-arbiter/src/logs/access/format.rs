//! Compiling an access-log format: `%(name)s` atoms in literal text, or the word `json`.
//!
//! The notation is the part of Python's `%` formatting that makes sense for these values: the conversions `s` and (for
//! numbers) `d`, `i`, `u`, the flags `-` and `0`, a width, for `s` a precision, `%%`. A mistake is refused here, at
//! start-up, rather than found out by a broken line per request. An unknown name is no mistake: it shows `-`, as
//! Gunicorn does, and is listed by [`AccessFormat::unknown_atoms`].

use std::error::Error;
use std::fmt;

use super::render::Spec;
use super::{AccessFields, AccessRecord, json};
use crate::logs::escape;

/// A compiled format.
#[derive(Clone, Debug)]
pub struct AccessFormat {
    layout: Layout,
    unknown: Vec<String>,
}

#[derive(Clone, Debug)]
enum Layout {
    Json,
    Pieces(Vec<Piece>),
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(Box<str>),
    Atom(Atom, Spec),
}

/// What an atom shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Atom {
    RemoteAddr,
    /// `l`, and every unknown name
    Dash,
    User,
    Date,
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Status,
    /// `B` and `b`. The Common Log Format would have `-` for 0 in `b`; Gunicorn shows 0, and programs that read its
    /// lines expect that.
    Bytes,
    Referer,
    UserAgent,
    Seconds,
    Millis,
    DecimalSeconds,
    Micros,
    Pid,
    RequestField(Box<str>),
    ResponseField(Box<str>),
    Environ(Box<str>),
}

/// Names of one letter. Case counts.
pub(super) const ATOMS: &[(&str, Atom)] = &[
    ("h", Atom::RemoteAddr),
    ("l", Atom::Dash),
    ("u", Atom::User),
    ("t", Atom::Date),
    ("r", Atom::RequestLine),
    ("m", Atom::Method),
    ("U", Atom::Path),
    ("q", Atom::Query),
    ("H", Atom::Protocol),
    ("s", Atom::Status),
    ("B", Atom::Bytes),
    ("b", Atom::Bytes),
    ("f", Atom::Referer),
    ("a", Atom::UserAgent),
    ("T", Atom::Seconds),
    ("M", Atom::Millis),
    ("D", Atom::Micros),
    ("L", Atom::DecimalSeconds),
    ("p", Atom::Pid),
];

impl Atom {
    fn named(name: &str) -> Option<Atom> {
        if let Some((_, atom)) = ATOMS.iter().find(|(letter, _)| *letter == name) {
            return Some(atom.clone());
        }
        let (field, kind) = name.strip_prefix('{')?.rsplit_once('}')?;
        if field.is_empty() {
            return None;
        }
        match kind {
            "i" | "I" => Some(Atom::RequestField(field.to_ascii_lowercase().into())),
            "o" | "O" => Some(Atom::ResponseField(field.to_ascii_lowercase().into())),
            "e" | "E" => Some(Atom::Environ(field.to_ascii_uppercase().into())),
            _ => None,
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Atom::Status | Atom::Bytes | Atom::Seconds | Atom::Millis | Atom::Micros)
    }
}

/// Widths beyond this are a slip of the keyboard, and would be memory for every line.
const MAX_WIDTH: usize = 1000;

impl AccessFormat {
    /// Gunicorn's default.
    pub const DEFAULT: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;

    /// Compiles the value of `access_log_format`: a format, or `json`.
    pub fn compile(format: &str) -> Result<Self, FormatError> {
        let mut compiled = Self { layout: Layout::Json, unknown: Vec::new() };
        if format != "json" {
            let mut parser = Parser { format, at: 0, pieces: Vec::new(), unknown: &mut compiled.unknown };
            parser.run()?;
            compiled.layout = Layout::Pieces(parser.pieces);
        }
        Ok(compiled)
    }

    /// Names in the format that mean nothing and show `-`, for a notice at start-up.
    pub fn unknown_atoms(&self) -> &[String] {
        &self.unknown
    }

    /// Appends the line of one request to `out`, without a newline. Allocates nothing once `out` is large enough and if
    /// `fields` does not.
    pub fn render(&self, out: &mut Vec<u8>, record: &AccessRecord<'_>, fields: &dyn AccessFields) {
        match &self.layout {
            Layout::Json => json::render(out, record, fields),
            Layout::Pieces(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                        Piece::Atom(atom, spec) => spec.apply(out, |out| atom.render(out, record, fields)),
                    }
                }
            }
        }
    }
}

/// A format that cannot be used: where, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    position: usize,
    problem: String,
}

impl FormatError {
    /// The character at fault, counted from 1.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.position, self.problem)
    }
}

impl Error for FormatError {}

struct Parser<'f, 'u> {
    format: &'f str,
    /// Byte offset of what comes next
    at: usize,
    pieces: Vec<Piece>,
    unknown: &'u mut Vec<String>,
}

impl<'f> Parser<'f, '_> {
    fn run(&mut self) -> Result<(), FormatError> {
        if self.format.is_empty() {
            return Err(self.error(0, "the format is empty; expected atoms such as %(r)s, or json".into()));
        }
        let mut literal = String::new();
        while let Some(c) = self.next() {
            let start = self.at - c.len_utf8();
            match c {
                '%' if self.peek() == Some('%') => {
                    self.next();
                    literal.push('%');
                }
                '%' => {
                    if !literal.is_empty() {
                        self.pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
                    }
                    let piece = self.atom(start)?;
                    self.pieces.push(piece);
                }
                c if c.is_control() && c != '\t' => {
                    let shown = c.escape_default();
                    return Err(self.error(start, format!("{shown} would break the line; expected text on one line")));
                }
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            self.pieces.push(Piece::Literal(literal.into()));
        }
        Ok(())
    }

    /// The rest of an atom whose `%`, at `start`, has been read.
    fn atom(&mut self, start: usize) -> Result<Piece, FormatError> {
        match self.next() {
            Some('(') => {}
            Some(c) if Atom::named(c.encode_utf8(&mut [0; 4])).is_some() => {
                return Err(self.error(start, format!("%{c} has no parentheses; write %({c})s")));
            }
            _ => return Err(self.error(start, "a % with nothing to show; write %% for a percent sign".into())),
        }
        let name = self.name(start)?;
        let atom = Atom::named(name);
        let (spec, conversion) = self.spec(start, name)?;
        let number = match (conversion, &atom) {
            ('s', _) => false,
            ('d' | 'i' | 'u', None) => true,
            ('d' | 'i' | 'u', Some(atom)) if atom.is_number() => true,
            ('d' | 'i' | 'u', _) => {
                let problem =
                    format!("%({})s is text, which {conversion} cannot show; write s", escape(name.as_bytes()));
                return Err(self.error(start, problem));
            }
            (other, _) => {
                let (name, other) = (escape(name.as_bytes()), other.escape_default());
                return Err(self.error(
                    start,
                    format!("conversion {other} of %({name}) is not known; write s, or d for a number"),
                ));
            }
        };
        if number && spec.precision.is_some() {
            return Err(self.error(start, "a precision cuts text; use it with s".into()));
        }
        let atom = atom.unwrap_or_else(|| {
            self.unknown.push(name.to_owned());
            Atom::Dash
        });
        // Python pads text with blanks whatever the flag says.
        let zeros = spec.zeros && number && atom.is_number();
        Ok(Piece::Atom(atom, Spec { zeros, ..spec }))
    }

    /// The name up to the parenthesis that closes it; those inside come in pairs, as in Python.
    fn name(&mut self, start: usize) -> Result<&'f str, FormatError> {
        let from = self.at;
        let mut open = 1;
        while let Some(c) = self.next() {
            match c {
                '(' => open += 1,
                ')' => open -= 1,
                _ => {}
            }
            if open == 0 {
                return Ok(&self.format[from..self.at - 1]);
            }
        }
        Err(self.error(start, "the name of this atom has no end; expected \")\" and a conversion such as s".into()))
    }

    /// Flags, width, precision and the conversion character.
    fn spec(&mut self, start: usize, name: &str) -> Result<(Spec, char), FormatError> {
        let mut spec = Spec::default();
        while let Some(flag @ ('-' | '0')) = self.peek() {
            self.next();
            spec.left |= flag == '-';
            spec.zeros |= flag == '0';
        }
        spec.width = self.number(start)?.unwrap_or(0);
        if self.peek() == Some('.') {
            self.next();
            spec.precision = Some(self.number(start)?.unwrap_or(0));
        }
        match self.next() {
            Some(c) if !c.is_whitespace() => Ok((spec, c)),
            _ => {
                let name = escape(name.as_bytes());
                Err(self.error(start, format!("%({name}) has no conversion; write %({name})s")))
            }
        }
    }

    fn number(&mut self, start: usize) -> Result<Option<usize>, FormatError> {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.next();
        }
        match &self.format[from..self.at] {
            "" => Ok(None),
            digits => match digits.parse() {
                Ok(number) if number <= MAX_WIDTH => Ok(Some(number)),
                _ => Err(self.error(start, format!("{digits} is too wide; expected at most {MAX_WIDTH}"))),
            },
        }
    }

    fn peek(&self) -> Option<char> {
        self.format[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// An error at byte `offset`, which is told in characters.
    fn error(&self, offset: usize, problem: String) -> FormatError {
        FormatError { position: self.format[..offset].chars().count() + 1, problem }
    }
}

#[cfg(test)]
#[path = "../tests/format.rs"]
mod tests;
