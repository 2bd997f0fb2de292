//! The generator, the comparison and the shrinker, without a server: our own engine plays both
//! sides.

use super::campaign::{Pair, Storage};
use super::compare::{Rule, alike};
use super::generate::{Catalog, Command, Family, generate, word};
use super::shrink::shrink;
use super::side::{Ours, Side};
use anyhow::Result;
use engine::command::CommandTable;
use resp::Value;

fn table() -> CommandTable {
    CommandTable::new(commands::all()).expect("names are distinct")
}

/// Replies with one element too many wherever a list is longer than two.
struct Wrong(Ours);

impl Side for Wrong {
    fn answers(&mut self, commands: &[Command]) -> Result<Vec<Value>> {
        let mut answers = self.0.answers(commands)?;
        for (command, answer) in commands.iter().zip(&mut answers) {
            match answer {
                Value::Integer(n) if *n > 2 && word(&command.args, 0) == "llen" => *n += 1,
                _ => {}
            }
        }
        Ok(answers)
    }

    fn set_clock(&mut self, wall_ms: u64) {
        self.0.set_clock(wall_ms);
    }
}

fn engine_in_memory() -> Ours {
    let (backend, _) = Storage::Memory.open().expect("memory");
    Ours::new(backend).expect("an engine")
}

#[test]
fn a_seed_makes_the_same_program_again_and_another_seed_another() {
    let table = table();
    let catalog = Catalog::new(&table, true);
    for family in Family::ALL {
        assert_eq!(generate(&catalog, family, 5), generate(&catalog, family, 5));
        assert_ne!(generate(&catalog, family, 5), generate(&catalog, family, 6));
    }
}

#[test]
fn every_command_of_the_catalog_comes_up_and_is_mostly_understood() {
    let table = table();
    let catalog = Catalog::new(&table, true);
    let mut ours = engine_in_memory();
    for form in catalog.forms() {
        let family = Family::ALL.into_iter().find(|family| family.group() == Some(form.group));
        let family = family.expect("a family of the catalog's group");
        let programs = (0..400).map(|seed| generate(&catalog, family, seed));
        let is_form = |command: &Command| {
            form.name.iter().enumerate().all(|(at, name)| word(&command.args, at) == *name)
        };
        let uses: Vec<Command> =
            programs.flat_map(|program| program.commands).filter(is_form).take(12).collect();
        assert!(!uses.is_empty(), "{} never comes up", form.full_name);
        let answers = ours.answers(&uses).expect("answers");
        let refused =
            |answer: &&Value| answer.as_error().is_some_and(|e| e.starts_with(b"ERR syntax"));
        let refusals = answers.iter().filter(refused).count();
        assert!(refusals < uses.len(), "{}: its syntax is not understood", form.full_name);
    }
}

#[test]
fn a_wrong_answer_is_found_and_its_program_made_small() {
    let table = table();
    let catalog = Catalog::new(&table, true);
    let mut pair = Pair {
        table: &table,
        ours: Box::new(Wrong(engine_in_memory())),
        theirs: Box::new(engine_in_memory()),
        encodings: true,
        newer: true,
    };
    let found = (0..200).find_map(|seed| {
        let program = generate(&catalog, Family::List, seed);
        let found = pair.run(program.protocol, &program.commands).expect("answers")?;
        Some((program, found))
    });
    let (program, found) = found.expect("a list of three is asked for its length");
    assert_eq!(word(&found.command.args, 0), "llen");
    let small = pair.smaller(&program, &found);
    let names: Vec<String> = small.iter().map(|command| word(&command.args, 0)).collect();
    assert_eq!(names.last().map(String::as_str), Some("llen"), "{small:?}");
    assert!(small.len() <= 4, "{small:?}");
}

#[test]
fn equal_sides_have_no_differences() {
    let table = table();
    let catalog = Catalog::new(&table, true);
    let (ours, theirs) = (Box::new(engine_in_memory()), Box::new(engine_in_memory()));
    let mut pair = Pair { table: &table, ours, theirs, encodings: true, newer: true };
    for family in Family::ALL {
        for seed in 0..10 {
            let program = generate(&catalog, family, seed);
            let found = pair.run(program.protocol, &program.commands).expect("answers");
            assert_eq!(found, None, "{family:?} {seed}");
        }
    }
}

#[test]
fn a_program_shrinks_to_what_matters() {
    let line = |words: &[&str]| Command::new(words);
    let mut program: Vec<Command> = (0..40).map(|n| line(&["SET", "k", &n.to_string()])).collect();
    program.insert(13, line(&["RPUSH", "needle", "x", "longer than needed", "y"]));
    program.insert(31, line(&["LLEN", "needle"]));
    let mut trials = 0;
    let small = shrink(program, 1000, |commands| {
        trials += 1;
        let at = |name: &str| commands.iter().position(|c| c.args[0] == name.as_bytes());
        matches!((at("RPUSH"), at("LLEN")), (Some(a), Some(b)) if a < b && commands[a].args.len() > 2)
    });
    assert_eq!(small, [line(&["RPUSH", "", ""]), line(&["LLEN"])]);
    assert!(trials <= 1000);
}

#[test]
fn rules_forgive_what_nobody_promises_and_nothing_else() {
    let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
    let array = |words: &[&str]| Value::Array(words.iter().map(|word| bulk(word)).collect());
    let (ab, ba) = (array(&["a", "b"]), array(&["b", "a"]));
    assert!(alike(Rule::Unordered, &ab, &ba) && !alike(Rule::Exact, &ab, &ba));
    assert!(!alike(Rule::Pairs, &ab, &ba));
    assert!(alike(Rule::Pairs, &array(&["a", "1", "b", "2"]), &array(&["b", "2", "a", "1"])));
    assert!(!alike(Rule::Pairs, &array(&["a", "1", "b", "2"]), &array(&["a", "2", "b", "1"])));
    let time = Rule::Time { unit: 1 };
    assert!(alike(time, &Value::Integer(100_000), &Value::Integer(100_500)));
    assert!(!alike(time, &Value::Integer(100_000), &Value::Integer(200_000)));
    assert!(!alike(time, &Value::Integer(-1), &Value::Integer(1)));
    assert!(
        alike(Rule::Shape, &ab, &array(&["x", "y"])) && !alike(Rule::Shape, &ab, &array(&["x"]))
    );
    assert!(!alike(Rule::Stream, &array(&["1-1"]), &array(&["1-2"])));
}
