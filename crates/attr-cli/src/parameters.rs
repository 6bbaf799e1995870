//! Parses `--set key=value`: a method's parameters, by the schema of its configuration.

use std::cell::RefCell;
use std::rc::Rc;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::Error;

/// A parameter of a method, as its configuration documents it.
#[derive(Clone, Debug, Serialize)]
pub struct Parameter {
    /// Its name in the reference library.
    pub name: String,
    /// Its type: `integer`, `number`, `boolean`, `array of number`, `string`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its default value.
    pub default: Value,
    /// What it means.
    pub description: String,
    /// The accepted values with their meanings, if it is an enumeration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Choice>,
}

/// An accepted value of a parameter.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// The value as written on the command line.
    pub value: String,
    /// What it means.
    pub description: String,
}

/// Returns the parameters of a configuration.
pub fn of<C: JsonSchema + Default + Serialize>() -> Vec<Parameter> {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<C>();
    let defaults = serde_json::to_value(C::default()).unwrap_or_default();
    let properties = schema
        .as_value()
        .get("properties")
        .and_then(Value::as_object);
    let properties = properties.into_iter().flatten();
    properties
        .map(|(name, schema)| Parameter {
            name: name.clone(),
            kind: kind(schema),
            default: defaults.get(name).cloned().unwrap_or(Value::Null),
            description: sentence(schema),
            values: choices(schema),
        })
        .collect()
}

/// Returns a schema's description on one line, without code markup.
fn sentence(schema: &Value) -> String {
    let text = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('`', "")
}

fn kind(schema: &Value) -> String {
    let name = |value: &Value| value.as_str().unwrap_or("value").to_string();
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "array" => {
            let items = schema.get("items").map_or("value".into(), self::kind);
            format!("array of {items}")
        }
        Some(Value::Array(kinds)) => {
            let kinds: Vec<String> = kinds.iter().map(name).collect();
            kinds.join(" or ").replace("null", "none")
        }
        Some(kind) => name(kind),
        None => "string".into(),
    }
}

fn choices(schema: &Value) -> Vec<Choice> {
    let listed = schema.get("oneOf").or_else(|| schema.get("anyOf"));
    let mut choices: Vec<Choice> = Vec::new();
    for option in listed.and_then(Value::as_array).into_iter().flatten() {
        // An optional enumeration nests its values.
        choices.extend(self::choices(option));
        if let Some(value) = option.get("const").and_then(Value::as_str) {
            choices.push(Choice {
                value: value.into(),
                description: sentence(option),
            });
        }
    }
    for value in schema
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let Some(value) = value.as_str() {
            let description = String::new();
            choices.push(Choice {
                value: value.into(),
                description,
            });
        }
    }
    choices
}

/// The parameters given with `--set`, by name; they are removed as methods take them.
#[derive(Clone, Debug)]
pub struct Given {
    /// The flag, for messages.
    flag: &'static str,
    values: Map<String, Value>,
    texts: Vec<(String, String)>,
    /// All parameters used, including defaults; shared by clones.
    used: Rc<RefCell<Map<String, Value>>>,
}

impl Given {
    /// Parses the `key=value` texts of `--set`.
    pub fn parse(texts: &[String]) -> Result<Self, Error> {
        Self::parse_flag("--set", texts)
    }

    /// Parses the `key=value` texts of a flag.
    pub fn parse_flag(flag: &'static str, texts: &[String]) -> Result<Self, Error> {
        let mut given = Self {
            flag,
            values: Map::new(),
            texts: Vec::new(),
            used: Rc::default(),
        };
        for text in texts {
            let Some((key, value)) = text.split_once('=') else {
                return Err(Error::input(format!("{flag} {text}: give key=value")));
            };
            let (key, value) = (key.trim().to_string(), value.trim().to_string());
            if given.texts.iter().any(|(known, _)| *known == key) {
                return Err(Error::input(format!("{flag} {key} is given twice")));
            }
            given.texts.push((key, value));
        }
        Ok(given)
    }

