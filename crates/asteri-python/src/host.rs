//! The Python half of the package, as callables.
//!
//! This crate imports nothing of `python/asteri`: the command line entry hands in what it needs from there.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::Path;

use asteri_arbiter::arbiter::RestartCommand;
use asteri_arbiter::logs::{ErrorLog, shown};
use asteri_arbiter::settings::{
    AppSpec, Config, ConfigError, ConfigSpec, Problem, PythonConfig, RawEntry, RawValue, Target, VARIABLES, WorkerType,
};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType};

/// Functions of the package, and its command line.
pub struct Host {
    /// Without the program's name.
    pub argv: Vec<OsString>,
    /// The program reads variables with arguments by itself.
    pub own_arguments: bool,
    /// How another process like this one is started, if that is known.
    pub restart: Option<RestartCommand>,
    /// `_config`: runs a config file.
    pub load_config: Py<PyAny>,
    /// `_loader.prepare`: working directory and `sys.path`.
    pub prepare: Py<PyAny>,
    /// `_loader.load`: imports the application.
    pub load_application: Py<PyAny>,
    /// Imports a module of the package that not every process needs.
    pub import_part: Py<PyAny>,
    /// Variables that [`Self::enter`] has set, and what they were before.
    pub replaced: RefCell<Vec<(String, Option<String>)>>,
}

/// An application, and how it wants to be called.
pub struct Loaded {
    pub application: Py<PyAny>,
    pub interface: Interface,
}

impl Loaded {
    /// The type of worker that serves it: the one that was chosen, which can (or it would not have been loaded), else the one
    /// that fits.
    pub fn worker_type(&self, config: &Config) -> WorkerType {
        config.worker_type().unwrap_or_else(|| match self.interface {
            Interface::Wsgi => WorkerType::of_wsgi(config.threads()),
            Interface::Asgi | Interface::Asgi2 => WorkerType::Asgi,
        })
    }

    /// Says what the application has decided, if that was left to it. Once for all workers is enough.
    pub fn tell_worker_type(&self, config: &Config, log: &ErrorLog) {
        if config.worker_type().is_some() {
            return;
        }
        let worker_type = self.worker_type(config);
        let interface = if self.interface == Interface::Wsgi { "WSGI" } else { "ASGI" };
        log.info(&format!("Worker type: {}, as the application is one for {interface}", worker_type.name()), &[]);
        for notice in config.without_effect(worker_type) {
            log.warning(&notice.text, &[("setting", &notice.setting), ("from", &shown(&notice.from))]);
        }
    }
}

/// What an application speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// PEP 3333.
    Wsgi,
    /// ASGI 3: one call with `scope`, `receive` and `send`.
    Asgi,
    /// ASGI 2: a call with `scope` returns what is called with `receive` and `send`.
    Asgi2,
}

/// Why the application cannot be served.
pub struct ApplicationFailure {
    /// One line.
    pub what: String,
    /// What to try; may be empty.
    pub tries: String,
    /// The traceback from the application's own code on; may be empty.
    pub traceback: String,
    /// The exit code that says so.
    pub code: i32,
}

impl ApplicationFailure {
    /// The message in full, as `--check-config` shows it.
    pub fn message(&self, config: &Config) -> String {
        let problem = Problem::new("application", self.what.as_str()).from(config.origin("wsgi_app"));
        let problem = if self.tries.is_empty() { problem } else { problem.hint(self.tries.as_str()) };
        format!("{}{problem}", self.traceback)
    }
}

