//! Which formats are taken and how the others are refused.

use super::*;

fn refused(format: &str) -> (usize, String) {
    let error = AccessFormat::compile(format).expect_err(format);
    let text = error.to_string();
    let problem = text.strip_prefix(&format!("at character {}: ", error.position()));
    (error.position(), problem.expect("the position comes first").to_owned())
}

#[test]
fn gunicorns_default_compiles() {
    let format = AccessFormat::compile(AccessFormat::DEFAULT).expect("the default");
    assert!(format.unknown_atoms().is_empty());
    AccessFormat::compile("json").expect("JSON");
}

#[test]
fn every_letter_compiles_and_takes_d_only_for_numbers() {
    for (letter, atom) in ATOMS {
        let format = AccessFormat::compile(&format!("%({letter})s")).expect(letter);
        assert!(format.unknown_atoms().is_empty(), "{letter}");
        assert_eq!(AccessFormat::compile(&format!("%({letter})d")).is_ok(), "sBbTMD".contains(letter), "{atom:?}");
    }
}

#[test]
fn unknown_names_are_listed_not_refused() {
    let format = AccessFormat::compile("%(x)s %(HH)s %({}i)s %({a}z)s %({a)s %()s %(h)s %(x)d").expect("compiles");
    assert_eq!(format.unknown_atoms(), ["x", "HH", "{}i", "{a}z", "{a", "", "x"]);
}

#[test]
fn mistakes_are_told_where_they_are() {
    assert_eq!(refused(""), (1, "the format is empty; expected atoms such as %(r)s, or json".into()));
    assert_eq!(refused("%h %r"), (1, "%h has no parentheses; write %(h)s".into()));
    assert_eq!(refused("%(h)s 100%"), (10, "a % with nothing to show; write %% for a percent sign".into()));
    assert_eq!(refused("50% of"), (3, "a % with nothing to show; write %% for a percent sign".into()));
    assert_eq!(
        refused("%(h"),
        (1, "the name of this atom has no end; expected \")\" and a conversion such as s".into())
    );
    assert_eq!(refused("%(s)s %(h)"), (7, "%(h) has no conversion; write %(h)s".into()));
    assert_eq!(refused("%(h) x"), (1, "%(h) has no conversion; write %(h)s".into()));
    assert_eq!(refused("%(h)-20"), (1, "%(h) has no conversion; write %(h)s".into()));
    assert_eq!(refused("%(L)f"), (1, "conversion f of %(L) is not known; write s, or d for a number".into()));
    assert_eq!(refused("%(a)*s"), (1, "conversion * of %(a) is not known; write s, or d for a number".into()));
    assert_eq!(refused("%(r)d"), (1, "%(r)s is text, which d cannot show; write s".into()));
    assert_eq!(refused("%(s).2d"), (1, "a precision cuts text; use it with s".into()));
    assert_eq!(refused("%(s)99999s"), (1, "99999 is too wide; expected at most 1000".into()));
    assert_eq!(refused("%(s)99999999999999999999999s").0, 1);
    assert_eq!(refused("%(h)s\n"), (6, "\\n would break the line; expected text on one line".into()));
}

#[test]
fn positions_count_characters() {
    assert_eq!(refused("\u{e9}\u{e9} %(h").0, 4);
}

#[test]
fn the_word_json_only_counts_alone() {
    let format = AccessFormat::compile("json %(s)s").expect("text");
    let mut line = Vec::new();
    format.render(&mut line, &AccessRecord { status: Some(204), ..AccessRecord::default() }, &());
    assert_eq!(line, b"json 204");
}

proptest::proptest! {
    #[test]
    fn no_format_makes_the_compiler_panic(format in "[%()a-zU{}.0-9 \\-\u{e9}\n*]{0,24}") {
        match AccessFormat::compile(&format) {
            Ok(compiled) => compiled.render(&mut Vec::new(), &AccessRecord::default(), &()),
            Err(error) => proptest::prop_assert!(error.position() <= format.chars().count().max(1)),
        }
    }
}
