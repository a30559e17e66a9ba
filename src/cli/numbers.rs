//! Numbers of communications, as the command line and files of it name them.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::account::CommunicationNumber;

use super::Misused;

/// Most numbers that a file may list: they are held in memory, and in the job's row.
const MAX_NUMBERS: usize = 100_000;

/// Takes a number.
pub(super) fn parse_number(text: &str) -> Result<CommunicationNumber, String> {
    CommunicationNumber::parse(text).map_err(|problem| problem.to_string())
}

/// The numbers that are the lines of a file; `-` is standard input.
pub(super) fn read_numbers(path: &Path) -> Result<BTreeSet<CommunicationNumber>, Misused> {
    let unreadable = |error: io::Error| Misused(format!("--numbers {}: {error}", path.display()));
    let from: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(std::fs::File::open(path).map_err(unreadable)?))
    };
    let mut numbers = BTreeSet::new();
    for (place, line) in (1..).zip(from.lines()) {
        let line = line.map_err(unreadable)?;
        let text = line.trim_end_matches('\r');
        if text.is_empty() {
            continue;
        }
        let number = CommunicationNumber::parse(text).map_err(|problem| {
            Misused(format!("--numbers {}: line {place} {problem}", path.display()))
        })?;
        numbers.insert(number);
        if numbers.len() > MAX_NUMBERS {
            let told = format!("--numbers {}: more than {MAX_NUMBERS} numbers", path.display());
            return Err(Misused(format!("{told}; split the file")));
        }
    }
    if numbers.is_empty() {
        return Err(Misused(format!("--numbers {}: there is no number in it", path.display())));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let read = read_numbers(file.path()).map_err(|error| error.to_string())?;
        Ok(read.iter().map(|number| number.as_str().to_owned()).collect())
    }

    #[test]
    fn numbers_are_lines() {
        assert_eq!(read("n-2\r\n\nn-1\nn-2\n").unwrap(), ["n-1", "n-2"]);
        assert!(read("\n\n").unwrap_err().contains("no number"));
        let too_long = format!("n-1\n{}\n", "n".repeat(1_000));
        assert!(read(&too_long).unwrap_err().contains("line 2"), "{}", read(&too_long).unwrap_err());
    }
}
