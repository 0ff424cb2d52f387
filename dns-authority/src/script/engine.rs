//! One thread's virtual machine, with every script that the thread has run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mlua::chunk::{ChunkMode, Compiler};
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Variadic, VmState};
use nix::time::{ClockId, clock_gettime};

use super::Script;
use super::values::{from_lua, to_lua};
use crate::plan::value::{Failure, Value};
use crate::plan::{FUNCTIONS, Program, Reader, Registry, Run, Variable, call_with, expression};
use crate::store::Set;
use crate::wire::kind;
use crate::wire::name::{Folded, Shown};

/// As much as a script may compute for one query: thousands of times what a sensible one needs, and too
/// little to keep others waiting.
const COMPUTING_MAX: Duration = Duration::from_millis(5);
/// How many of a virtual machine's interrupts pass for one look at the clock, which costs more.
const INTERRUPTS_PER_LOOK: u32 = 16;
/// Octets that one thread's scripts may hold at a time.
const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longer messages tell nothing more.
const MESSAGE_BYTES_MAX: usize = 300;

/// What every script finds: each function calls what the query has put into the slot, and what has no
/// other meaning is a variable of the query.
const PRELUDE: &str = r"
local slot, functions, variables = ...
local known = {}
for _, name in variables do known[name] = true end
for _, name in functions do
    _G[name] = function(...) return slot.call(name, ...) end
end
include = function(name)
    for _, library in slot.call('include', name) do library() end
end
local itself = setmetatable({}, {__index = function(_, key) return key end})
GeoIPQueryAttribute = itself
QType = itself
pdns = itself
local globals = _G
return function(_, key)
    if known[key] then return slot.call('variable', key) end
    return globals[key]
end
";

/// What Luau has beyond values: none of it serves an answer.
const WITHHELD: &[&str] = &[
    "collectgarbage",
    "gcinfo",
    "getfenv",
    "loadstring",
    "newproxy",
    "print",
    "require",
    "setfenv",
];

thread_local! {
    /// Made by the first script that the thread runs.
    static ENGINE: RefCell<Option<Engine>> = const { RefCell::new(None) };
}

struct Engine {
    lua: Lua,
    /// Where the functions of the language look for the query.
    slot: Table,
    /// What a script's own table of globals falls back to.
    index: Function,
    allowance: Rc<Allowance>,
    functions: RefCell<BTreeMap<u64, (Weak<Script>, Function)>>,
}

/// What is left of the time of the script that runs.
#[derive(Default)]
struct Allowance {
    end: Cell<Duration>,
    interrupts: Cell<u32>,
    is_over: Cell<bool>,
}

/// What is wrong with `text` as Lua.
pub(super) fn check_syntax(text: &str) -> Result<(), String> {
    match Compiler::new().compile(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(message(&error)),
    }
}

/// Runs `script` for a query; what it calls finds its checks in `registry`.
pub(crate) fn run(
    script: &Arc<Script>,
    registry: Registry<'_>,
    query: &mut Run<'_, '_>,
) -> Result<Value, Failure> {
    ENGINE.with(|engine| {
        let failure = |it: &mlua::Error| Failure(format!("the script failed: {}", message(it)));
        let mut engine = engine
            .try_borrow_mut()
            .map_err(|_| Failure("a script ran inside of another".to_owned()))?;
        let engine = match &mut *engine {
            Some(engine) => engine,
            none => none.insert(Engine::new().map_err(|it| failure(&it))?),
        };
        let result = engine.run(script, registry, query);
        if result.is_err() {
            // What it held is not for the next one to pay for.
            let _: mlua::Result<()> = engine.lua.gc_collect();
        }
        result.map_err(|it| failure(&it))
    })
}

impl Engine {
    fn new() -> mlua::Result<Self> {
        let libraries =
            StdLib::BIT | StdLib::MATH | StdLib::OS | StdLib::STRING | StdLib::TABLE | StdLib::UTF8;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let slot = lua.create_table()?;
        let variables: Vec<&str> = Variable::ALL.iter().map(|it| it.0).collect();
        let globals = lua.globals();
        let index = lua
            .load(PRELUDE)
            .call((slot.clone(), FUNCTIONS.to_vec(), variables))?;
        for name in WITHHELD {
            globals.set(*name, mlua::Nil)?;
        }
        lua.sandbox(true)?;

        let allowance = Rc::new(Allowance::default());
        let guard = Rc::clone(&allowance);
        lua.set_interrupt(move |_| guard.look());
        lua.set_memory_limit(MEMORY_BYTES_MAX)?;
        Ok(Self {
            lua,
            slot,
            index,
            allowance,
            functions: RefCell::default(),
        })
    }

