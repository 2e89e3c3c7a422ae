//! Valid files, broken at random from a seed: whatever comes out is accepted or refused with a
//! line, and never ends the process. `MASTIFF_SEED=n` replays one run.

use mastiff::config::show;

use super::check;

/// Files that are tried for each sample in one run.
const ROUNDS: u64 = 500;

const SAMPLE: &str = include_str!("../../../packaging/mastiff.toml");

/// Pieces that are put in: what the syntax and the values are made of, and what they are not.
const PIECES: &[&str] = &[
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "#",
    "\n",
    "\\",
    "\\u0000",
    "\u{0}",
    "\u{feff}",
    "ü",
    "\u{202e}",
    "\u{10ffff}",
    "-",
    "_",
    "1",
    "0x",
    "1e999",
    "nan",
    "inf",
    "true",
    "1979-05-27T07:32:00Z",
    "\"\"\"",
    "'''",
    "99999999999999999999",
    "> ",
    "!= ",
    " in ",
    "%",
    "GiB",
    "10m",
    "restart",
    "run /",
    "[[check]]\n",
    "[node]\n",
    "sensor = \"load\"\n",
    "name = \"load\"\n",
    "options = {}\n",
    "fail-when = [\"load-1 > 1\"]\n",
];

/// xorshift64* (Vigna, 2016): enough to vary tests.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % limit.max(1)
    }

    fn boundary(&mut self, text: &str) -> usize {
        let offset = self.below(text.len() + 1);
        (offset..=text.len()).find(|offset| text.is_char_boundary(*offset)).unwrap()
    }
}

fn mutate(text: &mut String, random: &mut Random) {
    let (a, b) = (random.boundary(text), random.boundary(text));
    let (from, to) = (a.min(b), a.max(b));
    match random.below(6) {
        0 | 1 => text.insert_str(from, PIECES[random.below(PIECES.len())]),
        2 => drop(text.remove(from.min(text.len().saturating_sub(4)))),
        3 => {
            let stop = (from..=text.len()).find(|o| *o >= from + 3 && text.is_char_boundary(*o));
            text.replace_range(from..stop.unwrap_or(text.len()), "");
        }
        4 => {
            let copy = text[from..to].to_string();
            if text.len() + copy.len() < 20_000 {
                text.insert_str(random.boundary(text), &copy);
            }
        }
        _ => {
            let mut lines: Vec<&str> = text.lines().collect();
            let (first, second) = (random.below(lines.len()), random.below(lines.len()));
            if !lines.is_empty() {
                lines.swap(first, second);
            }
            *text = lines.join("\n");
        }
    }
}

#[test]
fn broken_files_end_in_faults_with_lines_and_never_in_a_panic() {
    let seed = std::env::var("MASTIFF_SEED").ok().and_then(|seed| seed.parse().ok());
    let uncommented = super::sample::uncommented(SAMPLE);
    for (index, sample) in [&uncommented, &show(&check(&uncommented).unwrap())].iter().enumerate() {
        let rounds = seed.map_or(1..=ROUNDS, |seed: u64| seed..=seed);
        for seed in rounds {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            let mut text = (*sample).clone();
            for _ in 0..=random.below(6) {
                if text.len() > 8 {
                    mutate(&mut text, &mut random);
                }
            }
            let run = std::panic::catch_unwind(|| check(&text));
            let result =
                run.unwrap_or_else(|_| panic!("MASTIFF_SEED={seed} sample {index}: panic"));
            let lines = text.matches('\n').count() + 1;
            match result {
                Ok(config) => {
                    let again = check(&show(&config));
                    assert_eq!(again.ok(), Some(config), "MASTIFF_SEED={seed} sample {index}");
                }
                Err(faults) => {
                    assert!(!faults.is_empty(), "MASTIFF_SEED={seed} sample {index}");
                    for fault in faults {
                        let inside = (1..=lines).contains(&fault.line) && fault.column >= 1;
                        assert!(inside, "MASTIFF_SEED={seed} sample {index}: {fault}");
                    }
                }
            }
        }
    }
}
