//! Decodes a module: its variables, then one function after another.

use super::layout::{self, Cursor, FunctionShared};
use super::operands::{Activation, Current, Decoder, Problem};
use super::problems::Problems;
use super::scope::Symbol;
use super::{Constant, Function, Program, control, table};
use crate::error::Error;
use crate::isa::Inst;
use crate::syntax::tree::{self, Init, Instruction, Module, Place, Space, Statement, Variable};
use std::collections::HashMap;

/// The largest block of an entry's parameters (PTX ISA, "Kernel Function Parameters").
const ENTRY_PARAMS: u32 = 32_764;
/// The most shared memory that a block of sm_90 can have.
const SHARED_BYTES: u64 = 232_448;
/// The most that the module's variables may take; what they hold is kept in this process.
const VARIABLE_BYTES: u64 = 1 << 30;
/// The most local memory that a thread can have.
const LOCAL_BYTES: u64 = 512 << 10;

/// Decodes a module. `name` stands for it in errors.
///
/// # Errors
///
/// [`Error::Unsupported`] with everything that cannot be run, wherever it stands.
pub fn decode(module: &Module, name: &str) -> Result<Program, Error> {
    let mut driver = Driver::new(module, name);
    let functions = driver.functions();
    driver.decoder.scopes.open();
    let shared = layout::shared(module, &functions);
    driver.variables(&shared.module);
    for (place, problem) in shared.problems {
        driver.problem(place, problem);
    }
    driver.decoder.program.dynamic_align = shared.dynamic_align;
    for (index, function) in functions.iter().enumerate() {
        driver.head(index, function);
        let decoded = &mut driver.decoder.program.functions[index];
        decoded.shared_align = shared.align;
        decoded.shared_bytes = u32::try_from(shared.functions[index].bytes).unwrap_or(u32::MAX);
        if function.entry && shared.functions[index].bytes > SHARED_BYTES {
            let bytes = shared.functions[index].bytes;
            let message = format!("`{}` has {bytes} bytes of shared variables", function.name);
            driver.problem(function.place, message);
        }
    }
    for (index, function) in functions.iter().enumerate() {
        if let Some(body) = &function.body {
            driver.function(index, function, body, shared.functions[index]);
        }
    }
    driver.problems.finish(name)?;
    Ok(driver.decoder.program)
}

/// A branch whose label is not resolved yet.
struct Fixup {
    pc: usize,
    label: u32,
}

struct Driver<'a> {
    module: &'a Module,
    decoder: Decoder,
    problems: Problems,
    /// Numbers of opcodes.
    opcodes: HashMap<String, u32>,
    /// Program counters of the function's labels, by number.
    labels: Vec<u32>,
    fixups: Vec<Fixup>,
    /// Indices in [`Program::targets`] that hold numbers of labels still.
    target_lists: Vec<usize>,
    shared: Cursor,
    local: Cursor,
    frame: Cursor,
    /// The most that `frame` has been.
    frame_most: u64,
    function: usize,
    /// The last place that was seen.
    here: Place,
}

impl<'a> Driver<'a> {
    fn new(module: &'a Module, name: &str) -> Driver<'a> {
        let program = Program {
            name: name.to_owned(),
            target: module.target.clone(),
            files: module.files.clone(),
            ..Program::default()
        };
        Driver {
            module,
            decoder: Decoder { program, ..Decoder::default() },
            problems: Problems::new(&module.files),
            opcodes: HashMap::new(),
            labels: Vec::new(),
            fixups: Vec::new(),
            target_lists: Vec::new(),
            shared: Cursor::new(0),
            local: Cursor::new(0),
            frame: Cursor::new(0),
            frame_most: 0,
            function: 0,
            here: Place::default(),
        }
    }

    fn problem(&mut self, place: Place, problem: Problem) {
        self.problems.add(place, problem);
    }

    /// Notes what is wrong, if anything is.
    fn note(&mut self, place: Place, result: Result<(), Problem>) {
        if let Err(problem) = result {
            self.problem(place, problem);
        }
    }

    /// The functions of the program: of several declarations of a name the one with a body.
    fn functions(&mut self) -> Vec<&'a tree::Function> {
        let mut functions: Vec<&tree::Function> = Vec::new();
        let mut index = HashMap::new();
        for function in &self.module.functions {
            let Some(&at) = index.get(function.name.as_str()) else {
                index.insert(function.name.as_str(), functions.len());
                functions.push(function);
                continue;
            };
            if functions[at].body.is_none() {
                functions[at] = function;
            } else if function.body.is_some() {
                let message = format!("the function `{}` is defined twice", function.name);
                self.problem(function.place, message);
            }
        }
        functions
    }