impl Host {
    /// A variable as settings see it.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        if self.own_arguments && VARIABLES.contains(&name) { None } else { std::env::var_os(name) }
    }

    /// A module of the package that not every process needs, by its name within the package.
    ///
    /// # Errors
    /// Those of its import.
    pub fn part<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.import_part.bind(py).call1((name,))
    }

    /// Makes the environment of this process that of the application: variables, folder, `sys.path`.
    ///
    /// # Errors
    /// When the folder cannot be entered.
    pub fn enter(&self, py: Python<'_>, config: &Config) -> PyResult<()> {
        let environment = py.import("os")?.getattr("environ")?;
        for (name, value) in config.raw_env() {
            let mut replaced = self.replaced.borrow_mut();
            if !replaced.iter().any(|(known, _)| known == name) {
                let before = environment.call_method1("get", (name,))?.extract()?;
                replaced.push((name.to_owned(), before));
            }
            environment.set_item(name, value)?;
        }
        self.prepare.call1(py, (config.chdir().into_os_string(), config.pythonpath())).map(drop)
    }

    /// Takes back what [`Self::enter`] has done to the variables.
    pub fn restore(&self, py: Python<'_>) {
        for (name, before) in self.replaced.take() {
            let environment = py.import("os").and_then(|os| os.getattr("environ"));
            let restored = environment.and_then(|environment| match before {
                Some(value) => environment.set_item(name, value),
                None => environment.call_method1("pop", (name, py.None())).map(drop),
            });
            if let Err(error) = restored {
                error.write_unraisable(py, None);
            }
        }
    }

    /// Imports the application of `config`, in its folder and with its environment.
    ///
    /// # Errors
    /// Every way in which an application cannot be had, or not be served by the type of worker that `config` chooses.
    pub fn load_application(&self, py: Python<'_>, config: &Config) -> Result<Loaded, ApplicationFailure> {
        let loaded = self.try_load(py, config);
        loaded.map_err(|error| {
            let value = error.value(py);
            let text = |name| value.getattr(name).and_then(|text| text.extract::<String>()).ok();
            ApplicationFailure {
                // Anything but an ApplicationError is a mistake of ours, and better shown than hidden.
                what: text("what").unwrap_or_else(|| error.to_string()),
                tries: text("tries").unwrap_or_default(),
                traceback: text("traceback").unwrap_or_default(),
                code: value
                    .getattr("code")
                    .and_then(|code| code.extract())
                    .unwrap_or(asteri_arbiter::arbiter::exit_code::BOOT),
            }
        })
    }

    fn try_load(&self, py: Python<'_>, config: &Config) -> PyResult<Loaded> {
        self.enter(py, config)?;
        let Some(AppSpec { text, module, target }) = config.app() else {
            return Err(pyo3::exceptions::PyRuntimeError::new_err("no application was given"));
        };
        let (path, arguments) = match target {
            Target::Default => (None, None),
            Target::Attribute(path) => (Some(path), None),
            Target::Factory { path, arguments } => {
                let arguments: Vec<_> = arguments.iter().map(|argument| (&argument.name, &argument.source)).collect();
                (Some(path), Some(arguments))
            }
        };
        let worker_type = config.worker_type().map(WorkerType::name);
        let loaded = self.load_application.call1(py, (text, module, path, arguments, worker_type))?;
        let (application, interface): (Py<PyAny>, String) = loaded.extract(py)?;
        let interface = match interface.as_str() {
            "asgi" => Interface::Asgi,
            "asgi2" => Interface::Asgi2,
            _ => Interface::Wsgi,
        };
        Ok(Loaded { application, interface })
    }
}

/// Runs config files with the interpreter that this process has.
pub struct ConfigFiles<'a, 'py> {
    pub py: Python<'py>,
    pub host: &'a Host,
    /// The names of the config file that was run last, for values that only Python understands.
    pub namespace: Bound<'py, PyDict>,
}

impl<'a, 'py> ConfigFiles<'a, 'py> {
    /// Before any config file.
    pub fn new(py: Python<'py>, host: &'a Host) -> Self {
        Self { py, host, namespace: PyDict::new(py) }
    }
}

impl PythonConfig for ConfigFiles<'_, '_> {
    fn load(&mut self, spec: &ConfigSpec) -> Result<Vec<RawEntry>, ConfigError> {
        let entries = match spec {
            ConfigSpec::File(path) => self.host.load_config.call1(self.py, ("file", path)),
            ConfigSpec::Module(name) => self.host.load_config.call1(self.py, ("module", name)),
        };
        let entries = entries.and_then(|entries| self.entries(entries.bind(self.py)));
        entries.map_err(|error| config_error(self.py, &error))
    }

