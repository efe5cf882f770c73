//! Standard output, and text that is fit for a terminal.

use std::io::{self, Write as _};

/// Writes to standard output; a reader that has gone ends the program quietly.
pub fn write(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        let code = if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { 1 };
        std::process::exit(code);
    }
}

/// Text without control characters: tenants influence messages and lines.
pub fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_tenant_says_reaches_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\n\tc"), "a[2Jb\tc");
    }
}