    /// Gives the module's variables and functions their meaning.
    fn variables(&mut self, shared: &HashMap<String, u64>) {
        let defined =
            |v: &&Variable| matches!(v.space, Space::Global | Space::Const) && !v.external;
        let mut symbols: HashMap<&str, Symbol> = HashMap::new();
        let mut total = 0_u64;
        for variable in self.module.variables.iter().filter(defined) {
            let index = u32::try_from(self.decoder.program.variables.len()).unwrap_or(u32::MAX);
            if symbols.insert(&variable.name, Symbol::Variable(index)).is_some() {
                self.problem(variable.place, format!("`{}` is declared twice", variable.name));
            }
            if variable.bytes.is_none() {
                self.problem(variable.place, format!("`{}` has no size", variable.name));
            }
            total = total.saturating_add(variable.bytes.unwrap_or(0));
            if total > VARIABLE_BYTES {
                self.problem(variable.place, "more than 1 GB of variables".to_owned());
            }
            self.decoder.program.variables.push(variable.clone());
        }
        for variable in &self.module.variables {
            let symbol = match variable.space {
                Space::Shared if variable.bytes.is_none() => Symbol::Dynamic,
                // One that has no place has been told of.
                Space::Shared => Symbol::Shared(shared.get(&variable.name).copied().unwrap_or(0)),
                _ => Symbol::External,
            };
            symbols.entry(&variable.name).or_insert(symbol);
        }
        for variable in &self.module.variables {
            for init in &variable.init {
                if let Init::Address { name, .. } = init
                    && !matches!(symbols.get(name.as_str()), Some(Symbol::Variable(_)))
                {
                    let message = format!("`{}` holds the address of `{name}`", variable.name);
                    self.problem(variable.place, format!("{message}, which is no variable"));
                }
            }
        }
        for (name, symbol) in symbols {
            // Repeated names have been told of.
            let _ = self.decoder.scopes.declare(name, symbol);
        }
    }

    /// What is known of a function before its body.
    fn head(&mut self, index: usize, function: &tree::Function) {
        let all = || function.params.iter().chain(&function.returns);
        if all().any(|variable| variable.space == Space::Register) {
            let message = format!("`{}` passes registers: not supported", function.name);
            self.problem(function.place, message);
        }
        let mut decoded = Function {
            name: function.name.clone(),
            entry: function.entry,
            threads: function
                .required_threads
                .map(|threads| (threads, true))
                .or(function.max_threads.map(|threads| (threads, false))),
            max_registers: function.max_registers,
            cluster: function.cluster,
            ..Function::default()
        };
        let variables: Vec<Variable> = all().cloned().collect();
        match layout::params(&variables) {
            Ok((places, bytes)) => {
                let (params, returns) = places.split_at(function.params.len());
                (decoded.params, decoded.returns) = (params.to_vec(), returns.to_vec());
                if function.entry {
                    decoded.entry_param_bytes = bytes;
                } else {
                    decoded.param_bytes = bytes;
                }
                if bytes > ENTRY_PARAMS {
                    let message = format!("`{}` has {bytes} bytes of parameters", function.name);
                    self.problem(function.place, message);
                }
            }
            Err(problem) => self.problem(function.place, problem),
        }
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let declared = self.decoder.scopes.declare(&function.name, Symbol::Function(number));
        self.note(function.place, declared);
        self.decoder.program.functions.push(decoded);
        self.decoder.defined.push(function.body.is_some());
    }