    fn run(
        &self,
        script: &Arc<Script>,
        mut registry: Registry<'_>,
        query: &mut Run<'_, '_>,
    ) -> mlua::Result<Value> {
        let environment = self.lua.create_table()?;
        let fallback = self
            .lua
            .create_table_from([("__index", self.index.clone())])?;
        environment.set_metatable(Some(fallback))?;
        let function = self.function(script, &environment)?;

        self.allowance.renew();
        let result = self.lua.scope(|scope| {
            let call = scope.create_function_mut(
                |lua, (name, arguments): (String, Variadic<mlua::Value>)| {
                    if name == "include" {
                        return self.included(query, arguments.first(), &environment);
                    }
                    let value = call(script, &mut registry, query, &name, &arguments);
                    to_lua(
                        lua,
                        value.map_err(|it| mlua::Error::runtime(it.to_string()))?,
                    )
                },
            )?;
            self.slot.raw_set("call", call)?;
            function.call::<mlua::Value>(())
        });
        self.slot.raw_set("call", mlua::Nil)?;
        from_lua(&result?).map_err(|it| mlua::Error::runtime(it.to_string()))
    }

    /// The script as a function that defines what it defines in `environment`.
    fn function(&self, script: &Arc<Script>, environment: &Table) -> mlua::Result<Function> {
        let mut functions = self.functions.borrow_mut();
        let function = match functions.get(&script.number) {
            Some((_, function)) => function.clone(),
            None => {
                functions.retain(|_, it| 0 < it.0.strong_count());
                let chunk = self.lua.load(&script.text).set_mode(ChunkMode::Text);
                let function = chunk.set_name("=script").into_function()?;
                let entry = (Arc::downgrade(script), function.clone());
                functions.insert(script.number, entry);
                function
            }
        };
        function.set_environment(environment.clone())?;
        Ok(function)
    }

    /// The code of the records that `include` means, which stand in the same zone.
    fn included(
        &self,
        query: &Run<'_, '_>,
        name: Option<&mlua::Value>,
        environment: &Table,
    ) -> mlua::Result<mlua::Value> {
        let label = name.and_then(|it| it.to_string().ok()).unwrap_or_default();
        let origin = Shown(query.zone_origin());
        let name = Folded::parse(&format!("{label}.{origin}")).ok();
        let zone = name.as_ref().and_then(|it| query.zones().find(it));
        let mut found = Vec::new();
        if let Some((name, zone)) = name.as_ref().zip(zone) {
            let set = zone.node(name).and_then(|it| it.set(kind::LUA));
            for plan in set.iter().flat_map(Set::plans) {
                if let Program::Library(script) = &zone.plan(plan).program {
                    found.push(self.function(script, environment)?);
                }
            }
        }
        match found.is_empty() {
            true => {
                let message =
                    format!("there is no record of type LUA at {label}.{origin} to include");
                Err(mlua::Error::runtime(message))
            }
            false => Ok(mlua::Value::Table(self.lua.create_sequence_from(found)?)),
        }
    }
}

impl Allowance {
    fn renew(&self) {
        self.end.set(computed() + COMPUTING_MAX);
        self.interrupts.set(0);
        self.is_over.set(false);
    }

    fn look(&self) -> mlua::Result<VmState> {
        let interrupts = self.interrupts.get().wrapping_add(1);
        self.interrupts.set(interrupts);
        if interrupts.is_multiple_of(INTERRUPTS_PER_LOOK) && self.end.get() < computed() {
            self.is_over.set(true);
        }
        // Once over, it stays over, whatever the script catches.
        match self.is_over.get() {
            true => Err(mlua::Error::runtime("it computed for longer than 5 ms")),
            false => Ok(VmState::Continue),
        }
    }
}

/// For how long this thread has computed: what others do meanwhile does not count.
fn computed() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// One call of a function of the language, or a look at a variable.
fn call(
    script: &Script,
    registry: &mut Registry<'_>,
    query: &mut Run<'_, '_>,
    name: &str,
    arguments: &[mlua::Value],
) -> Result<Value, Failure> {
    let arguments: Vec<Value> = arguments.iter().map(from_lua).collect::<Result<_, _>>()?;
    if let ("variable", [Value::Text(variable)]) = (name, &arguments[..]) {
        let variable = Variable::read(variable);
        return Ok(variable.map_or(Value::Nil, |it| it.get(query)));
    }
    let arguments: Vec<_> = arguments
        .into_iter()
        .map(|it| expression(it, script.position))
        .collect();
    let mut reader = Reader {
        kind: script.kind(),
        atlas: query.atlas(),
        registry: registry.reborrow(),
        whole: false,
    };
    call_with(&mut reader, name, &arguments, script.position, query)
}

/// What went wrong, in one line without a trace.
fn message(error: &mlua::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("runtime error: ").unwrap_or(line);
    let line = line.strip_prefix("syntax error: ").unwrap_or(line);
    line.chars().take(MESSAGE_BYTES_MAX).collect()
}
