//! Conversations as people read them: `B ParseComplete`, `B DataRow 1|NULL`, compared line by line.

use std::fmt::Write;

/// A message from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

/// Reads fields off a body; what is missing reads as empty, so that a transcript of nonsense is still a transcript.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        head
    }

    fn cstr(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(self.take(end)).into_owned();
        self.take(1);
        text
    }

    fn number(&mut self, bytes: usize) -> i64 {
        let head = self.take(bytes);
        let negative = bytes == 4 && head.first().is_some_and(|byte| byte & 0x80 != 0);
        let value = head.iter().fold(0_i64, |value, byte| value << 8 | i64::from(*byte));
        if negative { value - (1 << 32) } else { value }
    }

    fn value(&mut self) -> Option<String> {
        let length = usize::try_from(self.number(4)).ok()?;
        Some(String::from_utf8_lossy(self.take(length)).into_owned())
    }
}

impl Frame {
    pub(crate) fn is_error(&self) -> bool {
        self.tag == b'E'
    }

    /// A field of an `ErrorResponse` or `NoticeResponse`, by its letter: `C` SQLSTATE, `M` message, `S` severity.
    pub(crate) fn field(&self, letter: char) -> String {
        self.fields().into_iter().find(|(key, _)| *key == letter).map(|(_, value)| value).unwrap_or_default()
    }

    fn fields(&self) -> Vec<(char, String)> {
        let mut fields = Fields(&self.body);
        let mut found = Vec::new();
        loop {
            match fields.take(1) {
                [] | [0] => return found,
                letter => found.push((char::from(letter[0]), fields.cstr())),
            }
        }
    }

    /// The values of a `DataRow` in text format.
    pub(crate) fn values(&self) -> Vec<Option<String>> {
        let mut fields = Fields(&self.body);
        (0..fields.number(2)).map(|_| fields.value()).collect()
    }

    /// Name and value of a `ParameterStatus`.
    pub(crate) fn pair(&self) -> (String, String) {
        let mut fields = Fields(&self.body);
        (fields.cstr(), fields.cstr())
    }

    /// A command tag or any other message that is one text.
    pub(crate) fn text(&self) -> String {
        Fields(&self.body).cstr()
    }

    /// The first number of the body: a process id, a kind of authentication.
    pub(crate) fn number(&self) -> i64 {
        Fields(&self.body).number(4)
    }

    fn columns(&self) -> String {
        let mut fields = Fields(&self.body);
        let columns = (0..fields.number(2)).map(|_| {
            let name = fields.cstr();
            fields.take(6); // table and attribute: their numbers differ from database to database
            let oid = fields.number(4);
            fields.take(6);
            format!("{name}:{oid}:{}", fields.number(2))
        });
        columns.collect::<Vec<_>>().join(" ")
    }

    /// One line; process ids are left out because they differ from run to run.
    pub(crate) fn line(&self) -> String {
        let said = |name: &str, what: String| format!("B {name} {what}").trim_end().to_owned();
        match self.tag {
            b'1' => said("ParseComplete", String::new()),
            b'2' => said("BindComplete", String::new()),
            b'3' => said("CloseComplete", String::new()),
            b'n' => said("NoData", String::new()),
            b's' => said("PortalSuspended", String::new()),
            b'I' => said("EmptyQueryResponse", String::new()),
            b'c' => said("CopyDone", String::new()),
            b'd' => said("CopyData", String::from_utf8_lossy(&self.body).trim_end().to_owned()),
            b'G' => said("CopyInResponse", hex(&self.body)),
            b'H' => said("CopyOutResponse", hex(&self.body)),
            b'V' => said("FunctionCallResponse", format!("{:?}", Fields(&self.body).value())),
            b'C' => said("CommandComplete", self.text()),
            b'Z' => said("ReadyForQuery", String::from_utf8_lossy(&self.body).into_owned()),
            b'R' => said("Authentication", self.number().to_string()),
            b'K' => said("BackendKeyData", format!("{} bytes", self.body.len())),
            b'S' => said("ParameterStatus", format!("{:?}", self.pair())),
            b'T' => said("RowDescription", self.columns()),
            b't' => said("ParameterDescription", hex(&self.body)),
            b'E' => said("ErrorResponse", self.report()),
            b'N' => said("NoticeResponse", self.report()),
            b'A' => {
                let mut fields = Fields(&self.body);
                fields.take(4);
                said("NotificationResponse", format!("{} {}", fields.cstr(), fields.cstr()))
            }
            b'D' => {
                let shown = |value: Option<String>| value.unwrap_or_else(|| "NULL".into());
                said("DataRow", self.values().into_iter().map(shown).collect::<Vec<_>>().join("|"))
            }
            tag => said(&char::from(tag).escape_default().to_string(), hex(&self.body)),
        }
    }

    /// Everything the report says but where in the server's source it was made.
    fn report(&self) -> String {
        let kept = self.fields().into_iter().filter(|(letter, _)| !"FLRV".contains(*letter));
        kept.map(|(letter, value)| format!("{letter}={value}")).collect::<Vec<_>>().join(" ")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The lines of a conversation.
pub(crate) fn lines(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(Frame::line).collect()
}