    fn function(
        &mut self,
        index: usize,
        function: &tree::Function,
        body: &[Statement],
        shared: FunctionShared,
    ) {
        self.decoder.activation = Activation::default();
        self.decoder.dynamic = shared.dynamic;
        (self.function, self.here) = (index, function.place);
        (self.shared, self.local) = (Cursor::new(shared.base), Cursor::new(0));
        let decoded = &self.decoder.program.functions[index];
        self.frame = Cursor::new(u64::from(decoded.param_bytes));
        self.frame_most = self.frame.end;
        let places: Vec<_> = decoded.params.iter().chain(&decoded.returns).copied().collect();
        let start = self.pc();
        self.decoder.scopes.open();
        for (variable, (offset, bytes)) in
            function.params.iter().chain(&function.returns).zip(places)
        {
            let symbol = if function.entry { Symbol::EntryParam } else { Symbol::FrameParam };
            let declared = self.decoder.scopes.declare(&variable.name, symbol(offset, bytes));
            self.note(variable.place, declared);
        }
        self.block(body);
        self.end(body);
        self.decoder.scopes.close();
        self.resolve();
        self.finish(index, start);
        if self.local.end > LOCAL_BYTES {
            let bytes = self.local.end;
            let message = format!("`{}` has {bytes} bytes of local variables", function.name);
            self.problem(function.place, message);
        }
    }

    fn pc(&self) -> u32 {
        u32::try_from(self.decoder.program.code.len()).unwrap_or(u32::MAX)
    }

    fn block(&mut self, body: &[Statement]) {
        self.decoder.scopes.open();
        let frame = self.frame.end;
        // Branches go forwards too: labels have their meaning from the start of their block.
        for statement in body {
            if let Statement::Label(name) = statement {
                let number = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
                self.labels.push(0);
                let declared = self.decoder.scopes.declare(name, Symbol::Label(number));
                self.note(self.here, declared);
            }
        }
        for statement in body {
            if let Statement::BranchTargets { name, labels } = statement {
                let declared = self.branch_targets(name, labels);
                self.note(self.here, declared);
            }
        }
        for statement in body {
            self.statement(statement);
        }
        self.frame.end = frame;
        self.decoder.scopes.close();
    }

