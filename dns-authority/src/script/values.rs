//! Brings values into a script, and its results out.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "few kinds of values mean something, whatever else there is"
)]

use mlua::{IntoLua as _, Lua, MetaMethod, UserData, UserDataMethods, Variadic};

use crate::plan::value::{Failure, Key, METHODS, Value};

/// An address, a name, a network: what scripts do not look into, but call the methods of.
#[derive(Clone)]
struct Held(Value);

/// Deeper than any arguments are, and far from the end of the stack.
const DEPTH_MAX: usize = 16;
/// More than any table of arguments has.
const FIELDS_MAX: usize = 4096;

impl UserData for Held {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        for name in METHODS {
            methods.add_method(*name, |lua, this, arguments: Variadic<mlua::Value>| {
                let arguments: Result<Vec<Value>, Failure> =
                    arguments.iter().map(from_lua).collect();
                let result = arguments.and_then(|it| this.0.method(name, &it));
                to_lua(
                    lua,
                    result.map_err(|it| mlua::Error::runtime(it.to_string()))?,
                )
            });
        }
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(this.0.text().unwrap_or_else(|| this.0.noun().to_owned()))
        });
        methods.add_meta_method(MetaMethod::Eq, |_, this, other: mlua::Value| {
            Ok(from_lua(&other).is_ok_and(|it| it == this.0))
        });
        methods.add_meta_function(
            MetaMethod::Concat,
            |lua, (left, right): (mlua::Value, mlua::Value)| {
                let both = from_lua(&left).and_then(|left| left.concatenate(&from_lua(&right)?));
                to_lua(
                    lua,
                    both.map_err(|it| mlua::Error::runtime(it.to_string()))?,
                )
            },
        );
    }
}

pub(super) fn to_lua(lua: &Lua, value: Value) -> mlua::Result<mlua::Value> {
    match value {
        Value::Boolean(it) => Ok(mlua::Value::Boolean(it)),
        Value::Nil => Ok(mlua::Nil),
        Value::Number(it) => Ok(mlua::Value::Number(it)),
        Value::Text(it) => it.into_lua(lua),
        Value::Table(fields) => {
            let table = lua.create_table()?;
            for (key, value) in fields {
                let value = to_lua(lua, value)?;
                match key {
                    Key::Number(key) => table.raw_set(key, value)?,
                    Key::Text(key) => table.raw_set(key, value)?,
                }
            }
            Ok(mlua::Value::Table(table))
        }
        held @ (Value::Address(_)
        | Value::Header(_)
        | Value::Name(_)
        | Value::Net(_)
        | Value::Nets(_)) => Held(held).into_lua(lua),
    }
}

pub(super) fn from_lua(value: &mlua::Value) -> Result<Value, Failure> {
    read(value, 0)
}

fn read(value: &mlua::Value, depth: usize) -> Result<Value, Failure> {
    match value {
        mlua::Value::Boolean(it) => Ok(Value::Boolean(*it)),
        mlua::Value::Nil => Ok(Value::Nil),
        #[expect(clippy::cast_precision_loss, reason = "Lua has no other numbers")]
        mlua::Value::Integer(it) => Ok(Value::Number(*it as f64)),
        mlua::Value::Number(it) => Ok(Value::Number(*it)),
        mlua::Value::String(it) => Ok(Value::Text(it.to_string_lossy())),
        mlua::Value::Table(_) if depth == DEPTH_MAX => Err(Failure(format!(
            "tables nest deeper than {DEPTH_MAX} levels"
        ))),
        mlua::Value::Table(table) => {
            let mut fields = Vec::new();
            let mut numbers = 0;
            for pair in table.pairs::<mlua::Value, mlua::Value>() {
                let (key, value) = pair.map_err(|it| Failure(it.to_string()))?;
                let key = match read(&key, DEPTH_MAX)? {
                    Value::Text(key) => Key::Text(key),
                    Value::Number(_) => {
                        numbers += 1;
                        Key::Number(numbers)
                    }
                    other => return Err(Failure(format!("{} is no key of a table", other.noun()))),
                };
                if fields.len() == FIELDS_MAX {
                    return Err(Failure(format!(
                        "a table has more than {FIELDS_MAX} elements"
                    )));
                }
                fields.push((key, read(&value, depth + 1)?));
            }
            Ok(Value::Table(fields))
        }
        mlua::Value::UserData(it) => match it.borrow::<Held>() {
            Ok(held) => Ok(held.0.clone()),
            Err(_) => Err(Failure("no value of ours".to_owned())),
        },
        other => Err(Failure(format!(
            "a {} is no value of a record",
            other.type_name()
        ))),
    }
}
