//! A person at a terminal: a pty with a program on it, what it shows and what is typed.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
};

use nix::pty::{OpenptyResult, Winsize, openpty};

use crate::{Run, poll};

/// A program that believes somebody sits before it.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    screen: Arc<Mutex<Vec<u8>>>,
    read: usize,
}

impl Terminal {
    /// Starts a program on a terminal of 80x24.
    ///
    /// # Panics
    /// When there is no pty or the program cannot be started.
    pub fn open(run: &Run) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).expect("a pty");
        let clone = |fd: &OwnedFd| fd.try_clone().expect("a descriptor can be duplicated");
        let template = run.command();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(template.get_program()).args(template.get_args());
        for (key, value) in template.get_envs() {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        let child = command
            .env("TERM", "vt100")
            .stdin(clone(&slave))
            .stdout(clone(&slave))
            .stderr(slave)
            .spawn()
            .expect("setsid(1) can be run");
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut source, sink) = (File::from(clone(&master)), Arc::clone(&screen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A pty without its other end reads as EIO.
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                sink.lock().expect("no reader panics").extend_from_slice(&buffer[..count]);
            }
        });
        Self { child, master: File::from(master), screen, read: 0 }
    }

    /// The process whose controlling terminal it is, or its parent.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything shown so far.
    ///
    /// # Panics
    /// Never, unless a test panicked while reading.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no reader panics")).into_owned()
    }

    /// Waits until `text` is shown behind what was last expected.
    ///
    /// # Panics
    /// When it is not shown in time; the message holds what was.
    pub fn expect(&mut self, text: &str) {
        let (screen, from) = (Arc::clone(&self.screen), self.read);
        let what = format!("the terminal shows {text:?}");
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            poll::until(&what, || {
                let bytes = screen.lock().expect("no reader panics");
                let rest = &bytes[from..];
                let at = rest.windows(text.len()).position(|window| window == text.as_bytes())?;
                Some(from + at + text.len())
            })
        }));
        match found {
            Ok(read) => self.read = read,
            Err(_) => panic!("{what}, but it showed:\n{}", self.shown()),
        }
    }

    /// Gives the terminal another size, as a window does that is drawn larger.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size).expect("the terminal is there");
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal is there");
    }

    /// Types until something is shown, as one does at a prompt that may not have been drawn yet.
    ///
    /// # Panics
    /// When it is never shown.
    pub fn type_until(&mut self, typed: &str, shown: &str) {
        let from = self.read;
        let mut next = std::time::Instant::now();
        let what = format!("typing {typed:?} shows {shown:?}");
        let screen = Arc::clone(&self.screen);
        self.read = poll::until(&what, || {
            if std::time::Instant::now() >= next {
                drop(self.master.write_all(typed.as_bytes()));
                next = std::time::Instant::now() + std::time::Duration::from_secs(1);
            }
            let bytes = screen.lock().expect("no reader panics");
            let rest = &bytes[from..];
            let at = rest.windows(shown.len()).position(|window| window == shown.as_bytes())?;
            Some(from + at + shown.len())
        });
    }

    /// Waits until the program ended; its exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn ended(&mut self) -> i32 {
        let child = &mut self.child;
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            poll::until("the program on the terminal ends", || {
                child.try_wait().expect("a child can be waited for")
            })
        }));
        match ended {
            Ok(status) => status.code().unwrap_or(-1),
            Err(_) => panic!("the program on the terminal did not end; it showed:\n{}", self.shown()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
