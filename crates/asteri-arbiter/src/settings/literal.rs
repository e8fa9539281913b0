//! How far a Python literal reaches: enough of the grammar to split the arguments of a factory and to refuse
//! expressions. Python's own `ast.literal_eval` has the last word about each of them.

/// Deeper nesting than this is no argument that somebody typed, and must not exhaust the stack.
const DEEPEST: u32 = 32;

/// The length in bytes of the literal at the start of `text`; `None` if there is none.
pub fn length(text: &str) -> Option<usize> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.value(0)?;
    Some(scanner.at)
}

/// Whether a text is a name in Python's sense, keywords included.
pub fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic()) && chars.all(|c| c == '_' || c.is_alphanumeric())
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn value(&mut self, depth: u32) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'[' => self.sequence(b']', depth),
            b'(' => self.sequence(b')', depth),
            b'{' => self.sequence(b'}', depth),
            b'"' | b'\'' => self.string(false),
            b'0'..=b'9' | b'.' | b'+' | b'-' => self.number(),
            _ => self.word(),
        }
    }

    /// Elements with commas between them; `key: value` pairs in braces.
    fn sequence(&mut self, close: u8, depth: u32) -> Option<()> {
        self.at += 1;
        loop {
            self.skip_spaces();
            if self.eat(close) {
                return Some(());
            }
            self.value(depth + 1)?;
            self.skip_spaces();
            if close == b'}' && self.eat(b':') {
                self.skip_spaces();
                self.value(depth + 1)?;
                self.skip_spaces();
            }
            if !self.eat(b',') {
                return self.eat(close).then_some(());
            }
        }
    }

    fn string(&mut self, raw: bool) -> Option<()> {
        let quote = self.peek()?;
        self.at += 1;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            if byte == quote {
                return Some(());
            }
            // In a raw string a backslash keeps the quote from ending it too.
            if byte == b'\\' {
                self.at += self.text[self.at..].chars().next()?.len_utf8();
            } else if byte == b'\n' && !raw {
                return None;
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        if matches!(self.peek(), Some(b'+' | b'-')) {
            self.at += 1;
        }
        let start = self.at;
        while let Some(byte) = self.peek() {
            let after_exponent = self.at > start
                && matches!(self.text.as_bytes()[self.at - 1], b'e' | b'E')
                && !self.text[start..].starts_with("0x");
            if !(byte.is_ascii_alphanumeric()
                || matches!(byte, b'.' | b'_')
                || (after_exponent && matches!(byte, b'+' | b'-')))
            {
                break;
            }
            self.at += 1;
        }
        self.text[start..self.at].bytes().any(|b| b.is_ascii_digit()).then_some(())
    }

    /// `True`, `False`, `None`, or the prefix of a string.
    fn word(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(rest.len());
        let word = &rest[..end];
        self.at += end;
        match word {
            "True" | "False" | "None" => Some(()),
            _ if !matches!(self.peek(), Some(b'"' | b'\'')) => None,
            _ => match word.to_ascii_lowercase().as_str() {
                "b" | "u" => self.string(false),
                "r" | "br" | "rb" => self.string(true),
                _ => None,
            },
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn skip_spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        for text in [
            "1",
            "-1.5e-3",
            "0x1F",
            "1_000",
            "2j",
            "''",
            "'a'",
            r#""a\"b""#,
            r"r'\d'",
            "b'x'",
            "True",
            "None",
            "[]",
            "[1, [2, (3,)], ]",
            "{}",
            "{'a': 1, 'b': [True]}",
            "{1, 2}",
            "( 'ü' , )",
        ] {
            assert_eq!(length(text), Some(text.len()), "{text}");
        }
        assert_eq!(length("'a', 2"), Some(3));
    }

    #[test]
    fn expressions_are_refused() {
        for text in ["", "x", "f'{x}'", "'a", "[1", "{'a': }", "[1 2]", "os.environ", "-", "lambda: 1", "'\\"] {
            assert_eq!(length(text), None, "{text}");
        }
        assert_eq!(length(&"[".repeat(100_000)), None);
    }
}
