//! Just enough Python to run config files that assign literals: `name = [1, "two"]  # comment`.

use asteri_arbiter::settings::{RawEntry, RawValue};

pub fn entries(source: &str) -> Vec<RawEntry> {
    let mut entries: Vec<RawEntry> = Vec::new();
    for (number, line) in (1..).zip(source.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(" = ").unwrap_or_else(|| panic!("no assignment: {line}"));
        let mut reader = Reader { rest: value };
        let entry = RawEntry::new(name, reader.value(), number);
        let rest = reader.rest.trim_start();
        assert!(rest.is_empty() || rest.starts_with('#'), "after the value: {line}");
        entries.push(entry);
    }
    entries
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self) -> RawValue {
        match self.peek() {
            '[' => {
                self.next();
                let mut items = Vec::new();
                while self.peek() != ']' {
                    items.push(self.value());
                    self.comma();
                }
                self.next();
                RawValue::List(items)
            }
            '{' => {
                self.next();
                let mut pairs = Vec::new();
                while self.peek() != '}' {
                    let key = self.value();
                    assert_eq!(self.peek(), ':');
                    self.next();
                    pairs.push((key, self.value()));
                    self.comma();
                }
                self.next();
                RawValue::Dict(pairs)
            }
            '"' => self.string(),
            _ => self.word(),
        }
    }

    fn string(&mut self) -> RawValue {
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                '"' => return RawValue::Str(text),
                '\\' => match self.next() {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    c @ ('"' | '\\') => text.push(c),
                    c => panic!("escape \\{c}"),
                },
                c => text.push(c),
            }
        }
    }

    fn word(&mut self) -> RawValue {
        let end = self.rest.find([' ', ',', ']', '}', ':']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "None" => RawValue::None,
            "True" => RawValue::Bool(true),
            "False" => RawValue::Bool(false),
            _ => match word.strip_prefix("0o") {
                Some(octal) => RawValue::Int(i64::from_str_radix(octal, 8).expect("octal number")),
                None if word.contains('.') => RawValue::Float(word.parse().expect("number")),
                None => RawValue::Int(word.parse().unwrap_or_else(|_| panic!("number: {word}"))),
            },
        }
    }

    fn comma(&mut self) {
        if self.peek() == ',' {
            self.next();
        }
    }

    fn peek(&mut self) -> char {
        self.rest = self.rest.trim_start();
        self.rest.chars().next().expect("more text")
    }

    fn next(&mut self) -> char {
        let c = self.rest.chars().next().expect("more text");
        self.rest = &self.rest[c.len_utf8()..];
        c
    }
}
