//! Writes JSON.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::acts_on_terminals;
use crate::error::Error;

/// Prints a value as JSON to standard output, without holding its text. A closed pipe is not an
/// error.
pub fn print(value: &impl Serialize) -> Result<(), Error> {
    let mut out = Escaping(BufWriter::new(io::stdout().lock()));
    let written = serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from);
    let written = written.and_then(|()| out.write_all(b"\n"));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::other(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Returns the content of a JSON file.
pub fn content(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes = Escaping(Vec::new());
    serde_json::to_writer_pretty(&mut bytes, value).map_err(|e| Error::other(e.to_string()))?;
    bytes.0.push(b'\n');
    Ok(bytes.0)
}

/// Writes characters that act on a terminal as JSON's escapes; they occur in strings only.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The serialiser writes whole pieces of strings.
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains(acts_on_terminals) => {
                for c in text.chars() {
                    if acts_on_terminals(c) {
                        write!(self.0, "\\u{:04x}", u32::from(c))?;
                    } else {
                        write!(self.0, "{c}")?;
                    }
                }
            }
            _ => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::content;

    #[test]
    fn any_text_comes_back_and_acts_on_no_terminal() {
        let text = "a\u{1b}[31m \u{202e}b\u{7f}\u{9b} é \"\n";
        let bytes = content(&[text]).unwrap();
        let back: Vec<String> = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(back, [text]);
        let written = String::from_utf8(bytes).unwrap();
        assert!(
            !written.contains(['\u{1b}', '\u{202e}', '\u{7f}', '\u{9b}']),
            "{written:?}"
        );
    }
}