    /// Returns the parameters not yet taken.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(key, value)| (&key[..], &value[..]))
    }

    /// Sets a parameter unless `--set` gave it.
    pub fn default(&mut self, key: &str, value: impl Into<Value>) {
        if !self.texts.iter().any(|(known, _)| known == key) {
            self.values.insert(key.into(), value.into());
        }
    }

    /// Takes one parameter out, as text.
    pub fn take(&mut self, key: &str) -> Option<String> {
        let at = self.texts.iter().position(|(known, _)| known == key)?;
        Some(self.texts.remove(at).1)
    }

    /// Records a parameter as used.
    pub fn note(&self, key: &str, value: impl Into<Value>) {
        self.used.borrow_mut().insert(key.into(), value.into());
    }

    /// Returns the parameters of all methods built from this, including defaults.
    pub fn used(&self) -> Value {
        Value::Object(self.used.borrow().clone())
    }

    /// Takes a configuration's parameters out; those not given keep their defaults.
    pub fn config<C>(&mut self) -> Result<C, Error>
    where
        C: JsonSchema + Default + Serialize + DeserializeOwned,
    {
        let parameters = of::<C>();
        let mut config = serde_json::to_value(C::default()).unwrap_or_default();
        for parameter in &parameters {
            if let (Some(value), Some(config)) =
                (self.values.get(&parameter.name), config.as_object_mut())
            {
                config.insert(parameter.name.clone(), value.clone());
            }
            let Some(text) = self.take(&parameter.name) else {
                continue;
            };
            let value = read(self.flag, &text, parameter)?;
            if let Some(config) = config.as_object_mut() {
                config.insert(parameter.name.clone(), value);
            }
            // Checked one at a time, so that an error names the parameter.
            serde_json::from_value::<C>(config.clone()).map_err(|error| {
                Error::input(format!("{} {}={text}: {error}", self.flag, parameter.name))
            })?;
        }
        for (key, value) in config.as_object().into_iter().flatten() {
            self.note(key, value.clone());
        }
        serde_json::from_value(config)
            .map_err(|error| Error::input(format!("{}: {error}", self.flag)))
    }

    /// Rejects parameters that nothing took.
    pub fn finish(&self, method: &str, known: &[Parameter]) -> Result<(), Error> {
        let Some((key, _)) = self.texts.first() else {
            return Ok(());
        };
        let names: Vec<&str> = known.iter().map(|p| &p.name[..]).collect();
        let nearest = names
            .iter()
            .copied()
            .max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)));
        let advice = match nearest {
            Some(nearest) if strsim::jaro_winkler(key, nearest) > 0.75 => {
                format!("did you mean {nearest}?")
            }
            Some(_) => format!("it has {}", names.join(", ")),
            None => "it has none".into(),
        };
        Err(Error::input(format!(
            "{} {key}: {method} has no such parameter; {advice}",
            self.flag
        )))
    }
}

/// Parses a value according to the parameter's type.
fn read(flag: &str, text: &str, parameter: &Parameter) -> Result<Value, Error> {
    let bad =
        |expected: &str| Error::input(format!("{flag} {}={text}: {expected}", parameter.name));
    if !parameter.values.is_empty() {
        let names: Vec<&str> = parameter.values.iter().map(|c| &c.value[..]).collect();
        return match names.contains(&text) {
            true => Ok(text.into()),
            false if parameter.default.is_null() && matches!(text, "none" | "None" | "null") => {
                Ok(Value::Null)
            }
            false => Err(bad(&format!("it takes one of {}", names.join(", ")))),
        };
    }
    let plain = |text: &str| match text {
        "true" | "True" => Value::Bool(true),
        "false" | "False" => Value::Bool(false),
        "none" | "None" | "null" => Value::Null,
        text => match (serde_json::from_str(text), text.parse::<f64>()) {
            (Ok(value), _) => value,
            // Numbers that JSON does not accept: .5, 1.
            (Err(_), Ok(number)) if number.is_finite() => Value::from(number),
            // Not a number, or infinity, which JSON lacks.
            (Err(_), _) => text.into(),
        },
    };
    let none = parameter.kind.ends_with(" or none") && matches!(text, "none" | "None" | "null");
    let value = match parameter.kind.starts_with("array") && !none {
        // One list per input: 1,3,3;2
        true if parameter.kind.starts_with("array of array") => {
            let lists = text.split(';').map(|list| {
                let inner = list.trim_matches(['[', ']', '(', ')', ' ']);
                let parts = inner.split(',').map(str::trim);
                Value::Array(parts.filter(|part| !part.is_empty()).map(plain).collect())
            });
            Value::Array(lists.collect())
        }
        true => {
            let inner = text
                .trim_start_matches(['[', '('])
                .trim_end_matches([']', ')']);
            let parts = inner
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            Value::Array(parts.map(plain).collect())
        }
        false => plain(text),
    };
    let value = match value.as_f64() {
        Some(whole)
            if parameter.kind == "integer" && whole.fract() == 0.0 && whole.abs() < 1e15 =>
        {
            Value::from(whole as i64)
        }
        _ => value,
    };
    let fits = match &parameter.kind[..] {
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "number or none" | "integer or none" => value.is_number() || value.is_null(),
        "array of array of integer" => value.as_array().is_some_and(|lists| {
            let mut lists = lists.iter().filter_map(Value::as_array);
            lists.all(|list| list.iter().all(Value::is_u64))
        }),
        "array of number" => value
            .as_array()
            .is_some_and(|a| a.iter().all(Value::is_number)),
        _ => true,
    };
    if fits {
        Ok(value)
    } else {
        Err(bad(&format!("it takes {}", article(&parameter.kind))))
    }
}

fn article(kind: &str) -> String {
    match kind.split_once("array of ") {
        Some((_, "array of integer")) => {
            "whole numbers, such as 1,3,3, or 1,3,3;2 for two inputs".into()
        }
        Some((_, items)) => format!("{items}s, such as 1,2,3"),
        None if kind.starts_with(['a', 'i']) => format!("an {kind}"),
        None => format!("a {kind}"),
    }
}