    fn branch_targets(&mut self, name: &str, labels: &[String]) -> Result<(), Problem> {
        let mut numbers = Vec::new();
        for label in labels {
            numbers.push(self.decoder.label(&tree::Operand::Name(label.clone()))?);
        }
        let index = self.decoder.program.targets.len();
        self.decoder.program.targets.push(numbers.into_boxed_slice());
        self.target_lists.push(index);
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        self.decoder.scopes.declare(name, Symbol::Targets(number))
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Label(name) => {
                let pc = self.pc();
                let found = self.decoder.label(&tree::Operand::Name(name.clone()));
                if let Some(label) = found.ok().and_then(|l| self.labels.get_mut(l as usize)) {
                    *label = pc;
                }
            }
            Statement::Registers { ty, name, count } => {
                let declared = self.decoder.scopes.registers(ty, name, *count);
                self.note(self.here, declared);
            }
            Statement::Variable(variable) => {
                let declared = self.variable(variable);
                self.note(variable.place, declared);
            }
            Statement::Block(body) => self.block(body),
            Statement::BranchTargets { .. } => {}
            Statement::CallPrototype { name } => {
                let declared = self.decoder.scopes.declare(name, Symbol::Prototype);
                self.note(self.here, declared);
            }
            Statement::Instruction(instruction) => self.instruction(instruction),
        }
    }

    /// A variable of the function or of a block in it.
    fn variable(&mut self, variable: &Variable) -> Result<(), Problem> {
        let symbol = match variable.space {
            Space::Shared if variable.bytes.is_none() => Symbol::Dynamic,
            // One that finds no place has been told of by the layout.
            Space::Shared => Symbol::Shared(self.shared.place(variable).map_or(0, u64::from)),
            Space::Local => Symbol::Local(u64::from(self.local.place(variable)?)),
            Space::Param => {
                let offset = self.frame.place(variable)?;
                self.frame_most = self.frame_most.max(self.frame.end);
                let bytes = u32::try_from(variable.bytes.unwrap_or(0)).unwrap_or(u32::MAX);
                if self.frame.end > u64::from(ENTRY_PARAMS) {
                    return Err(format!("`{}` and others are too large to pass", variable.name));
                }
                Symbol::FrameParam(offset, bytes)
            }
            Space::Global | Space::Const | Space::Register => {
                return Err(format!(
                    "`{}` is a variable of a function: not supported",
                    variable.name
                ));
            }
        };
        self.decoder.scopes.declare(&variable.name, symbol)
    }

    fn instruction(&mut self, instruction: &Instruction) {
        let Instruction { opcode, place, .. } = instruction;
        self.here = *place;
        self.decoder.current = Current::default();
        match self.decode(instruction) {
            Ok(inst) => {
                let current = std::mem::take(&mut self.decoder.current);
                for before in current.before {
                    self.push(before, *place, "not.pred", (Box::default(), Box::default()));
                }
                if current.branches {
                    let pc = self.decoder.program.code.len();
                    self.fixups.push(Fixup { pc, label: inst.target });
                }
                let (sources, written) =
                    current.told.unwrap_or((current.sources, current.destinations));
                let uses = (sources.into_boxed_slice(), written.into_boxed_slice());
                self.push(inst, *place, opcode, uses);
                let decoded = &mut self.decoder.program.functions[self.function];
                decoded.waits_for_grid |= opcode == "griddepcontrol.wait";
            }
            Err(problem) if names(&problem, opcode) => self.problem(*place, problem),
            Err(problem) => self.problem(*place, format!("`{opcode}`: {problem}")),
        }
    }

    fn decode(&mut self, instruction: &Instruction) -> Result<Inst, Problem> {
        let decoder = &mut self.decoder;
        let mut inst = if control::reads_clock(instruction) {
            control::clock(decoder, instruction)?
        } else {
            table::decode(decoder, instruction)?
        };
        if let Some((name, negated)) = &instruction.guard {
            inst.guard = decoder.source_predicate(&tree::Operand::Name(name.clone()))?;
            inst.guard_negated = *negated;
        }
        Ok(inst)
    }

    fn push(&mut self, inst: Inst, place: Place, opcode: &str, uses: super::Uses) {
        let number = match self.opcodes.get(opcode) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.opcodes.len()).unwrap_or(u32::MAX);
                self.opcodes.insert(opcode.to_owned(), number);
                self.decoder.program.opcodes.push(opcode.to_owned());
                number
            }
        };
        let program = &mut self.decoder.program;
        program.code.push(inst);
        program.places.push(place);
        program.opcode.push(number);
        program.uses.push(uses);
    }

    /// A body that can be left at its end gets a `ret` there.
    fn end(&mut self, body: &[Statement]) {
        let ends = match body.last() {
            Some(Statement::Instruction(last)) if last.guard.is_none() => {
                let base = last.opcode.split('.').next().unwrap_or_default();
                ["ret", "exit", "trap", "bra", "brx"].contains(&base)
            }
            _ => false,
        };
        if !ends {
            let place = self.decoder.program.places.last().copied().unwrap_or_default();
            let opcode = "ret".to_owned();
            let operands = Vec::new();
            self.instruction(&Instruction { guard: None, opcode, operands, place });
        }
    }

    /// Puts program counters where numbers of labels are.
    fn resolve(&mut self) {
        let pc = |label: u32| self.labels.get(label as usize).copied().unwrap_or(0);
        for fixup in self.fixups.drain(..) {
            self.decoder.program.code[fixup.pc].target = pc(fixup.label);
        }
        for index in self.target_lists.drain(..) {
            for target in &mut self.decoder.program.targets[index] {
                *target = pc(*target);
            }
        }
        self.labels.clear();
    }

    /// Writes down what the body has come to.
    fn finish(&mut self, index: usize, start: u32) {
        let end = self.pc();
        let activation = std::mem::take(&mut self.decoder.activation);
        let decoded = &mut self.decoder.program.functions[index];
        decoded.code = (start, end);
        decoded.rows32 = activation.rows.r32;
        decoded.rows64 = activation.rows.r64;
        decoded.predicates = activation.rows.p;
        let sorted = |constants: HashMap<Constant, u16>| {
            let mut list: Vec<_> = constants.into_iter().map(|(c, row)| (row, c)).collect();
            list.sort_unstable_by_key(|(row, _)| *row);
            list
        };
        decoded.constants32 = sorted(activation.constants32);
        decoded.constants64 = sorted(activation.constants64);
        decoded.constants_p = sorted(activation.constants_p);
        decoded.local_bytes = u32::try_from(self.local.end).unwrap_or(u32::MAX);
        decoded.param_bytes = u32::try_from(self.frame_most).unwrap_or(u32::MAX);
    }
}

/// Whether a problem names its instruction itself, at its start.
fn names(problem: &str, opcode: &str) -> bool {
    let rest = problem.trim_start_matches('`').strip_prefix(opcode);
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}
