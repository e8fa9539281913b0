//! Where the application is: `module:attribute`, `module:attribute.inner`, `module:factory("literal", key=1)`, `module`.
//!
//! Only the text is judged here; importing is Python's work. Arguments of a factory stay source text for
//! `ast.literal_eval`, but they are known to be literals, so that the mistake is found before anything is imported.

use super::literal;

/// The place of the application object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSpec {
    /// As the user wrote it.
    pub text: String,
    /// The dotted name of the module to import.
    pub module: String,
    pub target: Target,
}

/// What to take from the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `module` alone: the attribute `application`, else `app`.
    Default,
    /// The attributes to follow, at least one.
    Attribute(Vec<String>),
    /// The callable at `path` is called with the arguments and returns the application.
    Factory { path: Vec<String>, arguments: Vec<Argument> },
}

/// An argument of a factory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The keyword; `None` for a positional argument. Positional arguments come first.
    pub name: Option<String>,
    /// A Python literal, for `ast.literal_eval`.
    pub source: String,
}

/// Why a text does not say where the application is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSpecError {
    /// Completes "expected …".
    pub expected: String,
    /// The corrected text, when it can be guessed.
    pub meant: Option<String>,
}

impl AppSpecError {
    fn new(expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), meant: None }
    }

    fn meant(expected: impl Into<String>, meant: impl Into<String>) -> Self {
        Self { expected: expected.into(), meant: Some(meant.into()) }
    }
}

impl AppSpec {
    /// Parses a specification.
    ///
    /// # Errors
    /// The text has none of the forms above.
    pub fn parse(text: &str) -> Result<Self, AppSpecError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(AppSpecError::new("an application as module:attribute, not an empty text"));
        }
        let (module, target) = match text.split_once(':') {
            None => (text, None),
            Some((module, target)) => (module, Some(target.trim())),
        };
        let module = module.trim_end();
        check_module(module, target)?;
        let target = match target {
            None => Target::Default,
            Some(target) => parse_target(module, target)?,
        };
        Ok(Self { text: text.to_owned(), module: module.to_owned(), target })
    }

    /// The same place under `--factory`: what is found there is called without arguments, unless the text already
    /// says that it is called.
    ///
    /// # Errors
    /// The text names a module only, so there is no telling what to call.
    pub fn into_factory(self) -> Result<Self, AppSpecError> {
        let target = match self.target {
            Target::Default => {
                return Err(AppSpecError::meant(
                    "module:factory, because --factory is given",
                    format!("{}:create_app", self.module),
                ));
            }
            Target::Attribute(path) => Target::Factory { path, arguments: Vec::new() },
            factory @ Target::Factory { .. } => factory,
        };
        Ok(Self { target, ..self })
    }
}

fn check_module(module: &str, target: Option<&str>) -> Result<(), AppSpecError> {
    let with = |module: &str| match target {
        Some(target) => format!("{module}:{target}"),
        None => module.to_owned(),
    };
    if module.is_empty() {
        return Err(AppSpecError::new("the name of a module before the colon"));
    }
    // `Path` would not do: on the command line people write both `app.py` and `src/app.py`.
    if module.contains('/') || module.ends_with(".py") {
        let stem = module.strip_suffix(".py").unwrap_or(module);
        let dotted = stem.trim_start_matches("./").trim_matches('/').replace('/', ".");
        return Err(AppSpecError::meant("the name of a module, not the path of a file", with(&dotted)));
    }
    if module.contains('(') {
        return Err(AppSpecError::new("module:factory(…) with a colon before the factory"));
    }
    match module.split('.').find(|part| !literal::is_identifier(part)) {
        None => Ok(()),
        Some("") => Err(AppSpecError::new("a module name without empty parts between its dots")),
        Some(part) if part.contains('-') && literal::is_identifier(&part.replace('-', "_")) => {
            Err(AppSpecError::meant("a module name; Python names have no hyphen", with(&module.replace('-', "_"))))
        }
        Some(_) => Err(AppSpecError::new("a module name of Python identifiers with dots between them")),
    }
}

fn parse_target(module: &str, target: &str) -> Result<Target, AppSpecError> {
    if target.is_empty() {
        return Err(AppSpecError::meant("an attribute after the colon", format!("{module}:app")));
    }
    let (path, call) = match target.find('(') {
        None => (target, None),
        Some(open) => (target[..open].trim_end(), Some(&target[open..])),
    };
    if path.contains(':') {
        return Err(AppSpecError::meant(
            "one colon only, between module and attribute",
            format!("{module}:{}", path.replace(':', ".")),
        ));
    }
    if path.is_empty() {
        return Err(AppSpecError::new("the name of a factory before the parenthesis"));
    }
    let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
    if !parts.iter().all(|part| literal::is_identifier(part)) {
        return Err(AppSpecError::new("an attribute name, or names with dots between them, after the colon"));
    }
    match call {
        None => Ok(Target::Attribute(parts)),
        Some(call) => Ok(Target::Factory { path: parts, arguments: parse_arguments(call)? }),
    }
}