    fn paste(&mut self, path: &Path, globals: &[(String, String)]) -> Result<Vec<RawEntry>, ConfigError> {
        let read =
            self.host.part(self.py, "_paste").and_then(|part| part.call_method1("read", (path, globals.to_vec())));
        let entries = read.and_then(|entries| entries.extract::<Vec<(String, Bound<'_, PyAny>, Option<u32>)>>());
        let entries = entries.map_err(|error| config_error(self.py, &error))?;
        let entry = |(name, value, line)| RawEntry { name, value: raw(&value, 0), line, helper: false };
        Ok(entries.into_iter().map(entry).collect())
    }
}

impl ConfigFiles<'_, '_> {
    fn entries(&self, entries: &Bound<'_, PyAny>) -> PyResult<Vec<RawEntry>> {
        let mut all = Vec::new();
        for entry in entries.try_iter()? {
            let (name, value, line, helper): (String, Bound<'_, PyAny>, Option<u32>, bool) = entry?.extract()?;
            self.namespace.set_item(&name, &value)?;
            let path = (name == "worker_class").then(|| import_path(&value)).flatten();
            let value = path.map_or_else(|| raw(&value, 0), RawValue::Str);
            all.push(RawEntry { name, value, line, helper });
        }
        Ok(all)
    }
}

/// Of a class; `None` for what is none. Modules that are private are left out, as in the paths that people write.
fn import_path(value: &Bound<'_, PyAny>) -> Option<String> {
    let class = value.cast::<PyType>().ok()?;
    let (module, name) = (class.module().ok()?.to_string(), class.qualname().ok()?);
    let public = module.split('.').filter(|part| !part.starts_with('_'));
    Some(public.chain([&*name.to_string_lossy()]).collect::<Vec<_>>().join("."))
}

fn config_error(py: Python<'_>, error: &PyErr) -> ConfigError {
    let value = error.value(py);
    let text = |name| value.getattr(name).and_then(|text| text.extract::<String>()).ok();
    ConfigError {
        summary: text("summary").unwrap_or_else(|| error.to_string()),
        line: value.getattr("line").and_then(|line| line.extract()).unwrap_or_default(),
        traceback: text("traceback").unwrap_or_default(),
        tries: text("tries").unwrap_or_default(),
    }
}

/// A value in terms of settings. Containers in containers in containers are no setting, and may contain themselves.
fn raw(value: &Bound<'_, PyAny>, depth: usize) -> RawValue {
    if value.is_none() {
        return RawValue::None;
    }
    if let Ok(switch) = value.cast::<PyBool>() {
        return RawValue::Bool(switch.is_true());
    }
    if let Ok(number) = value.cast::<PyInt>() {
        return number.extract().map_or_else(|_| other(value), RawValue::Int);
    }
    if let Ok(number) = value.cast::<PyFloat>() {
        return number.extract().map_or_else(|_| other(value), RawValue::Float);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return text.extract().map_or_else(|_| other(value), RawValue::Str);
    }
    if depth < 4 {
        if let Ok(pairs) = value.cast::<PyDict>() {
            let pairs = pairs.iter().map(|(key, value)| (raw(&key, depth + 1), raw(&value, depth + 1)));
            return RawValue::Dict(pairs.collect());
        }
        if is_collection(value)
            && let Ok(items) = value.try_iter()
        {
            return RawValue::List(items.flatten().map(|item| raw(&item, depth + 1)).collect());
        }
    }
    if value.is_callable() {
        return RawValue::Callable;
    }
    other(value)
}

fn is_collection(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PySet>()
        || value.is_instance_of::<PyFrozenSet>()
}

fn other(value: &Bound<'_, PyAny>) -> RawValue {
    RawValue::Other(value.repr().map_or_else(|_| "an object".to_owned(), |repr| repr.to_string_lossy().into_owned()))
}
