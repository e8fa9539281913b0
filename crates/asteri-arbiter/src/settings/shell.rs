//! Splits the text of `GUNICORN_CMD_ARGS` and `ASTERI_CMD_ARGS` into arguments, by the rules of a POSIX shell without
//! expansion: blanks separate, single quotes keep everything, double quotes and backslashes as usual.

/// Splits a text.
///
/// # Errors
/// The quote or backslash that has no end.
pub fn split(text: &str) -> Result<Vec<String>, char> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or('\'')? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or('"')? {
                        '"' => break,
                        '\\' => match chars.next().ok_or('"')? {
                            c @ ('"' | '\\') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next().ok_or('\\')?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words() {
        for (text, expected) in [
            ("", vec![]),
            ("  -w 4\t--reload\n", vec!["-w", "4", "--reload"]),
            (r#"--access-logformat '%(h)s "%(r)s"'"#, vec!["--access-logformat", r#"%(h)s "%(r)s""#]),
            (r#"-e "A=b \"c\" \n""#, vec!["-e", r#"A=b "c" \n"#]),
            (r"a\ b ''", vec!["a b", ""]),
            ("a'b'\"c\"", vec!["abc"]),
        ] {
            assert_eq!(split(text), Ok(expected.into_iter().map(str::to_owned).collect()), "{text}");
        }
        assert_eq!(split("a 'b"), Err('\''));
        assert_eq!(split("\"a\\"), Err('"'));
        assert_eq!(split("a\\"), Err('\\'));
    }
}
