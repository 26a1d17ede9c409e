//! Formulas of sample challenges: random 3-SAT in DIMACS's format, planted, so that each has a solution.
//!
//! A formula follows from the id of its challenge: the same id gives the same bytes.

use fastrand::Rng;
use sha2::{Digest, Sha256};

use crate::domain::{challenge::Challenge, formula::FileHash};

/// The second seed of a formula: that of its solution.
const SOLUTION: u64 = 0x5eed_0f50_1071_0000;

/// A formula with a known solution.
#[derive(Debug, Clone, Copy)]
pub struct Planted {
    seed: u64,
    num_vars: u32,
    num_clauses: u32,
}

impl Planted {
    /// Returns the formula of a sample challenge.
    pub fn of(challenge: &Challenge) -> Self {
        let digest = Sha256::digest(&challenge.challenge_id);
        let seed = digest
            .iter()
            .take(8)
            .fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        // Three different variables are needed for a clause.
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            seed,
            num_vars: number(challenge.num_vars).clamp(3, 10_000_000),
            num_clauses: number(challenge.num_clauses),
        }
    }

    /// Returns the values of the variables in the planted solution, the first one first.
    pub fn solution(&self) -> Vec<bool> {
        let mut random = Rng::with_seed(self.seed ^ SOLUTION);
        (0..self.num_vars).map(|_| random.bool()).collect()
    }

    /// Returns the file: `p cnf`, and a clause a line, of about 18 bytes each.
    pub fn text(&self) -> Vec<u8> {
        let solution = self.solution();
        let names: Vec<String> = (1..=self.num_vars).map(|name| name.to_string()).collect();
        let (vars, clauses) = (self.num_vars, self.num_clauses);
        let mut text = format!("p cnf {vars} {clauses}\n").into_bytes();
        text.reserve(clauses as usize * 19);
        let mut random = Rng::with_seed(self.seed);
        for _ in 0..clauses {
            let variables = three(&mut random, vars);
            // Which literals the solution satisfies: one at least.
            let satisfied = random.u8(1..8);
            for (at, variable) in variables.into_iter().enumerate() {
                let variable = variable as usize;
                if solution[variable] != (satisfied >> at & 1 == 1) {
                    text.push(b'-');
                }
                text.extend_from_slice(names[variable].as_bytes());
                text.push(b' ');
            }
            text.extend_from_slice(b"0\n");
        }
        text
    }
}

/// Three different variables, counted from 0.
fn three(random: &mut Rng, vars: u32) -> [u32; 3] {
    loop {
        let [a, b, c] = [(); 3].map(|()| random.u32(..vars));
        if a != b && a != c && b != c {
            return [a, b, c];
        }
    }
}

/// Gives a sample challenge its formula, and returns the file.
pub fn plant(challenge: &mut Challenge) -> Vec<u8> {
    let text = Planted::of(challenge).text();
    challenge.cnf_sha256 = FileHash(Sha256::digest(&text).into()).to_string();
    challenge.cnf_bytes = Some(text.len() as u64);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::sample::Sample;

    /// The clauses of a file in DIMACS's format, whose first line says how many there are, of how many variables.
    fn parse(text: &str) -> (u32, Vec<Vec<i32>>) {
        let number = |word: &str| word.parse::<i32>().unwrap_or(0);
        let mut lines = text.lines();
        let head = lines.next().and_then(|line| line.strip_prefix("p cnf "));
        let (vars, clauses) = head
            .and_then(|head| head.split_once(' '))
            .unwrap_or_default();
        let read: Vec<Vec<i32>> = lines
            .map(|line| {
                let clause = line.strip_suffix(" 0").unwrap_or_default();
                clause.split(' ').map(number).collect()
            })
            .collect();
        assert_eq!(read.len(), number(clauses) as usize);
        (number(vars) as u32, read)
    }

    #[test]
    fn the_planted_solution_satisfies_every_clause_of_three_different_variables() {
        for tier in [1, 2] {
            let mut challenge = Sample::new(tier).challenge(tier);
            let text = plant(&mut challenge);
            let planted = Planted::of(&challenge);
            let (vars, clauses) = parse(std::str::from_utf8(&text).unwrap_or_default());
            assert_eq!(u64::from(vars), challenge.num_vars);
            assert_eq!(clauses.len() as u64, challenge.num_clauses);
            let solution = planted.solution();
            for clause in &clauses {
                let mut names: Vec<u32> = clause.iter().map(|it| it.unsigned_abs()).collect();
                names.sort_unstable();
                names.dedup();
                assert!(
                    names.len() == 3 && names[0] > 0 && names[2] <= vars,
                    "{clause:?}"
                );
                let holds = |it: &i32| solution[it.unsigned_abs() as usize - 1] == (*it > 0);
                assert!(clause.iter().any(holds), "{clause:?}");
            }
            // Not a formula that any assignment satisfies.
            let opposite = |it: &i32| solution[it.unsigned_abs() as usize - 1] != (*it > 0);
            assert!(clauses.iter().any(|clause| !clause.iter().any(opposite)));
        }
    }

    #[test]
    fn the_same_id_gives_the_same_bytes_and_another_one_others() {
        let mut one = Sample::new(1).challenge(1);
        let mut other = Sample::new(2).challenge(1);
        let text = plant(&mut one);
        assert_eq!(text, plant(&mut one));
        assert_ne!(text, plant(&mut other));
        assert_ne!(one.cnf_sha256, other.cnf_sha256);
        assert_eq!(one.cnf_bytes, Some(text.len() as u64));
    }
}