/// `(…)` with literals, positional ones first.
fn parse_arguments(call: &str) -> Result<Vec<Argument>, AppSpecError> {
    let inner = call
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| AppSpecError::new("a closing parenthesis at the end of the factory's arguments"))?;
    let mut arguments: Vec<Argument> = Vec::new();
    let mut rest = inner.trim_start();
    while !rest.is_empty() {
        let (name, value) = keyword(rest);
        let length = literal::length(value).ok_or_else(|| {
            AppSpecError::new("Python literals as arguments of the factory, such as \"text\", 1, True, [1, 2]")
        })?;
        if name.is_none() && arguments.iter().any(|argument| argument.name.is_some()) {
            return Err(AppSpecError::new("positional arguments of the factory before keyword arguments"));
        }
        if name.is_some() && arguments.iter().any(|argument| argument.name.as_deref() == name) {
            return Err(AppSpecError::new("each keyword argument of the factory once"));
        }
        arguments.push(Argument { name: name.map(str::to_owned), source: value[..length].trim_end().to_owned() });
        rest = value[length..].trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err(AppSpecError::new("a comma between the factory's arguments")),
        };
    }
    Ok(arguments)
}

/// Splits `name=value`; `value` alone has no name.
fn keyword(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, value)) if literal::is_identifier(name.trim()) && !value.starts_with('=') => {
            (Some(name.trim()), value.trim_start())
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factory(text: &str) -> (Vec<String>, Vec<(Option<String>, String)>) {
        match AppSpec::parse(text).map(|spec| spec.target) {
            Ok(Target::Factory { path, arguments }) => {
                (path, arguments.into_iter().map(|argument| (argument.name, argument.source)).collect())
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn modules_and_attributes() {
        let spec = AppSpec::parse(" shop.web:app ").expect("valid");
        assert_eq!((spec.text.as_str(), spec.module.as_str()), ("shop.web:app", "shop.web"));
        assert_eq!(spec.target, Target::Attribute(vec!["app".to_owned()]));
        assert_eq!(AppSpec::parse("shop").map(|s| s.target), Ok(Target::Default));
        assert_eq!(
            AppSpec::parse("shop:site.wsgi").map(|s| s.target),
            Ok(Target::Attribute(vec!["site".to_owned(), "wsgi".to_owned()]))
        );
        assert!(AppSpec::parse("größe:app").is_ok());
    }

    #[test]
    fn factories() {
        assert_eq!(factory("shop:create()"), (vec!["create".to_owned()], vec![]));
        let (path, arguments) = factory(r#"shop:web.create("prod, (1)", 2, debug=True, hosts=['a', "b"], )"#);
        assert_eq!(path, ["web", "create"]);
        let expected =
            [(None, r#""prod, (1)""#), (None, "2"), (Some("debug"), "True"), (Some("hosts"), r#"['a', "b"]"#)];
        assert_eq!(arguments, expected.map(|(name, source)| (name.map(str::to_owned), source.to_owned())));
        assert_eq!(factory(r"shop:create('a=b')").1, [(None, "'a=b'".to_owned())]);
        assert_eq!(factory(r"shop:create(url='http://h:1/')").1[0].1, "'http://h:1/'");
    }

    #[test]
    fn the_flag_factory() {
        let made = |text| AppSpec::parse(text).and_then(AppSpec::into_factory).map(|s| s.target);
        let expected = Target::Factory { path: vec!["make".to_owned()], arguments: vec![] };
        assert_eq!(made("shop:make"), Ok(expected.clone()));
        assert_eq!(made("shop:make()"), Ok(expected));
        assert!(made("shop").is_err());
    }

    #[test]
    fn malformed() {
        for (text, says, meant) in [
            ("", "not an empty text", None),
            (":app", "module before the colon", None),
            ("shop:", "an attribute after the colon", Some("shop:app")),
            ("shop:a:b", "one colon only", Some("shop:a.b")),
            ("shop.py:app", "not the path of a file", Some("shop:app")),
            ("./src/shop.py", "not the path of a file", Some("src.shop")),
            ("my-shop:app", "no hyphen", Some("my_shop:app")),
            ("shop..web:app", "empty parts", None),
            ("1shop:app", "Python identifiers", None),
            ("shop:my app", "attribute name", None),
            ("shop:app.", "attribute name", None),
            ("shop:app[0]", "attribute name", None),
            ("shop:(1)", "name of a factory", None),
            ("create()", "colon before the factory", None),
            ("shop:create(", "closing parenthesis", None),
            ("shop:create().app", "closing parenthesis", None),
            ("shop:create(os.environ)", "Python literals", None),
            ("shop:create('a' 'b')", "comma between", None),
            ("shop:create('a)", "Python literals", None),
            ("shop:create(a=1, 2)", "positional arguments", None),
            ("shop:create(a=1, a=2)", "once", None),
            ("shop:create(,)", "Python literals", None),
        ] {
            let error = AppSpec::parse(text).expect_err(text);
            assert!(error.expected.contains(says), "{text}: {}", error.expected);
            assert_eq!(error.meant.as_deref(), meant, "{text}");
        }
    }
}
